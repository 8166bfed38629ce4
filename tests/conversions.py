"""Conversions in processes of their own, to be killed or run out of disk space."""

import errno
import gc
import multiprocessing
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
from videos import Untouched

from nst_rt.errors import InputError
from nst_rt.infer.stylizer import Stylizer
from nst_rt.infer.video import ConversionSettings, VideoReader, check_conversion, stylize_video
from nst_rt.models.style_model import StyleModel

# Starts processes fast, since PyTorch is imported once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["nst_rt.infer.video"])


class Grainy(Untouched):
    """Adds noise that depends on the frame alone."""

    identity = "grainy"

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(int(frame.sum()))
        return np.clip(frame * 0.6 + random.normal(60, 20, frame.shape), 0, 255).astype(np.uint8)


def network_stylizer(model: Path) -> Stylizer:
    """A stylizer with a network, which is compiled once for all processes."""
    return Stylizer(
        StyleModel.load(model), "waves", backend="openvino", device="cpu", stroke_size="1:1"
    )


def run(function: Any, *arguments: Any) -> int:
    """Exit code of a function in a process of its own; negative for a signal."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def killed_at_file(
    source: Path, output: Path, calls: int, before: bool, settings: dict[str, Any]
) -> None:
    """Resume a conversion, and die when a file is renamed for the `calls`-th time."""
    replace, left = Path.replace, [calls]

    def deadly(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = replace(self, target)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = deadly  # type: ignore[method-assign, assignment]
    stylize_video(source, output, style=Grainy(), resume=True, **settings)


def killed_at_frame(
    source: Path, output: Path, frames: int, settings: dict[str, Any], model: Path | None = None
) -> None:
    """Resume a conversion, with a model if one is given, and die after a number of frames."""

    def deadly(done: float, total: object, note: str, left: list[int] = [frames]) -> None:  # noqa: B006
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    style = Grainy() if model is None else network_stylizer(model)
    stylize_video(source, output, style=style, resume=True, progress=deadly, **settings)


def with_full_disk(source: Path, output: Path, bytes_: int, settings: dict[str, Any]) -> None:
    """Convert with a limit on the size of files; exit with the error's code."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))
    try:
        stylize_video(source, output, style=Grainy(), **settings)
    except Exception as error:
        cause = error.__cause__
        assert isinstance(cause, OSError)
        assert cause.errno == errno.EFBIG
        os._exit(getattr(error, "exit_code", 1))


def through_pipes(source: Path | None, output: Path | None, other: Path) -> None:
    """Convert from standard input if `source` is given, to standard output if `output` is."""
    if source is not None:
        os.dup2(os.open(source, os.O_RDONLY), 0)
    if output is not None:
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), 1)
    begin = "-" if source is not None else other
    end = "-" if output is not None else other
    stylize_video(begin, end, style=Untouched())


def over_source_of_pipe(source: Path) -> None:
    """Convert standard input to the file it comes from; exit with the error's code."""
    os.dup2(os.open(source, os.O_RDONLY), 0)
    try:
        check_conversion("-", source, ConversionSettings(overwrite=True))
    except InputError as error:
        os._exit(error.exit_code)


def read_and_collect(source: Path, frames: int) -> None:
    """Read a video and free everything."""
    assert len(list(VideoReader(source))) == frames
    gc.collect()


def read_pipe_for_images(source: Path, output: Path) -> None:
    """Read a pipe for an output without sound."""
    os.dup2(os.open(source, os.O_RDONLY), 0)
    request = check_conversion("-", output)
    assert len(list(request.reader.frames())) == 25
    assert request.reader.others is None
