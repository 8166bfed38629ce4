"""Videos that are no video files: folders of images, and animated WebP (unknown to FFmpeg)."""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import IMAGE_SUFFIXES, Frame, image_shape, load_picture
from nst_rt.images.pillow import readable_image
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.video.probe import Damage, VideoInfo
from nst_rt.infer.video.reader import check_range
from nst_rt.infer.video.source import Mark, VideoSource
from nst_rt.infer.video.transforms import Size, target_size

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (*IMAGE_SUFFIXES, ".avif", ".gif")
_FOLDER_RATE = 25
FOLDER_RATE = Fraction(_FOLDER_RATE)  # default frames per second of a folder
_MILLISECONDS = Fraction(1, 1000)
_STILL = 100  # milliseconds of a WebP frame without duration, as in browsers


class PictureReader(VideoSource):
    """A folder of images in the order of their numbers (2 before 10), or an animated WebP.

    Images that cannot be read are left out and listed in `damage`.

    Args:
        path: the folder or the file.
        start, end: seconds, to read a part.
        rate: frames per second of a folder.
        size, scale: see `target_size`.

    Raises:
        InputError: nothing readable, or `start` and `end` do not make a range.
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
        path = Path(path)
        self._images = numbered_images(path) if path.is_dir() else []
        super().__init__(path, self._folder_info(path, rate) if self._images else _webp_info(path))
        self._first = self.info.height, self.info.width
        self._target = target_size(
            self.info.width, self.info.height, size=size, scale=scale, stretch=Fraction(1)
        )
        self._start = round((start or 0) / self.time_base)
        self._end = None if end is None else round(end / self.time_base)

    @property
    def expected(self) -> int:
        """Approximate number of frames."""
        if not self._images:
            return self.info.frames
        last = len(self._images) if self._end is None else min(self._end, len(self._images))
        return max(last - self._start, 0)

    def frames(self, after: Mark | None = None) -> Iterator[TimedFrame]:
        for timed in self._folder_frames(after) if self._images else self._webp_frames():
            pts = timed.pts - self._start
            if self._end is not None and timed.pts >= self._end:
                return
            if pts < (0 if after is None else after.pts):
                continue
            image = self._fitted(timed.image, self._first, self._target)
            yield replace(timed, image=image, pts=pts, source=pts)

    def _folder_frames(self, after: Mark | None) -> Iterator[TimedFrame]:
        first = self._start + (0 if after is None else after.pts)
        for number, path in enumerate(self._images[first:], first):
            try:
                image = self._image(path)
            except InputError as error:
                logger.warning("skipped: %s", error)
                begin, end = (float(tick * self.time_base) for tick in (number, number + 1))
                self.damage.append(Damage(begin, end))
                continue
            yield TimedFrame(image, number, 1)

    def _image(self, path: Path) -> Frame:
        picture = load_picture(path)
        frame = tensor_to_frame(picture.image)
        if picture.alpha is None:
            return frame
        alpha = picture.alpha[0, 0].mul(255).round().byte().numpy()
        return self._over_white(np.dstack([frame, alpha]))

    def _webp_frames(self) -> Iterator[TimedFrame]:
        pts = 0
        with readable_image(self.path) as animation:
            for number in range(self.info.frames):
                try:
                    animation.seek(number)
                    animation.load()
                except (OSError, EOFError):
                    self.damage.append(Damage(pts / 1000, pts / 1000))
                    return
                duration = round(animation.info.get("duration") or _STILL)
                rgba = np.asarray(animation.convert("RGBA"), np.uint8)
                bgra = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), np.uint8)
                yield TimedFrame(self._over_white(bgra), pts, duration)
                pts += duration

    def _folder_info(self, folder: Path, rate: Fraction) -> VideoInfo:
        count = len(self._images)
        for path in self._images:
            with suppress(InputError):  # reported when its turn comes
                height, width = image_shape(path)
                return VideoInfo(width, height, rate, 1 / rate, 0, count, float(count / rate), None)
        raise InputError(f"{folder}: none of its {count} images can be read")


def _webp_info(path: Path) -> VideoInfo:
    with readable_image(path) as animation:
        width, height = animation.size
        count = getattr(animation, "n_frames", 1)
        animation.load()
        duration = round(animation.info.get("duration") or _STILL)
    rate = Fraction(1000, duration)
    return VideoInfo(width, height, rate, _MILLISECONDS, 0, count, None, None)


def numbered_images(folder: Path) -> list[Path]:
    """Images of a folder in the order of the numbers in their names.

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
        raise InputError(f"{folder}: no images in this folder")
    return sorted(found, key=lambda path: _natural(path.name))


def is_animated_webp(path: Path | str) -> bool:
    """Whether a file is an animated WebP, of which FFmpeg reads the first frame only."""
    try:
        with readable_image(path, formats=("WEBP",)) as opened:
            return bool(getattr(opened, "is_animated", False))
    except InputError:
        return False


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)  # digits of all scripts, which int() reads
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
