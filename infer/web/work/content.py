"""What a style is learned on: a visitor's images, videos and folders of photos."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from nst_rt.errors import InputError
from nst_rt.images.convert import tensor_to_frame
from nst_rt.images.io import Frame, load_image
from nst_rt.infer.learning.content import MOST
from nst_rt.infer.learning.process import LONG_SIDE
from nst_rt.infer.web.decoding.images import image_frame
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.decoding.videos import frames_of_video
from nst_rt.infer.web.uploads import Upload

Content = Callable[[], Iterator[Frame]]
"""Gives images to learn on, shape (H, W, 3), uint8 BGR; called again when a learning restarts."""

_VIDEO_FRAMES = 16


def frames_of(uploads: Sequence[Upload], decoders: Decoders) -> list[Content]:
    """Images and videos of a visitor, and folders of photos, as images to learn on."""
    return [partial(_frames, upload, decoders) for upload in uploads]


def _frames(upload: Upload, decoders: Decoders) -> Iterator[Frame]:
    with upload.in_use():
        if upload.kind == "album":
            files = sorted(upload.path.glob("*.jpg"))
            for place in np.random.default_rng(0).permutation(len(files))[:MOST]:
                with suppress(InputError):
                    yield tensor_to_frame(load_image(files[place]))  # which the studio wrote
            return
        size = min(LONG_SIDE, max(upload.facts["width"], upload.facts["height"]))
        if upload.kind == "image":
            decode = partial(image_frame, upload.path, size)
            yield decoders.run(upload.path, decode, writes=3 * upload.pixels(size))
            return
        spread = partial(frames_of_video, upload.path, _VIDEO_FRAMES, size)
        yield from decoders.run(upload.path, spread, writes=3 * _VIDEO_FRAMES * size**2)
