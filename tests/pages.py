"""The studio's page in a real Chromium, with a clip as its camera."""

import json
import shutil
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import axe_core_python
import numpy as np
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from tools import require_tools
from visitors import PATIENCE

AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
TABS = ("live", "image", "video", "optimize", "train")

T = TypeVar("T")
Elsewhere = Callable[..., AbstractContextManager["Page"]]


def open_chromium(camera: Path, downloads: Path) -> webdriver.Chrome:
    """Chromium without a window, with a clip as its camera."""
    require_tools("chromium", "chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root cannot use it
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
        "--lang=en",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


class Page:
    """A browser with a studio open."""

    def __init__(self, driver: webdriver.Chrome, url: str, downloads: Path) -> None:
        self.driver = driver
        self.url = url
        self.downloads = downloads

    def open(self, tab: str = "live") -> None:
        """Load the page anew, at a tab."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}#{tab}")
        self.wait(lambda: self.find_all("html[data-ready]"), "page")

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def wait(self, condition: Callable[[], T], what: str) -> T:
        stale = [StaleElementReferenceException]  # the page may reload itself
        waiting = WebDriverWait(self.driver, PATIENCE, 0.1, stale)
        found: T = waiting.until(lambda _: condition(), what)
        return found

    def start_camera(self) -> None:
        """Start the camera and wait for stylized frames."""
        self.click("#live-start")
        self.wait(lambda: float(self.find("#live-fps").text or 0) > 0, "frames")

    def forget_uploads(self) -> None:
        """Remove what earlier tests have uploaded, which places would show again."""
        self.open()
        self.run("""
        return fetch("/api/uploads").then((answer) => answer.json()).then((uploads) => Promise.all(
          uploads.filter((each) => !each.needed)
            .map(({id}) => fetch(`/api/uploads/${id}`, {method: "DELETE"}))
        )).then(() => 1);""")

    def choose_file(self, place: str, file: Path) -> None:
        self.find(f"#{place} input[type=file]").send_keys(str(file))

    def uploaded(self, place: str, name: str) -> None:
        """Wait until a place has a file, which the studio has described."""
        self.wait(lambda: f"{name}, " in self.find(f"#{place} .name").text, name)
        self.wait(lambda: not self.find(f"#{place} progress").is_displayed(), name)

    def drag(
        self, *files: tuple[str, str, bytes], target: str = "body", kind: str = "drop"
    ) -> bool:
        """Drop, paste, or only drag files (name, type, content); whether the page handles it."""
        script = """
        const [files, target, kind] = arguments;
        const transfer = new DataTransfer();
        for (const [name, type, content] of files) {
          const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
          transfer.items.add(new File([bytes], name, {type}));
        }
        const settings = {bubbles: true, cancelable: true};
        const event = kind === "paste"
          ? new ClipboardEvent(kind, {...settings, clipboardData: transfer})
          : new DragEvent(kind, {...settings, dataTransfer: transfer});
        return !document.querySelector(target).dispatchEvent(event);"""
        packed = [(name, type, b64encode(content).decode()) for name, type, content in files]
        return bool(self.run(script, packed, target, kind))

    def set_slider(self, label: str, form: str, value: float) -> None:
        script = """
        const input = [...document.querySelectorAll(`#${arguments[1]} label.slider`)]
          .find((each) => each.textContent.startsWith(arguments[0])).querySelector("input");
        input.value = arguments[2];
        input.dispatchEvent(new Event("input", {bubbles: true}));"""
        self.run(script, label, form, value)

    def toast(self) -> str:
        """Wait for a message; returns its text."""
        return self.wait(lambda: self.find("#toasts").text, "message")

    def job(self, kind: str, state: str) -> WebElement:
        """Wait until the newest job of a kind is in a state; returns its card."""

        def there() -> WebElement | None:
            card = self.find(f"#{kind}-jobs .job")
            now = card.get_attribute("data-state")
            assert now != "failed" or state == "failed", card.text
            return card if now == state else None

        self.wait(lambda: self.find_all(f"#{kind}-jobs .job"), kind)
        card = self.wait(there, f"{kind} {state}")
        assert card is not None
        return card

    def press(self, place: WebElement, text: str) -> bool:
        """Click a button in a place, if it is there."""
        buttons = place.find_elements(By.XPATH, f".//button[text()='{text}']")
        for button in buttons[-1:]:
            button.click()
        return bool(buttons)

    def remove(self, card: WebElement) -> None:
        assert self.press(card, "Remove")
        self.wait(lambda: not self.find_all(".job"), "removed")

    def canvas(self) -> np.ndarray:
        """What the live tab shows, shape (30, 40, 3)."""
        script = """
        const small = Object.assign(document.createElement("canvas"), {width: 40, height: 30});
        const context = small.getContext("2d");
        context.drawImage(document.getElementById("live-canvas"), 0, 0, 40, 30);
        return [...context.getImageData(0, 0, 40, 30).data];"""
        levels = np.array(self.run(script), np.uint8).reshape(30, 40, 4)
        return levels[:, :, :3]

    def image_loaded(self) -> None:
        """Wait until the image tab shows the stylized image."""
        script = "return document.getElementById('image-view').naturalWidth"
        self.wait(lambda: self.run(script), "the image")

    def shown(self, selector: str) -> str:
        """Wait until an image is loaded; returns its address."""
        script = """
        const image = document.querySelector(arguments[0]);
        return image?.complete && image.naturalWidth ? image.src : "";"""
        return self.wait(lambda: str(self.run(script, selector)), selector)

    def video_loaded(self) -> float:
        """Wait until the video of a job can be played; returns its duration in seconds."""
        script = "const v = document.querySelector('.job video'); return v.readyState && v.duration"
        return float(self.wait(lambda: self.run(script), "the video"))

    def downloaded(self, *suffixes: str) -> Path:
        def there() -> list[Path]:
            return [file for file in self.downloads.iterdir() if file.suffix in suffixes]

        return self.wait(there, "a download")[0]

    def accessibility_errors(self, *tags: str) -> list[str]:
        """Rules of axe that the page breaks, and where.

        By default WCAG 2.1, AA, and good practices.
        """
        if not self.run("return 'axe' in window"):
            self.run(AXE.read_text(encoding="utf-8"))
        self.driver.set_script_timeout(PATIENCE)
        script = """
        const [tags, done] = arguments;
        axe.run({runOnly: tags, resultTypes: ["violations"]}).then(({violations}) => done(
          violations.flatMap(({id, nodes}) => nodes.map(({html}) => `${id}: ${html}`))));"""
        tags = tags or ("wcag2a", "wcag2aa", "wcag21aa", "best-practice")
        found: list[str] = self.driver.execute_async_script(script, tags)
        return found

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a size, as that of a phone or of a window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def color_scheme(self, scheme: str) -> None:
        """Prefer light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def reset_view(self) -> None:
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def errors(self) -> list[str]:
        """Errors in the browser's console since the last call."""
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def addresses(self) -> set[str]:
        """Addresses that were requested since the last call."""
        asked = set()
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                asked.add(event["params"]["request"]["url"])
            if event["method"] == "Network.webSocketCreated":
                asked.add(event["params"]["url"].replace("ws:", "http:"))
        return asked
