"""Images and frames of videos that visitors sent, decoded once for all styles."""

import threading
from collections import OrderedDict
from pathlib import Path

from nst_rt.errors import VideoError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_picture
from nst_rt.infer.video.probe import probe
from nst_rt.infer.video.reader import VideoReader, check_range
from nst_rt.infer.video.transforms import check_shape
from nst_rt.infer.web.uploads import Upload

_KEPT = 8  # frames of the size of a preview


class Originals:
    """The latest images and frames that were asked for, at reduced sizes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, float], Frame] = OrderedDict()
        self._lock = threading.Lock()

    def frame(self, upload: Upload, *, size: int, at: float = 0.0) -> Frame:
        """An image, or a frame of a video, shape (H, W, 3), uint8 BGR.

        Args:
            upload: image or video.
            size: pixels of the long side; small ones are not enlarged.
            at: time of the frame in a video, seconds.

        Raises:
            InputError: a size or a time out of range.
            VideoError: nothing of the video can be decoded.
        """
        size = min(size, max(upload.facts["width"], upload.facts["height"]))
        key = (upload.id, size, at)
        with self._lock:
            known = self._kept.get(key)
        if known is not None:
            return known
        if upload.kind == "video":
            frame = video_frame(upload.path, at, size)
        else:
            frame = tensor_to_frame(load_picture(upload.path, size=size).image)
        with self._lock:
            self._kept[key] = frame
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return frame


def video_frame(path: Path, at: float, size: int) -> Frame:
    """The frame that a video shows at a time, or its last one, with `size` pixels on the long side.

    Raises:
        InputError: a size or a time out of range.
        VideoError: nothing can be decoded.
    """
    info = probe(path)
    check_range(at, None)
    check_shape(size=size, scale=None, fps=None)
    if info.end is not None:
        at = min(at, max(info.end - float(1 / info.rate), 0.0))
    for start in (at, 0.0):  # where the end is missing, the beginning is better than nothing
        if (first := next(VideoReader(path, start=start, size=size).frames(), None)) is not None:
            return first.image
    raise VideoError(f"{path}: no frame of this video can be decoded")
