"""How soon the stabilizer forgets where it began: what the farm's warm-up has to be.

A video is stabilized from its first frame on, and again from so many frames before frame AT on, as
a worker of the farm does. Printed is how far the two differ, in levels of 255, at AT and 50 frames
later, and how far frames AT and AT + 1 differ; then the same with a cut, from a black screen, 10
frames before AT. Before them, how long the search for the last scene takes, without decoding.

    python benchmarks/warm_up.py CLIP... [--at 200] [--size 256]
"""

import argparse
import time
from collections.abc import Sequence
from itertools import islice

import numpy as np

from nst_rt.images.io import Frame
from nst_rt.infer.farm.segment import last_scene
from nst_rt.infer.stability.stabilizer import Stabilizer
from nst_rt.infer.stylizer import load_style
from nst_rt.infer.video import VideoReader

_WARM_UPS = (0, 12, 25, 50, 100, 150)
_LATER, _CUT = 50, 10  # frames after and before the first frame that is compared


def main() -> None:
    """Measure the clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="+")
    parser.add_argument("--at", type=int, default=200, help="first frame that is compared")
    parser.add_argument("--size", type=int, default=256, help="long side of the frames, pixels")
    arguments = parser.parse_args()
    stylizer = load_style("starry_night", backend="openvino")
    for clip in arguments.clip:
        read = VideoReader(clip, size=arguments.size).frames()
        timed = list(islice(read, arguments.at + _LATER + 1))
        begin = time.perf_counter()
        last_scene(timed, stylizer.shrunk)
        print(f"a search takes {(time.perf_counter() - begin) / len(timed) * 1e3:.0f} ms per frame")
        frames = [stylizer.shrunk(each.image) for each in timed]
        at = min(arguments.at, len(frames) - _LATER - 1)
        pairs = [(frame, stylizer.stylize_shrunk(frame)) for frame in frames]
        print(f"{clip}, from frame {at} on")
        compare(pairs, at)
        cut = at - _CUT
        print("with a cut in the warm-up")
        compare([*((np.zeros_like(f), s[::-1].copy()) for f, s in pairs[:cut]), *pairs[cut:]], at)


def compare(pairs: Sequence[tuple[Frame, Frame]], at: int) -> None:
    """Print the differences after each warm-up, for frames and what the network made of them."""
    whole = stabilized(pairs)[at:]
    print(
        f"the frame itself differs from the next one by {_differences(whole[0], whole[1])[0]:.2f}"
    )
    print("warm-up      at once: mean, max       later: mean, max")
    for warm_up in (each for each in _WARM_UPS if each <= at):
        later = stabilized(pairs[at - warm_up :])[warm_up:]
        figures = [_differences(later[n], whole[n]) for n in (0, _LATER)]
        told = "     ".join(f"{mean:12.3f} {most:5.0f}" for mean, most in figures)
        print(f"{warm_up:7} {told}")


def _differences(one: Frame, other: Frame) -> tuple[float, float]:
    """Mean and largest difference, in levels."""
    differences = np.abs(one.astype(np.int16) - other)
    return float(differences.mean()), float(differences.max())


def stabilized(pairs: Sequence[tuple[Frame, Frame]]) -> list[Frame]:
    """Stabilized frames."""
    stabilizer = Stabilizer()
    return [stabilizer.steady(frame, stylized.copy()).copy() for frame, stylized in pairs]


if __name__ == "__main__":
    main()
