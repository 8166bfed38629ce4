"""For scripts, imported first: the package as it lies in the repository, installed or not."""

import sys
import time
from pathlib import Path

STARTED = time.monotonic()  # before PyTorch is imported, which may take long
ROOT = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(ROOT))

import nst_rt  # noqa: E402

# train/ and infer/ lie beside nst_rt/, as setuptools knows.
nst_rt.__path__.append(str(ROOT))
