"""Frame rate and latency of the webcam window, measured from outside of it.

    python benchmarks/live.py -o live.json

A camera of our own sends MJPEG at 30 frames per second, each frame with its number in large blocks
(see time_code.py), and notes when it made each one. `nst-rt webcam` shows it under Xvfb. The screen
is read from the X server's memory, hundreds of times a second, and the number tells how old the
frame is: from capture to display, including encoding, sending and decoding the camera's JPEG. All
of it shares the machine with the window, as the driver of a real camera would. The first frame that
is seen may be a preview, which the window shows until the style is ready.
"""

import argparse
import json
import mmap
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
from time_code import BITS, numbered, read_number

from nst_rt.images.io import Frame
from nst_rt.infer.frames import TimedFrame
from nst_rt.infer.live.mjpeg import MjpegServer
from nst_rt.infer.live.window import TITLE
from nst_rt.infer.packaged import packaged_film
from nst_rt.infer.strokes import resized_frame
from nst_rt.infer.stylizer import load_style

_SAMPLING = 0.002  # seconds between samples of the screen
_SEARCH = ["xdotool", "search", "--name", f"^{TITLE}$"]
_XWD_HEADER = 25  # words, big-endian, of X11/XWDFile.h


def main() -> None:
    """Print a Markdown table and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--size", default="640x480", metavar="WxH")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds to measure")
    parser.add_argument("--camera-fps", type=float, default=30.0)
    parser.add_argument("--style", default="starry_night")
    parser.add_argument(
        "options", nargs="*", help="options of nst-rt webcam: -- --fps 0 --strength 0.5"
    )
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    load_style(options.style).prepare(height, width)  # into the cache, as in an earlier session
    with (
        NumberedCamera((width, height), options.camera_fps) as camera,
        screen() as (display, pixels),
    ):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "nst_rt", "webcam", camera.url, "--style", options.style]
        env = {**os.environ, "DISPLAY": display}
        window = subprocess.Popen([*command, *options.options], env=env)
        try:
            opened = opening_time(window, env) - begin
            stylized = first_number(pixels, (width, height)) - begin
            time.sleep(5)  # until the scale that holds the frame rate is found
            figures = measured(camera, pixels, (width, height), options.seconds)
        finally:
            subprocess.run(
                [*_SEARCH, "windowfocus", "key", "q"], env=env, stdout=subprocess.DEVNULL
            )
            window.wait()
    figures |= {"size": options.size, "window_s": opened, "first_frame_s": stylized}
    print("| size | shown | latency, median | latency, 95 % | window after | first frame after |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {options.size} | {figures['fps']:.1f} fps | {figures['latency_ms']:.0f} ms | "
        f"{figures['latency_95_ms']:.0f} ms | {opened:.1f} s | {stylized:.1f} s |"
    )
    print(f"\n{figures['read']:.0%} of the samples readable; camera: {figures['sent']:.1f} fps")
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1))


class NumberedCamera:
    """An MJPEG camera on loopback whose frames carry their numbers."""

    def __init__(self, size: tuple[int, int], fps: float) -> None:
        self.made: dict[int, float] = {}
        self.sent = 0
        self._fps = fps
        self._frames: list[Frame] = []
        film = cv2.VideoCapture(str(packaged_film()))
        while (read := film.read())[0]:
            self._frames.append(resized_frame(np.asarray(read[1], np.uint8), size[::-1]))
        self._server = MjpegServer(0)
        self.url = self._server.links[0]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "NumberedCamera":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._server.close()

    def _run(self) -> None:
        begin = time.perf_counter()
        for number, frame in enumerate(cycle(self._frames)):
            if self._ended.wait(max(begin + number / self._fps - time.perf_counter(), 0)):
                return
            marked = numbered(frame, number)
            self.made[number % 2**BITS] = time.perf_counter()
            self.sent += 1
            self._server.write(TimedFrame(marked, number))


class ScreenPixels:
    """Current pixels of a virtual screen, from the file in which its X server keeps them (XWD)."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)
        header = struct.unpack(f">{_XWD_HEADER}I", self._memory[: 4 * _XWD_HEADER])
        size, width, height, stride, colors = header[0], *header[4:6], header[12], header[19]
        self._pixels = np.frombuffer(
            self._memory, np.uint8, stride * height, offset=size + 12 * colors
        ).reshape(height, stride // 4, 4)[:, :width]

    def __call__(self, size: tuple[int, int]) -> Frame:
        """A view of the upper left corner, BGR; it keeps changing."""
        return self._pixels[: size[1], : size[0], :3]


@contextmanager
def screen() -> Iterator[tuple[str, ScreenPixels]]:
    """Name and pixels of a new virtual screen."""
    with tempfile.TemporaryDirectory() as folder:
        read, write = os.pipe()
        command = ["Xvfb", "-noreset", "-displayfd", str(write), "-fbdir", folder]
        server = subprocess.Popen(
            [*command, "-screen", "0", "1920x1080x24"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            display = f":{pipe.readline().strip()}"
        try:
            yield display, ScreenPixels(Path(folder) / "Xvfb_screen0")
        finally:
            server.terminate()
            server.wait()


def opening_time(window: subprocess.Popen[bytes], env: dict[str, str]) -> float:
    """Time at which the window appears."""
    while window.poll() is None:
        found = subprocess.run(_SEARCH, env=env, capture_output=True, check=False)
        if found.stdout.strip():
            return time.perf_counter()
        time.sleep(0.02)
    raise SystemExit("nst-rt webcam ended before its window appeared")


def first_number(pixels: ScreenPixels, size: tuple[int, int]) -> float:
    """Time at which the first numbered frame appears."""
    while read_number(pixels(size)) is None:
        time.sleep(0.01)
    return time.perf_counter()


def measured(
    camera: NumberedCamera, pixels: ScreenPixels, size: tuple[int, int], seconds: float
) -> dict[str, float]:
    """Frame rate and latency on the screen: the age of each frame when it is seen first."""
    ages: list[float] = []
    samples = unreadable = 0
    last = None
    begin = time.perf_counter()
    sent_before = camera.sent
    while (now := time.perf_counter()) < begin + seconds:
        number = read_number(pixels(size))
        samples += 1
        if number is None:
            unreadable += 1
        elif number != last and number in camera.made:
            last = number
            ages.append(now - camera.made[number])
        time.sleep(_SAMPLING)
    ages.sort()
    return {
        "fps": len(ages) / seconds,
        "latency_ms": 1000 * statistics.median(ages),
        "latency_95_ms": 1000 * ages[int(0.95 * len(ages))],
        "read": 1 - unreadable / samples,
        "sent": (camera.sent - sent_before) / seconds,
    }


if __name__ == "__main__":
    main()
