"""Accuracy of our optical flow: on Middlebury's RubberWhale, and on clips with a known motion.

    python benchmarks/flow.py FOLDER

FOLDER has `rubberwhale1.png`, `rubberwhale2.png` and `rubberwhale_flow.flo`. That sequence comes
without occlusions, so these are measured on clips where they are known: precision is the fraction
of what the flow calls hidden that is hidden, recall the fraction of what is hidden that it finds.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from layered import layered_clip

from nst_rt.images.io import Frame
from nst_rt.infer.evaluate.model import pan_photos
from nst_rt.infer.stability.tracking import Tracker
from nst_rt.metrics.flow import Correspondence, Field, flow_correspondence, interpolated, pixel_grid
from nst_rt.metrics.stability import pan_photo

Method = Callable[[Frame, Frame], Correspondence]
Clip = tuple[list[Frame], list[Correspondence]]

_UNKNOWN = 1e9  # values from here on mark unknown flow in a .flo file
_MAGIC = 202021.25
_NOISE = 1.5  # standard deviation, levels


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    one, other = (read_frame(folder / f"rubberwhale{number}.png") for number in (1, 2))
    truth = true_flow(folder / "rubberwhale_flow.flo")
    methods = {
        "figures (DIS, preset medium)": flow_correspondence,
        "stabilizer": tracker_correspondence,
    }
    print(
        "| flow | RubberWhale, end-point error, px | median | over 1 px | layered clip | over 1 px "
        "| camera stands, noise | over 1 px | ms |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, method in methods.items():
        seconds = []
        for _ in range(9):
            begin = time.perf_counter()
            found = method(other, one)  # positions of the first image's pixels in the second
            seconds.append(time.perf_counter() - begin)
        assert found.positions is not None
        flow = found.positions - pixel_grid(*one.shape[:2])
        known = (np.abs(truth) < _UNKNOWN).all(-1)
        errors = np.linalg.norm(flow - truth, axis=-1)[known]
        print(
            f"| {name} | {errors.mean():.3f} | {np.median(errors):.3f} | {(errors > 1).mean():.1%} "
            f"| {layered_errors(method, clips())} | {layered_errors(method, noisy_clips())} "
            f"| {1000 * min(seconds):.1f} |"
        )
    print("\n| hidden pixels of layered clips | precision | recall | fraction |")
    print("| --- | --- | --- | --- |")
    for name, method in methods.items():
        precision, recall, fraction = hidden(method)
        print(f"| {name} | {precision:.1%} | {recall:.1%} | {fraction:.1%} |")


def tracker_correspondence(before: Frame, now: Frame) -> Correspondence:
    """What the stabilizer goes by between two frames, scaled up to their size."""
    tracker = Tracker()
    grid = pixel_grid(*now.shape[:2])
    motion = tracker.motion(tracker.view(before), tracker.view(now))
    if motion is None:
        return Correspondence(grid, np.zeros(now.shape[:2], np.bool_))
    scale = np.divide(now.shape[1::-1], motion.back.shape[1::-1], dtype=np.float32)
    positions = interpolated(motion.back * scale, now.shape) + grid
    return Correspondence(positions, interpolated(motion.trust, now.shape) > 0)


def read_frame(file: Path) -> Frame:
    """A frame from an image file.

    Raises:
        SystemExit: it cannot be read.
    """
    frame = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if frame is None:
        raise SystemExit(f"{file}: missing, or not an image")
    return np.asarray(frame, np.uint8)


def true_flow(file: Path) -> Field:
    """The flow in a .flo file: a magic number, width, height, then (x, y) by rows."""
    numbers = np.fromfile(file, "<f4")
    if not len(numbers) or numbers[0] != _MAGIC:
        raise SystemExit(f"{file}: not a .flo file")
    width, height = numbers[1:3].view("<i4")
    return numbers[3:].reshape(height, width, 2)


def layered_errors(method: Method, found_in: Sequence[Clip]) -> str:
    """End-point error over pixels that are visible and found, and the fraction that is wrong."""
    errors, wrong = [], []
    for frames, truth in found_in:
        for before, now, true in zip(frames, frames[1:], truth, strict=False):
            found = method(before, now)
            apart = np.linalg.norm(found.positions - true.positions, axis=-1)
            apart = apart[true.visible & found.visible]
            errors.append(apart.mean())
            wrong.append((apart > 1).mean())
    return f"{np.mean(errors):.3f} | {np.mean(wrong):.1%}"


def hidden(method: Method) -> tuple[float, float, float]:
    """Precision and recall of what is called hidden, and its fraction of all pixels."""
    both = called = truly = pixels = 0
    for frames, truth in clips():
        for before, now, true in zip(frames, frames[1:], truth, strict=False):
            covered, unseen = ~method(before, now).visible, ~true.visible
            near = cv2.dilate(unseen.astype(np.uint8), np.ones((3, 3))) > 0  # tolerance: one pixel
            both += np.count_nonzero(covered & near)
            called += np.count_nonzero(covered)
            truly += np.count_nonzero(unseen)
            pixels += unseen.size
    return both / max(called, 1), min(both / max(truly, 1), 1.0), called / pixels


def clips(*, camera_moves: bool = True) -> list[Clip]:
    """Layered clips of the photos of scikit-image."""
    return [layered_clip(pan_photo(photo), 4, camera_moves=camera_moves) for photo in pan_photos()]


def noisy_clips() -> list[Clip]:
    """Layered clips with a still camera and sensor noise."""
    random = np.random.default_rng(0)

    def noisy(frame: Frame) -> Frame:
        return np.clip(np.rint(random.normal(frame, _NOISE)), 0, 255).astype(np.uint8)

    return [
        ([noisy(frame) for frame in frames], truth) for frames, truth in clips(camera_moves=False)
    ]


if __name__ == "__main__":
    main()
