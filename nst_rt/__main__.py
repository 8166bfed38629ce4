"""`python -m nst_rt` is `nst-rt`."""

import sys

from nst_rt.cli import main

sys.exit(main())
