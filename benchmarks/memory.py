"""Peak memory of the per-image optimizer beside what was predicted.

    python benchmarks/memory.py CONTENT STYLE_IMAGE --sizes 512 1024 2048 4096

Each size and precision runs two steps in a process of its own, on the CPU.
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

from peak import peak_memory


def main() -> None:
    """Print a line for each size and precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("content", type=Path, metavar="CONTENT")
    parser.add_argument("style_image", type=Path, metavar="STYLE_IMAGE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--optimizers", nargs="+", default=["lbfgs", "adam"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--memory", type=float, help="GB")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options)
        return
    for case in itertools.product(options.sizes, options.dtypes, options.optimizers):
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", *map(str, case)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(*case, done.stdout.splitlines()[-1], flush=True)


def work(options: argparse.Namespace) -> None:
    """Two steps; prints prediction and peak, both in GB."""
    import torch

    import nst_rt
    from nst_rt.images.io import load_image

    size, dtype, optimizer = options.worker
    # Squares, the worst case of a long side.
    square = [load_image(path)[..., :400, :400] for path in (options.content, options.style_image)]
    optimization = nst_rt.Optimization(
        square[0],
        square[1],
        size=int(size),
        min_size=int(size),
        steps=options.steps,
        optimizer=optimizer,
        dtype=getattr(torch, dtype),
        device="cpu",
        memory=options.memory,
    )
    for _ in optimization:
        pass
    facts = {
        "tile": optimization.plan.tile,
        "predicted": round(optimization.plan.peak / 1e9, 2),
        "peak": round(peak_memory(), 2),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
