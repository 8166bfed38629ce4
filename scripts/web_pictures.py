"""Take the screenshots of the browser studio for the docs, in headless Chromium.

    python scripts/web_pictures.py docs

The camera is a swaying photo of scikit-image. Needs an idle machine: the live frame rate shows.
"""

import argparse
import io
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import cv2
import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from nst_rt.images.io import Frame
from nst_rt.infer.packaged import packaged_film, packaged_photos

_ROOT = Path(__file__).parent.parent
_PHOTOS = {photo.stem: photo for photo in packaged_photos()}
_SECONDS = 12  # until the working size that holds the frame rate is found
_DESKTOP = (1280, 800)
_SHEET, _GAP = 1400, 10  # pixels

Take = Callable[[webdriver.Chrome], None]


def main() -> None:
    """Write web_live.jpg, web_phone.jpg, web_optimize.jpg and web_sheet.jpg."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder for the screenshots")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, studio() as link:
        camera = write_camera(Path(folder) / "camera.mjpeg")

        def shoot(size: tuple[int, int], take: Take, *, dark: bool = False) -> Image.Image:
            with browser(camera, size, dark=dark) as page:
                page.get(link)
                wait(page, "html[data-ready]")
                take(page)
                return Image.open(io.BytesIO(page.get_screenshot_as_png())).convert("RGB")

        for name, picture in (
            ("web_live", shoot(_DESKTOP, partial(live, style="starry_night"))),
            ("web_phone", shoot((390, 800), partial(live, style="great_wave"), dark=True)),
            ("web_optimize", shoot(_DESKTOP, optimize, dark=True)),
            (
                "web_sheet",
                rows(
                    [shoot(_DESKTOP, compare), shoot(_DESKTOP, preview)],
                    [shoot(_DESKTOP, drop), shoot(_DESKTOP, train, dark=True)],
                    [shoot((844, 390), partial(live, style="udnie")), shoot((1280, 720), kiosk)],
                ),
            ),
        ):
            picture.save(options.folder / f"{name}.jpg", quality=85, optimize=True)


def rows(*pictures: list[Image.Image]) -> Image.Image:
    """Pictures in rows of the same width."""
    sheet = Image.new("RGB", (_SHEET, 10_000), "white")
    top = 0
    for row in pictures:
        aspects = [picture.width / picture.height for picture in row]
        height = round((_SHEET - _GAP * (len(row) - 1)) / sum(aspects))
        left = 0
        for picture, aspect in zip(row, aspects, strict=True):
            width = round(height * aspect)
            sheet.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (left, top))
            left += width + _GAP
        top += height + _GAP
    return sheet.crop((0, 0, _SHEET, top - _GAP))


def write_camera(path: Path) -> Path:
    """Write a swaying portrait as MJPEG, 640x480."""
    photo = np.asarray(cv2.imread(str(_PHOTOS["astronaut"])), np.uint8)
    photo = np.asarray(cv2.copyMakeBorder(photo, 0, 0, 90, 90, cv2.BORDER_REFLECT), np.uint8)
    with path.open("wb") as file:
        for number in range(60):
            sway = math.sin(number / 60 * math.tau)
            scale = 1.35 + 0.05 * sway
            large: Frame = np.asarray(cv2.resize(photo, None, fx=scale, fy=scale), np.uint8)
            x, y = int((large.shape[1] - 640) / 2 + 30 * sway), (large.shape[0] - 480) // 6
            frame = large[y : y + 480, x : x + 640]
            file.write(cv2.imencode(".jpg", frame)[1].tobytes())
    return path


@contextmanager
def studio() -> Iterator[str]:
    """Run a studio; yields its link."""
    command = [sys.executable, "-m", "nst_rt", "web", "--port", "0"]
    with tempfile.TemporaryDirectory() as results:
        process = subprocess.Popen(
            [*command, "--results", results],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            said = process.stderr.readline().split()
            yield next(word for word in said if word.startswith("http"))
        finally:
            process.terminate()
            process.wait()


@contextmanager
def browser(camera: Path, size: tuple[int, int], *, dark: bool) -> Iterator[webdriver.Chrome]:
    """Chromium with a page of a size, in light or dark."""
    width, height = size
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ):
        options.add_argument(argument)
    page = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    phone = width < 600
    metrics = {"width": width, "height": height, "mobile": phone}
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", metrics | {"deviceScaleFactor": 1.5 if phone else 1}
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    try:
        yield page
    finally:
        page.quit()


def live(page: webdriver.Chrome, style: str) -> None:
    """Show the live tab in a style."""
    wait(page, f"#live-style input[value={style}]")
    page.execute_script(
        """
        const input = document.querySelector(`#live-style input[value=${arguments[0]}]`);
        input.click();
        input.parentElement.scrollIntoView({block: "nearest", inline: "center"});
        document.getElementById("live-start").click();""",
        style,
    )
    time.sleep(_SECONDS)
    page.execute_script(
        """
        document.querySelector("#live-device option").textContent = "Front camera";
        scrollTo(0, 0);
        document.activeElement.blur();"""
    )


def compare(page: webdriver.Chrome) -> None:
    """Show a photo in the image tab, half of it stylized."""
    show_image(page)
    page.find_element(By.CSS_SELECTOR, "#image-style input[value=the_scream] ~ span").click()
    time.sleep(2)
    page.find_element(By.ID, "image-compare").click()
    time.sleep(1)


def show_image(page: webdriver.Chrome) -> None:
    """Open a photo in the image tab."""
    page.find_element(By.ID, "tab-image").click()
    place = page.find_element(By.CSS_SELECTOR, "#image-drop input[type=file]")
    place.send_keys(str(_PHOTOS["coffee"]))
    time.sleep(_SECONDS)


def preview(page: webdriver.Chrome) -> None:
    """Show two seconds of a film in the video tab."""
    page.find_element(By.ID, "tab-video").click()
    place = page.find_element(By.CSS_SELECTOR, "#video-drop input[type=file]")
    place.send_keys(str(packaged_film()))
    time.sleep(_SECONDS)
    page.find_element(By.CSS_SELECTOR, "#video-style input[value=wheat_field] ~ span").click()
    page.find_element(By.ID, "video-preview").click()
    time.sleep(_SECONDS)


def drop(page: webdriver.Chrome) -> None:
    """Drag a film over the image tab."""
    show_image(page)
    page.execute_script("""
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(["x"], "film.mp4", {type: "video/mp4"}));
        document.body.dispatchEvent(new DragEvent("dragover", {bubbles: true, dataTransfer}));""")


def train(page: webdriver.Chrome) -> None:
    """Show the train tab with a style image and the photos that come with nst-rt."""
    page.find_element(By.ID, "tab-train").click()
    style_image = _ROOT / "nst_rt" / "assets" / "styles" / "ink.jpg"
    place = page.find_element(By.CSS_SELECTOR, "#train-style input[type=file]")
    place.send_keys(str(style_image))
    page.find_element(By.CSS_SELECTOR, "#train-form option[value=packaged]").click()
    wait(page, "#train-form button[aria-disabled=false]")
    time.sleep(2)


def kiosk(page: webdriver.Chrome) -> None:
    """Show the kiosk page."""
    page.get(urljoin(page.current_url, "/?kiosk&style=composition_vii"))
    time.sleep(3)


def optimize(page: webdriver.Chrome) -> None:
    """Show a finished optimization."""
    page.find_element(By.ID, "tab-optimize").click()
    style_image = _ROOT / "nst_rt" / "assets" / "styles" / "mosaic.jpg"
    for role, file in (("content", _PHOTOS["chelsea"]), ("style", style_image)):
        page.find_element(By.CSS_SELECTOR, f"#optimize-{role} input").send_keys(str(file))
    page.find_element(By.CSS_SELECTOR, "#optimize-form option[value='256']").click()
    wait(page, "#optimize-form button[aria-disabled=false]").click()
    wait(page, ".job[data-state=done]", minutes=15)
    page.execute_script("scrollTo(0, document.body.scrollHeight); document.activeElement.blur()")
    time.sleep(1)


def wait(page: webdriver.Chrome, selector: str, *, minutes: float = 1) -> WebElement:
    """Wait for an element."""
    page.implicitly_wait(minutes * 60)
    return page.find_element(By.CSS_SELECTOR, selector)


if __name__ == "__main__":
    main()
