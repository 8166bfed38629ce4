"""`gallery.py --pack` and `gallery.py --device`: train a gallery on a GPU rented for minutes.

Modules are imported where they are used: such a machine may lack the other packages.
"""

import argparse
import os
import threading
import time
from functools import partial
from pathlib import Path

from artworks import ARTWORKS, STYLE_WEIGHTS
from bare_tree import ROOT, STARTED
from cards import GALLERY

from nst_rt.errors import PartialResultError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for packing and training."""
    parser.add_argument("--vgg-weights", type=Path, metavar="FILE", help="VGG19 weights")
    parser.add_argument(
        "--parent",
        type=Path,
        metavar="FILE",
        help="model to start from (default: that of the kit, else the gallery)",
    )
    kit = parser.add_argument_group("training")
    kit.add_argument("--minutes", type=float, default=9.0, help="time limit for everything")
    kit.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=ROOT / ".gallery" / "device",
        help="folder for models",
    )
    kit.add_argument("--archive", type=Path, metavar="ZIP", help="zip file of all models")
    kit.add_argument("--overwrite", action="store_true", help="replace existing models")
    kit.add_argument("--batch-size", type=int, default=32)
    kit.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None)


def pack(options: argparse.Namespace) -> None:
    """Pack the kit."""
    from resident.kit import pack_kit

    size = pack_kit(
        options.data,
        options.pack,
        options.only,
        parent=options.parent or GALLERY,
        vgg_weights=options.vgg_weights,
    )
    print(f"{options.pack}: {size / 2**20:.1f} MiB")


def train(options: argparse.Namespace) -> None:
    """Train a model for each style, and end in time."""
    import torch

    from resident.kit import PARENT, train_kit

    end = STARTED + 60 * options.minutes
    last = threading.Timer(end - time.monotonic() - 1, _end_at_once)
    last.daemon = True
    last.start()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    # Gram matrices sum over many pixels.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    packed = options.data / PARENT
    parent = options.parent or (packed if packed.exists() else GALLERY)
    train_kit(
        options.data,
        options.out,
        {name: ARTWORKS[name] for name in options.only},
        parent=parent,
        end=end,
        style_weights=STYLE_WEIGHTS,
        vgg_weights=options.vgg_weights and str(options.vgg_weights),
        device=options.device,
        batch_size=options.batch_size,
        compiled=options.compile,
        archive=options.archive,
        overwrite=options.overwrite,
        report=partial(print, flush=True),
    )


def _end_at_once() -> None:
    """End the process: files appear only when complete, so none is damaged."""
    print("the time is up; models that were written stay", flush=True)
    os._exit(PartialResultError.exit_code)
