"""The version, alone, so that building and `--version` need not import torch."""

__version__ = "0.1.0"
