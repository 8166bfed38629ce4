"""Images and frames of videos that visitors sent, decoded once for all styles."""

import threading
from collections import OrderedDict
from functools import partial

from nst_rt.images.io import Frame
from nst_rt.infer.video.sampling import video_frame
from nst_rt.infer.web.decoding.images import image_frame
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.uploads import Upload

_KEPT = 8  # frames of the size of a preview


class Originals:
    """The latest images and frames that were asked for, at reduced sizes."""

    def __init__(self, decoders: Decoders) -> None:
        self._decoders = decoders
        self._kept: OrderedDict[tuple[str, int, float], Frame] = OrderedDict()
        self._lock = threading.Lock()

    def frame(self, upload: Upload, *, size: int, at: float = 0.0) -> Frame:
        """An image, or a frame of a video, shape (H, W, 3), uint8 BGR.

        Args:
            upload: image or video.
            size: pixels of the long side; small ones are not enlarged.
            at: time of the frame in a video, seconds.

        Raises:
            InputError: a size or a time out of range; a file that cannot be decoded.
            VideoError: nothing of the video can be decoded.
        """
        size = min(size, max(upload.facts["width"], upload.facts["height"]))
        key = (upload.id, size, at)
        with self._lock:
            known = self._kept.get(key)
        if known is not None:
            return known
        decode, pixels = partial(image_frame, upload.path, size), upload.pixels(size)
        if upload.kind == "video":  # of which the header may state any shape
            decode, pixels = partial(video_frame, upload.path, at, size), max(size, 0) ** 2
        frame = self._decoders.run(upload.path, decode, writes=3 * pixels)
        with self._lock:
            self._kept[key] = frame
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return frame
