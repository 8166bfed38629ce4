"""`gallery.py --pack` and `gallery.py --device`: a gallery on a GPU that is there for minutes.

Only what is used is imported: such a machine may lack what the rest of the toolkit needs.
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
    """The options that belong to it."""
    parser.add_argument("--vgg-weights", type=Path, metavar="FILE")
    parser.add_argument(
        "--parent", type=Path, metavar="FILE", help="default: the kit's, else the gallery"
    )
    kit = parser.add_argument_group("on a GPU that is there for minutes")
    kit.add_argument("--minutes", type=float, default=9.0, help="after which all has ended")
    kit.add_argument("--out", type=Path, metavar="DIR", default=ROOT / ".gallery" / "device")
    kit.add_argument("--archive", type=Path, metavar="ZIP", help="all models in one file, too")
    kit.add_argument("--overwrite", action="store_true", help="replace models that are there")
    kit.add_argument("--batch-size", type=int, default=32)
    kit.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None)


def pack(options: argparse.Namespace) -> None:
    """Pack the kit."""
    from nst_rt.train.resident.kit import pack_kit

    size = pack_kit(
        options.data,
        options.pack,
        options.only,
        parent=options.parent or GALLERY,
        vgg_weights=options.vgg_weights,
    )
    print(f"{options.pack}: {size / 2**20:.1f} MiB")


def train(options: argparse.Namespace) -> None:
    """Train a model of each painting, and end in time."""
    import torch

    from nst_rt.train.resident.kit import PARENT, train_kit

    end = STARTED + 60 * options.minutes
    last = threading.Timer(end - time.monotonic() - 1, _end_at_once)
    last.daemon = True
    last.start()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    # Gram matrices are sums over many pixels.
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
    """Files appear when they are complete, so that none is lost by ending anywhere."""
    print("the time is up; what was written stays", flush=True)
    os._exit(PartialResultError.exit_code)
