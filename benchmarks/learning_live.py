"""A style that is learned while a film plays as a camera: first frame, and both rates.

    python benchmarks/learning_live.py --style-image nst_rt/assets/styles/mosaic.jpg

`nst-rt webcam` plays the film of the demo in a loop, without a window, and serves it as MJPEG. The
time of the first stylized frame counts from the start of the program. The style is learned anew.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from nst_rt.infer.packaged import packaged_film
from nst_rt.learning.library import Library

_START_OF_JPEG = b"\xff\xd8"
_PATIENCE = 120.0  # seconds


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--style-image", required=True, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=60, help="of stylized frames")
    parser.add_argument("--size", default="1280x720", help="of the frames, at most")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    print("| first stylized frame | frames per second | crops | crops per second |")
    print(f"|{' --- |' * 4}")
    for _ in range(options.rounds):
        first, rate, crops = measured(options.style_image, options.seconds, options.size)
        print(
            f"| {first:.1f} s | {rate:.1f} | {crops} | {crops / options.seconds:.1f} |", flush=True
        )


def measured(style_image: str, seconds: float, size: str) -> tuple[float, float, int]:
    """Seconds until the first stylized frame, frames per second, and crops."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nst_rt", "webcam", str(packaged_film()), "--loop"]
        command += ["--no-window", "--mjpeg", str(port), "--size", size, "--json"]
        command += ["--duration", str(seconds), "--style-image", style_image]
        env = {**os.environ, "NST_RT_DATA": folder}
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            await_frame(f"http://127.0.0.1:{port}/")
            first = time.perf_counter() - begin
            facts = json.loads(process.communicate()[0])
        finally:
            process.terminate()
            process.wait()
        [style] = Library(Path(folder) / "learned")
    return first, facts["frames"] / facts["seconds"], style.record["crops"]


def await_frame(address: str) -> None:
    """Wait until a server serves its first frame."""
    end = time.perf_counter() + _PATIENCE
    while time.perf_counter() < end:
        try:
            with urllib.request.urlopen(f"{address}stream.mjpg", timeout=_PATIENCE) as stream:
                received = b""
                while _START_OF_JPEG not in received:
                    received += stream.read(1024)
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    sys.exit(f"{address}: no frame within {_PATIENCE:.0f} s")


if __name__ == "__main__":
    main()
