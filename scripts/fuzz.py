"""Coverage-guided fuzzing of what reads files of strangers: style models, and images.

    pip install atheris
    python scripts/fuzz.py model SEEDS -max_total_time=600
    python scripts/fuzz.py image SEEDS -max_total_time=600

SEEDS is a folder of real files, which collects the inputs that reach new lines; further arguments
are libFuzzer's. Anything but a result or a `StyleTransferError` is printed once, with its input
written to the current folder; a crash, a hang (`-timeout=30`) or too much memory
(`-rss_limit_mb=4096`) ends the run.
"""

import hashlib
import logging
import struct
import sys
import tempfile
import traceback
from pathlib import Path

import atheris
import torch

# What is imported here is instrumented: coverage counts in it. PyTorch is not, which would take
# minutes.
with atheris.instrument_imports(include=["PIL", "nst_rt"]):
    from nst_rt.errors import StyleTransferError
    from nst_rt.images.io import load_picture
    from nst_rt.models.style_model import StyleModel

_SAID: set[str] = set()
_FILE = Path(tempfile.mkdtemp(), "input.safetensors")


def model(data: bytes) -> None:
    """Load a style model: raw bytes, or a JSON header whose length and weights are made right."""
    if data.startswith(b"{"):
        data = struct.pack("<Q", len(data)) + data + bytes(20_000)
    _FILE.write_bytes(data)
    loaded = StyleModel.load(_FILE)
    for name in loaded.style_names:
        assert isinstance(name, str)
        loaded.history(name)
    for weights in loaded.network.state_dict().values():
        assert bool(weights.isfinite().all())


def image(data: bytes) -> None:
    """Load an image."""
    picture = load_picture("input", content=data)
    assert picture.image.shape[:2] == (1, 3)
    assert bool(torch.isfinite(picture.image).all())


def _reported(data: bytes) -> None:
    """Run the target; an exception that is a bug is reported once for each place."""
    try:
        _TARGETS[sys.argv[1]](data)
    except Exception as error:
        if isinstance(error, StyleTransferError) and "\n" not in str(error):
            return
        place = traceback.extract_tb(error.__traceback__)[-1]
        key = f"{type(error).__name__} {place.filename}:{place.lineno}"
        if key not in _SAID:
            _SAID.add(key)
            found = Path(f"found-{hashlib.sha256(data).hexdigest()[:12]}")
            found.write_bytes(data)
            print(f"FOUND {found}: {key}: {error!r}", flush=True)


_TARGETS = {"model": model, "image": image}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], _reported)
    atheris.Fuzz()
