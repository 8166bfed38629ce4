"""Frames that are no video file: a folder of pictures in order, and animated WebP."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from nst_rt.errors import InputError
from nst_rt.images.io import (
    IMAGE_SUFFIXES,
    Frame,
    image_shape,
    load_picture,
    readable_image,
    tensor_to_frame,
)
from nst_rt.infer.video.damage import Damage
from nst_rt.infer.video.probe import TimedFrame, VideoInfo
from nst_rt.infer.video.reader import CHANGES_SIZE, TRANSPARENT, Mark, check_range, digest
from nst_rt.infer.video.transforms import Size, fitted, over_white, target_size

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".avif", ".gif")
FOLDER_RATE = Fraction(25)  # frames per second of a folder, if nothing else is said
_MILLISECONDS = Fraction(1, 1000)
_STILL = 100  # milliseconds that a WebP's frame of no duration is shown, as browsers do


class Source(Protocol):
    """Frames with their times, from wherever; see `VideoReader`."""

    path: Path
    info: VideoInfo
    aspect: Fraction
    warnings: list[str]

    @property
    def damage(self) -> list[Damage]:
        """What could not be decoded so far."""

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the frames' times."""

    @property
    def expected(self) -> int:
        """Frames that will come, roughly; 0 if that cannot be known."""

    def state(self) -> dict[str, Any]:
        """What frames told so far that matters for those to come, in values that JSON knows."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as another reader of the same source whose `state` this was."""

    def frames(self, after: Mark | None = None) -> Iterator[TimedFrame]:
        """The frames; from the one that is marked on, itself included, if `after` is given."""


class PictureReader:
    """A folder of pictures, by their names (2 before 10), or an animated WebP, as a video.

    Pictures that cannot be read are left out, and their times told in `damage`.

    Args:
        path: the folder or the file.
        start, end: seconds, to read a part.
        rate: of a folder, frames per second.
        size, scale: see `target_size`.

    Raises:
        InputError: nothing there that could be read, or a range that is none.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        start: float | None = None,
        end: float | None = None,
        rate: Fraction = FOLDER_RATE,
        size: Size | None = None,
        scale: float | None = None,
    ) -> None:
        check_range(start, end)
        self.path = Path(path)
        self._pictures = numbered_pictures(self.path) if self.path.is_dir() else []
        self.info = self._folder_info(rate) if self.path.is_dir() else self._webp_info()
        self._first = self.info.height, self.info.width
        self._target = target_size(
            self.info.width, self.info.height, size=size, scale=scale, stretch=Fraction(1)
        )
        self.aspect = Fraction(1)
        self.damage: list[Damage] = []
        self.warnings: list[str] = []
        self._start = round((start or 0) / self.time_base)
        self._end = None if end is None else round(end / self.time_base)

    def __iter__(self) -> Iterator[TimedFrame]:
        return self.frames()

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the frames' times."""
        return self.info.time_base

    @property
    def expected(self) -> int:
        """Frames that will come, roughly."""
        if not self._pictures:
            return self.info.frames
        last = len(self._pictures) if self._end is None else min(self._end, len(self._pictures))
        return max(last - self._start, 0)

    def state(self) -> dict[str, Any]:
        """What frames told so far, in values that JSON knows."""
        return {"damage": [asdict(part) for part in self.damage]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as another reader of the same source whose `state` this was."""
        self.damage = [Damage(**part) for part in state["damage"]]

    def frames(self, after: Mark | None = None) -> Iterator[TimedFrame]:
        """The frames; from the one that is marked on, itself included, if `after` is given."""
        for timed in self._folder_frames(after) if self._pictures else self._webp_frames():
            pts = timed.pts - self._start
            if self._end is not None and timed.pts >= self._end:
                return
            if pts < (0 if after is None else after.pts):
                continue
            if timed.frame.shape[:2] != self._first:
                self._warn(CHANGES_SIZE)
            frame = fitted(timed.frame, self._first, self._target)
            if after is not None and pts == after.pts and digest(frame) != after.digest:
                raise InputError(f"{self.path}: its pictures have changed; --overwrite starts anew")
            yield replace(timed, frame=frame, pts=pts, source=pts)

    def _folder_frames(self, after: Mark | None) -> Iterator[TimedFrame]:
        first = self._start + (0 if after is None else after.pts)
        for number, path in enumerate(self._pictures[first:], first):
            try:
                frame = self._picture(path)
            except InputError as error:
                logger.warning("skipped: %s", error)
                self.damage.append(
                    Damage(float(number * self.time_base), float((number + 1) * self.time_base))
                )
                continue
            yield TimedFrame(frame, number, 1)

    def _picture(self, path: Path) -> Frame:
        picture = load_picture(path)
        frame = tensor_to_frame(picture.image)
        if picture.alpha is None:
            return frame
        alpha = picture.alpha[0, 0].mul(255).round().byte().numpy()
        return self._over_white(np.dstack([frame, alpha]))

    def _over_white(self, bgra: Frame) -> Frame:
        frame, is_transparent = over_white(bgra)
        if is_transparent:
            self._warn(TRANSPARENT)
        return frame

    def _webp_frames(self) -> Iterator[TimedFrame]:
        pts = 0
        with readable_image(self.path) as animation:
            for number in range(self.info.frames):
                try:
                    animation.seek(number)
                    animation.load()
                except (OSError, EOFError):
                    seconds = pts / 1000
                    self.damage.append(Damage(seconds, seconds))
                    return
                duration = round(animation.info.get("duration") or _STILL)
                rgba = np.asarray(animation.convert("RGBA"), np.uint8)
                bgra = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), np.uint8)
                yield TimedFrame(self._over_white(bgra), pts, duration)
                pts += duration

    def _folder_info(self, rate: Fraction) -> VideoInfo:
        height, width = self._first_shape()
        count = len(self._pictures)
        return VideoInfo(width, height, rate, 1 / rate, 0, count, float(count / rate), None)

    def _first_shape(self) -> tuple[int, int]:
        """Height and width of the first picture that can be read, which all get."""
        for path in self._pictures:
            with suppress(InputError):  # told when its turn comes
                return image_shape(path)
        raise InputError(f"{self.path}: none of its {len(self._pictures)} pictures can be read")

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            logger.warning("%s: %s", self.path, text)

    def _webp_info(self) -> VideoInfo:
        with readable_image(self.path) as animation:
            width, height = animation.size
            count = getattr(animation, "n_frames", 1)
            animation.load()
            duration = round(animation.info.get("duration") or _STILL)
        rate = Fraction(1000, duration)
        return VideoInfo(width, height, rate, _MILLISECONDS, 0, count, None, None)


def numbered_pictures(folder: Path) -> list[Path]:
    """Pictures of a folder in the order of the numbers in their names.

    Raises:
        InputError: there are none.
    """
    # macOS puts a ._NAME beside each file that it copies to other disks.
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith("._")
    ]
    if not found:
        raise InputError(f"{folder}: no pictures in this folder")
    return sorted(found, key=lambda path: _natural(path.name))


def is_animation(path: Path | str) -> bool:
    """An animated WebP file, which FFmpeg reads only the first frame of."""
    try:
        with Image.open(path, formats=["WEBP"]) as opened:
            return bool(getattr(opened, "is_animated", False))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return False


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)  # also digits of other scripts, which int() knows
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
