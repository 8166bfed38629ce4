"""What a style is learned on: a visitor's images, videos and folders of photos."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.learning.content import MOST
from nst_rt.infer.learning.live import LiveLearning
from nst_rt.infer.learning.process import LONG_SIDE
from nst_rt.infer.web.decoding.images import image_frame
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.decoding.videos import frames_of_video
from nst_rt.infer.web.uploads import Upload

logger = logging.getLogger(__name__)

Content = Callable[[], Iterator[Frame]]
"""Gives images to learn on, shape (H, W, 3), uint8 BGR; called again when a learning restarts."""

MAX_CONTENT = 100  # uploads to learn on
_VIDEO_FRAMES = 16
_FEED_SECONDS = 0.6  # between two images to learn on; more often, `LiveLearning` takes none


def frames_of(uploads: Sequence[Upload], decoders: Decoders) -> dict[str, Content]:
    """Images and videos of a visitor, and folders of photos, as images to learn on, by id."""
    return {upload.id: partial(_frames, upload, decoders) for upload in uploads}


class Feeding:
    """Shows content to a learning, one image after another, in a thread, while it learns.

    Args:
        learning: the learning.
        content: what to show, by id.
    """

    def __init__(self, learning: LiveLearning, content: Mapping[str, Content]) -> None:
        self._learning = learning
        self._lock = threading.Lock()
        self._content: dict[str, Content] = {}
        self._left: list[str] = []  # ids of what is still to be shown
        self._frames: Iterator[Frame] = iter(())  # of what is being shown
        self._ended = threading.Event()
        self.add(content)
        threading.Thread(target=self._run, name="studio content", daemon=True).start()

    @property
    def content(self) -> dict[str, Content]:
        """All content, by id."""
        with self._lock:
            return dict(self._content)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def add(self, content: Mapping[str, Content]) -> None:
        """Show more content; what is known is not shown again, and the oldest of too much is left
        out.
        """
        with self._lock:
            for id, give in content.items():
                if id not in self._content:
                    self._left.append(id)
                self._content[id] = self._content.pop(id, give)  # the newest now
            for id in list(self._content)[:-MAX_CONTENT]:
                del self._content[id]
            self._left = [id for id in self._left if id in self._content]

    def again(self) -> None:
        """Show everything from the start, to a process that has seen nothing yet."""
        with self._lock:
            self._left = list(self._content)
            self._frames = iter(())

    def end(self) -> None:
        """Show no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(_FEED_SECONDS):
            # Before it has begun, and in a pause, images would be lost.
            if self._learning.state == "learning" and (frame := self._next()) is not None:
                self._learning.offer(frame)

    def _next(self) -> Frame | None:
        """The next image, None if there is none."""
        while not self._ended.is_set():
            frames = self._frames
            try:
                if (frame := next(frames, None)) is not None:
                    return frame
            except StyleTransferError as error:  # a file that was removed, or cannot be decoded
                logger.info("not learned on: %s", error)
            with self._lock:
                if frames is not self._frames:  # all is shown again
                    continue
                if not self._left:
                    return None
                self._frames = self._content[self._left.pop(0)]()
        return None


def _frames(upload: Upload, decoders: Decoders) -> Iterator[Frame]:
    """Frames of an upload, which is in use only while it is read: who takes them may pause."""
    if upload.kind == "album":
        files = sorted(upload.path.glob("*.jpg"))
        for place in np.random.default_rng(0).permutation(len(files))[:MOST]:
            with suppress(InputError):
                yield _photo(upload, files[place])
        return
    size = min(LONG_SIDE, max(upload.facts["width"], upload.facts["height"]))
    if upload.kind == "image":
        decode = partial(image_frame, upload.path, size)
        with upload.in_use():
            frame = decoders.run(upload.path, decode, writes=3 * upload.pixels(size))
        yield frame
        return
    spread = partial(frames_of_video, upload.path, _VIDEO_FRAMES, size)
    with upload.in_use():
        frames = decoders.run(upload.path, spread, writes=3 * _VIDEO_FRAMES * size**2)
    yield from frames


def _photo(upload: Upload, file: Path) -> Frame:
    """A photo of an album, which the studio wrote."""
    with upload.in_use():
        return tensor_to_frame(load_image(file))
