"""Painted frames as pictures: GIF, animated WebP, numbered files."""

import contextlib
import re
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph

from nst_rt.errors import InputError, OutputExistsError
from nst_rt.files import partial_path
from nst_rt.images.io import IMAGE_SUFFIXES, save_image
from nst_rt.infer.video.encoder import Shape
from nst_rt.infer.video.probe import url
from nst_rt.infer.video.writers import Painted

ANIMATION_SUFFIXES = (".gif", ".webp")
_HUNDREDTH = Fraction(1, 100)  # second; what GIF counts in
_SHORTEST = 2  # hundredths between two frames, or browsers slow the whole film down
_NUMBER = re.compile(r"%0?(\d*)d")


class AnimationSink:
    """A GIF with a palette for each frame, or an animated WebP; both without sound.

    Args:
        output: .gif or .webp; it appears when it is complete.
    """

    def __init__(self, output: Path) -> None:
        self._output, self._partial = output, partial_path(output)
        self._is_gif = output.suffix.lower() == ".gif"
        options = {"loop": "0"}  # for ever
        # By its name alone FFmpeg would take 50%discount.gif for numbered pictures.
        format_ = "gif" if self._is_gif else "webp"
        self._container = av.open(url(self._partial), "w", format=format_, options=options)
        self._stream: av.VideoStream | None = None
        self._graph = Graph()
        self._last: int | None = None
        self._dropped = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out."""
        if not self._dropped:
            return ()
        return (f"{self._dropped} frames left out, which came too fast for the format",)

    def write(self, stylized: Painted, shape: Shape) -> None:
        """Encode a frame."""
        if self._stream is None:
            self._stream = self._new_stream(shape)
        pts = round(stylized.pts * shape.time_base / _HUNDREDTH)
        if self._last is not None and pts - self._last < _SHORTEST:
            self._dropped += 1
            return
        self._last = pts
        picture = av.VideoFrame.from_ndarray(stylized.frame, format="bgr24")
        picture.pts, picture.time_base = pts, _HUNDREDTH
        if self._is_gif:
            self._graph.vpush(picture)
            picture = self._graph.vpull()
            picture.pts, picture.time_base = pts, _HUNDREDTH
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Complete the file."""
        self._close()
        self._partial.replace(self._output)

    def abort(self) -> Path | None:
        """Finish what there is as `OUT.partial.EXT`."""
        with contextlib.suppress(av.FFmpegError, OSError):
            self._close()
        if self._last is None:
            self._partial.unlink(missing_ok=True)
            return None
        return self._partial

    def _close(self) -> None:
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def _new_stream(self, shape: Shape) -> av.VideoStream:
        codec = "gif" if self._is_gif else "libwebp_anim"
        stream = self._container.add_stream(codec, rate=shape.rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = shape.width, shape.height
        stream.pix_fmt = "pal8" if self._is_gif else "yuv420p"
        stream.codec_context.time_base = stream.time_base = _HUNDREDTH
        if self._is_gif:
            self._plan_palettes(shape)
        return stream

    def _plan_palettes(self, shape: Shape) -> None:
        graph = self._graph
        source = graph.add_buffer(
            width=shape.width,
            height=shape.height,
            format=av.VideoFormat("bgr24"),
            time_base=_HUNDREDTH,
        )
        split = graph.add("split")
        style_set = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1")
        source.link_to(split)
        split.link_to(style_set, 0, 0)
        split.link_to(use, 1, 0)
        style_set.link_to(use, 0, 1)
        use.link_to(graph.add("buffersink"))
        graph.configure()


class FolderSink:
    """Pictures with numbers from 1 on.

    Args:
        pattern: such as `frames/%06d.png`.
    """

    def __init__(self, pattern: Path) -> None:
        self._pattern = pattern
        self._count = 0
        self.warnings = ()
        pattern.parent.mkdir(parents=True, exist_ok=True)

    def write(self, stylized: Painted, shape: Shape) -> None:
        """Write a picture."""
        self._count += 1
        path = self._pattern.with_name(self._pattern.name % self._count)
        save_image(stylized.frame, path, overwrite=True)

    def finish(self) -> None:
        """All is there."""

    def abort(self) -> Path | None:
        """All pictures but the last are there."""
        return self._pattern.parent if self._count else None


def is_pattern(output: Path) -> bool:
    """A name such as `%06d.png`, for numbered pictures; `50%discount.mp4` is none."""
    return output.suffix.lower() in IMAGE_SUFFIXES and _NUMBER.search(output.name) is not None


def check_pattern(output: Path, *, overwrite: bool) -> Path:
    """Check where numbered pictures are to go.

    Raises:
        InputError: more than one number, or a file where the folder goes.
        OutputExistsError: there are such pictures already.
    """
    if output.name.count("%") != 1:
        raise InputError(f"{output}: numbered pictures have one %, as in %06d.png")
    if output.parent.exists() and not output.parent.is_dir():
        raise InputError(f"{output}: {output.parent} is a file, not a folder")
    if not overwrite and output.parent.is_dir():
        before, after = _NUMBER.split(output.name)[0], _NUMBER.split(output.name)[-1]
        taken = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        for path in output.parent.iterdir():
            if taken.fullmatch(path.name):
                raise OutputExistsError(f"{path}: exists already; --overwrite replaces it")
    return output
