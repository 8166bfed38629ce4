"""What it costs that the studio decodes visitors' files in other processes.

    python benchmarks/web_decoders.py

An image of 12 megapixels, a live frame of 640x480 and a video are each decoded here, and in a
worker process, in turns; the video is stylized in four seconds of the packaged film, by networks
that are compiled already and in a process of its own. Times are medians of some runs.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from nst_rt.images.io import Frame
from nst_rt.infer.adaptive import LiveStyle
from nst_rt.infer.frame_stylizer import FrameStylizer
from nst_rt.infer.packaged import packaged_film
from nst_rt.infer.video import stylize_video
from nst_rt.infer.web.decoding.conversion import Conversion, convert
from nst_rt.infer.web.decoding.images import decode_jpeg, whole_image
from nst_rt.infer.web.decoding.pool import Decoders
from nst_rt.infer.web.decoding.videos import write_clip
from nst_rt.infer.web.settings import Limits
from nst_rt.infer.web.stylizers import SharedStylizer, encode_image
from nst_rt.models.style_model import StyleModel, gallery_files

_LIMITS = Limits(upload=1, storage=1, pixels=50 * 10**6, seconds=1, viewers=1)
_CHOICE = LiveStyle({"starry_night": 1.0})


def main() -> None:
    """Measure and print."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        decoders = Decoders(folder, _LIMITS)
        decoders.warm()
        image = folder / "image.jpg"
        image.write_bytes(encode_image(smooth(4000, 3000)))
        jpeg = encode_image(smooth(640, 480))
        for name, task, runs in (
            ("image, 12 megapixels", partial(whole_image, image), 9),
            ("live frame, 640x480", partial(decode_jpeg, jpeg), 300),
        ):
            pairs = [(timed(task), timed(partial(decoders.run, name, task))) for _ in range(runs)]
            here, there = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
            print(f"{name}: {here:.2f} ms here, {there:.2f} ms in a worker", flush=True)
        decoders.close()
        compare_videos(folder)


def smooth(width: int, height: int) -> Frame:
    """A frame with the detail of a photo, more or less."""
    levels = np.random.default_rng(0).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return np.asarray(cv2.resize(levels, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def timed(task: Callable[[], object]) -> float:
    """Seconds that a task takes."""
    begin = time.perf_counter()
    task()
    return time.perf_counter() - begin


def note(times: list[float], *_: object) -> None:
    """Note the time of a frame."""
    times.append(time.perf_counter())


def compare_videos(folder: Path) -> None:
    """Stylize a video here and in a process of its own; print when frames came."""
    source = folder / "film.mp4"
    write_clip(packaged_film(), source, start=0, seconds=4, size=640)
    models = [StyleModel.load(file) for file in dict.fromkeys(gallery_files().values())]
    shared = SharedStylizer(*models, backend="openvino")
    shared.prepare(480, 640)
    files = []
    for number, model in enumerate(shared.style_set.models(_CHOICE.blend)):
        files.append(model.save(folder / f"model_{number}.safetensors"))
    loading = {"backend": shared.backend, **shared.loading}

    def here(output: Path, tell: Callable[..., object]) -> None:
        stylizer = FrameStylizer(shared.in_style(_CHOICE))
        stylize_video(source, output, style=stylizer, stability=_CHOICE.stability, progress=tell)

    def there(output: Path, tell: Callable[..., object]) -> None:
        convert(
            Conversion(source, output, folder / "newest.jpg", tuple(files), _CHOICE, loading),
            started=lambda process: None,
            check=lambda: None,
            progress=tell,
            show=lambda: None,
        )

    first: dict[str, list[float]] = {}
    each: dict[str, list[float]] = {}
    for run in range(4):  # the first one is not counted: networks are compiled for the size
        for name, stylize in (("here", here), ("in a process of its own", there)):
            times = [time.perf_counter()]
            stylize(folder / f"{name}{run}.mp4", partial(note, times))
            if run:
                first.setdefault(name, []).append(times[1] - times[0])
                each.setdefault(name, []).append((times[-1] - times[1]) / (len(times) - 2))
    for name in first:
        begin, frame = statistics.median(first[name]), 1000 * statistics.median(each[name])
        print(f"video, {name}: first frame after {begin:.2f} s, then {frame:.1f} ms each")


if __name__ == "__main__":
    main()
