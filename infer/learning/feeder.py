"""What goes into a process that learns a style, and what is shown of it: frames, and a preview."""

import logging
import threading
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import numpy as np

from nst_rt.errors import InputError, StyleTransferError
from nst_rt.images.io import Frame, save_image
from nst_rt.infer.learning.process import LearningProcess
from nst_rt.learning.request import Image

logger = logging.getLogger(__name__)


class Feeder:
    """Shows frames to the process, in a thread.

    Args:
        process: the process.
        frames: what the style is for.
        others: frames from elsewhere, see `LearningProcess.show`.
    """

    def __init__(
        self, process: LearningProcess, frames: Iterable[Frame], others: Iterable[Frame] = ()
    ) -> None:
        self._process, self._frames, self._others = process, frames, others
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self.is_done, self.shown = False, 0
        self._thread = threading.Thread(target=self._run, name="content", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for both in zip_longest(self._frames, self._others):
                for frame, is_other in zip(both, (False, True), strict=True):
                    if self._stopped.is_set():
                        return
                    if frame is not None:
                        self._process.show(frame, is_other=is_other)
                        self.shown += 1
            if not self.shown:
                self._error = InputError("there is nothing to learn on: give `photos`")
        except Exception as error:  # raised where the result is waited for
            self._error = error
        self.is_done = True

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._stopped.set()


class Preview:
    """The image file that shows a style while it is learned."""

    def __init__(self, file: Path | str | None) -> None:
        self._file = file
        self._is_written = False
        if file is not None:
            logger.info("%s: a preview of the style while it is learned", file)

    def show(self, image: Image | None) -> None:
        """Write it; a preview that cannot be written is given up."""
        if self._file is None or image is None:
            return
        try:
            save_image(np.ascontiguousarray(image[..., ::-1]), self._file, overwrite=True)
            self._is_written = True
        except (StyleTransferError, OSError) as error:
            logger.warning("%s: no preview (%s)", self._file, error)
            self._file = None

    def remove(self) -> None:
        if self._file is not None and self._is_written:
            Path(self._file).unlink(missing_ok=True)
