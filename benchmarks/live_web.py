"""The studio's live tab at 640x480, with browser, camera and studio on this machine.

    apt-get install chromium chromium-driver
    python benchmarks/live_web.py --seconds 20

Chromium plays a film as its camera, with a time code of large blocks drawn into each frame. The
round trip is the time from a code's appearance in the camera's image to its appearance in the
stylized image on the page; it includes the camera's copies, JPEG both ways, stylizing and
drawing. The number of codes seen gives the frame rate. The table also has the rate and the round
trip that the page displays, and the processor time of browser and studio, in cores.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from selenium import webdriver
from selenium.webdriver.common.by import By

from nst_rt.images.io import Frame
from nst_rt.infer.packaged import packaged_film

_BITS = 8
_BLOCK = 48  # pixels; two more blocks show how the style renders black and white
_FRAMES = 2**_BITS
_OLDEST = 90  # frames; older codes were misread

# Reads codes from the camera and from the stylized image, and notes when each appears.
_READ = """
const [bits, block] = arguments;
const video = document.getElementById("live-camera");
const canvas = document.getElementById("live-canvas");
const strip = new OffscreenCanvas((bits + 2) * 4, 4);
const context = strip.getContext("2d", {willReadFrequently: true});
function read(source, width) {
  const side = block * width / 640;
  context.drawImage(source, 0, 0, side * (bits + 2), side, 0, 0, strip.width, 4);
  const levels = context.getImageData(0, 2, strip.width, 1).data;
  const blocks = [...Array(bits + 2).keys()].map((i) => {
    const at = (i * 4 + 2) * 4;
    return levels[at] + levels[at + 1] + levels[at + 2];
  });
  const middle = (blocks[0] + blocks[1]) / 2;
  let gray = 0;
  for (let i = 0; i < bits; i++) gray = gray * 2 + (blocks[i + 2] > middle ? 1 : 0);
  for (let shift = bits >> 1; shift; shift >>= 1) gray ^= gray >> shift;
  return gray;
}
const seen = window.seen = {camera: [], screen: []};
function note(list, code) {
  if (list.length === 0 || list.at(-1)[0] !== code) list.push([code, performance.now()]);
}
video.requestVideoFrameCallback(function next() {
  note(seen.camera, read(video, video.videoWidth));
  video.requestVideoFrameCallback(next);
});
requestAnimationFrame(function next() {
  note(seen.screen, read(canvas, canvas.width));
  requestAnimationFrame(next);
});
"""


def main() -> None:
    """Print a table, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write all figures to FILE as JSON"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of the measurement")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds before it")
    parser.add_argument("--style", default="starry_night")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        camera = write_camera(Path(folder) / "camera.mjpeg")
        studio, link = open_studio()
        try:
            figures = measure(camera, link, studio, options)
        finally:
            studio.terminate()
            studio.wait()
    print("| " + " | ".join(figures) + " |")
    print("|" + " --- |" * len(figures))
    print("| " + " | ".join(f"{value:.4g}" for value in figures.values()) + " |")
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1))


def write_camera(path: Path) -> Path:
    """The film at 640x480, with a time code in each frame, as MJPEG."""
    capture = cv2.VideoCapture(str(packaged_film()))
    frames: list[Frame] = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(cv2.resize(read[1], (640, 480)), np.uint8))
    there_and_back = [*frames, *frames[-2:0:-1]]
    with path.open("wb") as file:
        for number in range(_FRAMES):
            frame = there_and_back[number % len(there_and_back)].copy()
            gray = number ^ number >> 1
            bits = [False, True, *(bool(gray >> i & 1) for i in reversed(range(_BITS)))]
            for i, bit in enumerate(bits):
                frame[:_BLOCK, i * _BLOCK : (i + 1) * _BLOCK] = 255 if bit else 0
            file.write(cv2.imencode(".jpg", frame)[1].tobytes())
    return path


def open_studio() -> tuple[subprocess.Popen[str], str]:
    """A studio as a user starts it, and its link."""
    command = [sys.executable, "-m", "nst_rt", "web", "--port", "0"]
    studio = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert studio.stderr is not None
    link = re.search(r"http://\S+", studio.stderr.readline())
    assert link is not None
    return studio, link[0]


def measure(
    camera: Path, link: str, studio: "subprocess.Popen[str]", options: argparse.Namespace
) -> dict[str, float]:
    """Rate, round trip and processor time while the live tab runs."""
    driver = browser(camera)
    try:
        driver.get(link)
        driver.implicitly_wait(60)
        driver.find_element(By.CSS_SELECTOR, f"#live-style input[value={options.style}]")
        script = "document.querySelector(arguments[0]).click()"
        driver.execute_script(script, f"#live-style input[value={options.style}]")
        driver.execute_script(script, "#live-mirror")  # so that the code is read from the left
        driver.execute_script(script, "#live-start")
        time.sleep(options.warm_up)
        watched = watch(driver, {"studio": studio.pid}, options.seconds)
        page = {
            f"page: {name}": float(driver.find_element(By.ID, id).text)
            for name, id in (("fps", "live-fps"), ("round trip, ms", "live-latency"))
        }
        return watched | page
    finally:
        driver.quit()


def watch(driver: webdriver.Chrome, others: dict[str, int], seconds: float) -> dict[str, float]:
    """Rate and round trip by the time code, and processor time of browser and others, in cores."""
    trees = {"browser": psutil.Process(driver.service.process.pid).children(recursive=True)}
    trees |= {name: [psutil.Process(pid)] for name, pid in others.items()}
    driver.execute_script(_READ, _BITS, _BLOCK)
    before = {name: cpu_seconds(tree) for name, tree in trees.items()}
    begin = time.perf_counter()
    time.sleep(seconds)
    passed = time.perf_counter() - begin
    cores = {
        f"cores of the {name}": (cpu_seconds(tree) - before[name]) / passed
        for name, tree in trees.items()
    }
    return {**round_trips(driver.execute_script("return window.seen")), **cores}


def browser(camera: Path) -> webdriver.Chrome:
    """Chromium without a window, with a film as its camera."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ):
        options.add_argument(argument)
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Processor time of processes, in seconds."""
    times = [process.cpu_times() for process in processes if process.is_running()]
    return sum(each.user + each.system for each in times)


def round_trips(seen: dict[str, list[list[Any]]]) -> dict[str, float]:
    """Rate and round trip from the times at which codes were seen."""
    times = []
    shown = []
    camera = seen["camera"]
    for code, when in seen["screen"]:
        taken = [t for c, t in camera if c == code and when - _OLDEST * 1000 / 30 < t < when]
        if taken:
            times.append(when - taken[-1])
            shown.append(when)
    if len(times) < 3:
        raise SystemExit("hardly any time code could be read from the stylized image")
    times.sort()
    return {
        "fps": (len(shown) - 1) * 1000 / (shown[-1] - shown[0]),
        "round trip, ms, median": statistics.median(times),
        "round trip, ms, 95th percentile": times[int(0.95 * len(times))],
        "camera fps": (len(camera) - 1) * 1000 / (camera[-1][1] - camera[0][1]),
        "misread": 1 - len(times) / len(seen["screen"]),
    }


if __name__ == "__main__":
    main()
