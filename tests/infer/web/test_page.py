"""The page in a real Chromium, with a clip as its camera, used as people use it."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
import pytest
from clips import write_clip
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait
from tools import require_tools
from visitors import PATIENCE, Studio, serving, settings

from nst_rt.infer.web.app import create_app
from nst_rt.infer.web.checks import Limits
from nst_rt.infer.web.engine import Engine
from nst_rt.infer.web.settings import Settings, usual_steps
from nst_rt.models.style_model import StyleModel

T = TypeVar("T")
Elsewhere = Callable[..., AbstractContextManager["Page"]]


@pytest.fixture(scope="module")
def camera(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few frames of the film as MJPEG, which Chromium plays over and over."""
    clip = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    capture = cv2.VideoCapture(str(film))
    with clip.open("wb") as file:
        for _ in range(20):
            frame = cv2.resize(capture.read()[1], (160, 120))
            file.write(cv2.imencode(".jpg", frame)[1].tobytes())
    return clip


class Page:
    """A browser with the studio open."""

    def __init__(self, driver: webdriver.Chrome, url: str, downloads: Path) -> None:
        self.driver = driver
        self.url = url
        self.downloads = downloads

    def open(self, tab: str = "live") -> None:
        """Load the page anew, at a tab."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}#{tab}")
        self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, "html[data-ready]"), "page")

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def wait(self, condition: Callable[[], T], what: str) -> T:
        found: T = WebDriverWait(self.driver, PATIENCE, 0.1).until(lambda _: condition(), what)
        return found

    def choose_file(self, place: str, file: Path) -> None:
        self.find(f"#{place} input[type=file]").send_keys(str(file))

    def set_slider(self, label: str, form: str, value: float) -> None:
        script = """
        const input = [...document.querySelectorAll(`#${arguments[1]} label.slider`)]
          .find((each) => each.textContent.startsWith(arguments[0])).querySelector("input");
        input.value = arguments[2];
        input.dispatchEvent(new Event("input", {bubbles: true}));"""
        self.run(script, label, form, value)

    def job(self, kind: str, state: str) -> WebElement:
        """The card of the newest job, when it has come to a state."""

        def there() -> WebElement | None:
            card = self.find(f"#{kind}-jobs .job")
            now = card.get_attribute("data-state")
            assert now != "failed" or state == "failed", card.text
            return card if now == state else None

        self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, f"#{kind}-jobs .job"), kind)
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
        self.wait(lambda: not self.driver.find_elements(By.CSS_SELECTOR, ".job"), "removed")

    def canvas(self) -> np.ndarray:
        """What the live tab shows, shape (30, 40, 3)."""
        script = """
        const small = Object.assign(document.createElement("canvas"), {width: 40, height: 30});
        const context = small.getContext("2d");
        context.drawImage(document.getElementById("live-canvas"), 0, 0, 40, 30);
        return [...context.getImageData(0, 0, 40, 30).data];"""
        levels = np.array(self.run(script), np.uint8).reshape(30, 40, 4)
        return levels[:, :, :3]

    def downloaded(self, *suffixes: str) -> Path:
        def there() -> list[Path]:
            return [file for file in self.downloads.iterdir() if file.suffix in suffixes]

        return self.wait(there, "a download")[0]


@pytest.fixture(scope="module")
def browser(
    studio: Studio, camera: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    require_tools("chromium", "chromedriver")
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",  # which root has none of
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
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield Page(driver, studio.url, downloads)
    driver.quit()


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """The browser; whatever the page did, it did with this machine only, and without an error."""
    for file in browser.downloads.iterdir():
        file.unlink()
    yield browser
    assert [
        entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"
    ] == []
    asked = set()
    for entry in browser.driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            asked.add(event["params"]["request"]["url"])
        if event["method"] == "Network.webSocketCreated":
            asked.add(event["params"]["url"].replace("ws:", "http:"))
    assert asked
    own = (browser.url, "blob:", "data:", "about:")
    assert [url for url in asked if not url.startswith(own)] == []


def test_the_camera_comes_back_painted_and_changes_with_style_and_strength(page: Page) -> None:
    page.open()
    page.click("#live-start")
    page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "pictures")
    assert float(page.find("#live-latency").text) > 0

    def far(one: np.ndarray, other: np.ndarray) -> bool:
        return bool(np.abs(one.astype(int) - other).mean() > 12)

    waves = page.canvas()
    page.click("#live-look .swatch:nth-child(2)")
    page.wait(lambda: far(page.canvas(), waves), "another style")
    night = page.canvas()
    page.set_slider("Strength", "live-look", 0)
    page.wait(lambda: far(page.canvas(), night), "no style")
    plain = page.canvas()
    page.set_slider("Strength", "live-look", 1)
    Select(page.find("#live-look select")).select_by_value("waves")
    page.set_slider("Amount", "live-look", 1)
    page.wait(lambda: not far(page.canvas(), waves) and far(page.canvas(), plain), "a blend")
    page.click("#live-stop")
    assert page.find("#live-message").text == "The camera is off."


def test_snapshot_and_recording_are_saved(page: Page) -> None:
    page.open()
    page.click("#live-start")
    page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "pictures")
    page.click("#live-shot")
    assert Image.open(page.downloaded(".png")).size == (160, 120)
    page.click("#live-record")
    assert page.find("#live-record").get_attribute("aria-pressed") == "true"
    assert page.find("#live-recording").is_displayed()
    wait = "const t = performance.now(); return new Promise((d) => setTimeout(d, 2000))"
    seconds = page.run(f"{wait}.then(() => (performance.now() - t) / 1000)")
    assert asks_before_leaving(page)
    page.click("#live-record")
    with av.open(str(page.downloaded(".mp4", ".webm"))) as recording:
        times = [frame.time for frame in recording.decode(video=0)]
    assert seconds / 2 < times[-1] - times[0] < seconds + 2  # clicks take time, too
    assert not page.find("#live-recording").is_displayed()
    assert not asks_before_leaving(page)


def asks_before_leaving(page: Page) -> bool:
    return bool(page.run("return !dispatchEvent(new Event('beforeunload', {cancelable: true}))"))


def test_a_photo_is_shown_in_all_styles_and_downloaded_at_full_size(
    page: Page, tmp_path: Path, astronaut: Path
) -> None:
    Image.open(astronaut).resize((301, 201)).save(tmp_path / "my photo.png")
    page.open("image")
    page.choose_file("image-drop", tmp_path / "my photo.png")

    def loaded() -> int:
        script = (
            "return [...document.querySelectorAll('#image img')].filter(i => i.naturalWidth).length"
        )
        return int(page.run(script))

    page.wait(lambda: loaded() == 3, "the photo in two styles, and one of them large")
    assert "301 \u00d7 201" in page.find("#image-drop").text
    before = page.find("#image-view").get_attribute("src")
    page.click("#image-look .swatch:nth-child(2)")
    page.wait(lambda: page.find("#image-view").get_attribute("src") != before, "another style")
    page.click("#image-download")
    file = page.downloaded(".png")
    assert file.name == "my photo_night.png"
    assert Image.open(file).size == (301, 201)
    page.driver.refresh()
    page.wait(lambda: loaded() == 3, "the same photo after a reload")


def test_a_video_is_painted_survives_a_reload_plays_and_downloads(
    page: Page, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", audio="aac")
    page.open("video")
    page.choose_file("video-drop", clip)
    page.wait(lambda: page.find("#video-start").is_enabled(), "upload")
    page.click("#video-start")
    page.wait(lambda: page.driver.find_elements(By.CSS_SELECTOR, ".job"), "job")
    page.open("video")
    card = page.job("video", "done")
    assert "25 frames" in card.text
    playing = "const v = document.querySelector('.job video'); return v.readyState && v.duration"
    assert page.wait(lambda: page.run(playing), "the video") == pytest.approx(1, abs=0.1)
    card.find_element(By.LINK_TEXT, "Download").click()
    assert cv2.VideoCapture(str(page.downloaded(".mp4"))).read()[0]
    page.remove(card)


def test_a_picture_is_optimized_before_ones_eyes_and_stopped_early(
    page: Page, astronaut: Path, painting: Path
) -> None:
    page.open("optimize")
    page.choose_file("optimize-content", astronaut)
    page.choose_file("optimize-style", painting)
    button = page.find("#optimize-form button")
    page.wait(button.is_enabled, "uploads")
    Select(page.find("#optimize-form select")).select_by_value("256")
    button.click()
    page.job("optimize", "running")
    image = page.wait(
        lambda: page.run("return document.querySelector('.job img')?.naturalWidth"), "preview"
    )
    assert image > 30
    page.wait(lambda: page.driver.find_elements(By.CSS_SELECTOR, ".job .curve path.line0"), "curve")
    page.find(".job .tools button").click()  # stop and keep
    card = page.job("optimize", "done")
    card.find_element(By.LINK_TEXT, "Download").click()
    assert min(Image.open(page.downloaded(".png")).size) > 30
    page.remove(card)


def test_cancelling_is_undone_and_done(page: Page, astronaut: Path, painting: Path) -> None:
    page.open("optimize")
    page.choose_file("optimize-content", astronaut)
    page.choose_file("optimize-style", painting)
    button = page.find("#optimize-form button")
    page.wait(button.is_enabled, "uploads")
    button.click()
    card = page.job("optimize", "running")
    for undone in (True, False):
        page.wait(lambda: page.press(card, "Cancel"), "the button")
        page.wait(lambda: "Ending" in card.text, "the end")
        if undone:
            page.press(page.find("#toasts"), "Undo")
            page.wait(lambda: "Ending" not in card.text, "no end")
    page.remove(page.job("optimize", "cancelled"))


def test_a_style_is_trained_watched_and_used_live(
    page: Page, studio: Studio, painting: Path
) -> None:
    page.open("train")
    page.choose_file("train-painting", painting)
    button = page.find("#train-form button")
    page.wait(button.is_enabled, "upload")
    assert page.find("#train-form [name=name]").get_attribute("value") == "swirls"
    steps = Select(page.find("#train-form [name=steps]"))
    assert f"{usual_steps()} steps" in steps.first_selected_option.text
    assert steps.first_selected_option.get_attribute("value") == ""  # the recipe's own
    page.run("document.querySelector('#train-form [name=steps]').options[0].value = 3")
    steps.select_by_value("3")
    button.click()
    card = page.job("train", "done")
    assert card.find_elements(By.CSS_SELECTOR, ".curve path.line1")
    samples = "return document.querySelector('.job img').naturalWidth"
    assert page.wait(lambda: page.run(samples), "samples")
    card.find_element(By.XPATH, ".//button[text()='Use it live']").click()
    assert page.find("#tab-live").get_attribute("aria-selected") == "true"
    assert page.find("#live-look input:checked").get_attribute("value") == "swirls"
    page.click("#live-start")
    page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "pictures")
    page.click("#live-stop")
    page.click("#tab-train")
    page.remove(card)
    assert "swirls" not in page.find("#live-look").get_attribute("innerHTML")
    page.press(page.find("#toasts"), "Undo")
    card = page.job("train", "done")
    page.wait(lambda: page.run(samples), "samples")  # else it asks for them once they are gone
    page.remove(card)


def test_a_folder_of_photos_goes_up_small(page: Page, studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number in range(3):
        levels = np.full((400, 600, 3), number, np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.jpg")
    (folder / "notes.txt").write_text("x")
    (folder / "broken.jpg").write_bytes(b"x")
    page.open("train")
    Select(page.find("#train-form [name=source]")).select_by_value("album")
    # The answer to the first photo comes last.
    page.run("""
        const send = XMLHttpRequest.prototype.send;
        XMLHttpRequest.prototype.send = function (body) {
          const onload = this.onload;
          this.onload = () => setTimeout(onload, this.response.count === 1 ? 1000 : 0);
          send.call(this, body);
        };""")
    page.choose_file("train-photos", folder)
    place = page.find("#train-photos")
    page.wait(lambda: "holiday: 3 photos, 1 could not be read" in place.text, "photos")
    sizes = [Image.open(file).size for file in studio.root.glob("*/photos/*.jpg")]
    assert sizes == [(432, 288)] * 3


def test_an_oversized_file_is_refused_with_a_word(page: Page, tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(513 * 10**6)  # sparse: takes no space
    page.open("image")
    page.choose_file("image-drop", tmp_path / "huge.png")
    said = page.wait(lambda: page.find("#toasts").text, "message")
    assert said == "huge.png: larger than the 512 MB allowed here"


@pytest.fixture
def elsewhere(browser: Page, two_styles: StyleModel, tmp_path: Path) -> Iterator[Elsewhere]:
    """Makes other studios in the same browser; what goes wrong there is meant to."""
    engine = Engine("openvino")
    engine.add(two_styles)
    for file in browser.downloads.iterdir():
        file.unlink()

    @contextmanager
    def opened(port: int = 0, folder: Path | None = None, **given: Any) -> Iterator[Page]:
        folder = folder or Path(tempfile.mkdtemp(dir=tmp_path))
        app = create_app(engine, settings(folder, **{"undo": Settings.undo, **given}))
        with serving(app, port) as port:
            yield Page(browser.driver, f"http://localhost:{port}/", browser.downloads)

    yield opened
    browser.driver.get("about:blank")
    for log in ("browser", "performance"):
        browser.driver.get_log(log)


def test_a_wrong_token_is_refused_and_the_right_one_opens_the_page(elsewhere: Elsewhere) -> None:
    with elsewhere(token="correct horse") as page:
        for query, says in (("", "The link that it printed"), ("?token=x", "not its token")):
            page.driver.get(f"{page.url}{query}")
            assert "This studio is locked" in page.find("main").text
            assert says in page.find("main").text
            own = f"nst_rt_{urlsplit(page.url).port}"
            assert own not in [cookie["name"] for cookie in page.driver.get_cookies()]
            assert page.run("return fetch('/api/studio').then((answer) => answer.status)") == 403
        page.find("input[name=token]").send_keys("wrong horse", Keys.ENTER)
        page.wait(lambda: "wrong+horse" in page.driver.current_url, "the next page")
        assert "not its token" in page.find("main").text
        page.find("input[name=token]").send_keys("correct horse", Keys.ENTER)
        page.wait(lambda: page.driver.find_elements(By.CSS_SELECTOR, "html[data-ready]"), "page")
        assert page.driver.current_url == f"{page.url}#live"


def test_what_the_studio_refuses_is_said_on_the_page(elsewhere: Elsewhere, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "large.png")
    with elsewhere(limits=Limits(upload=10**6)) as page:
        page.open("image")
        # The page would not send it.
        page.run("Object.defineProperty(Blob.prototype, 'size', {get: () => 1})")
        page.choose_file("image-drop", tmp_path / "large.png")
        said = page.wait(lambda: page.find("#toasts").text, "message")
        assert said == "larger than the 1 MB allowed here"
        assert not page.find("#image-stage").is_displayed()


def test_a_photo_that_is_cut_off_does_not_replace_a_good_one(
    elsewhere: Elsewhere, tmp_path: Path, astronaut: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(astronaut.read_bytes()[:100_000])
    with elsewhere() as page:
        page.open("image")
        page.choose_file("image-drop", astronaut)
        painted = "const view = document.getElementById('image-view'); return view.naturalWidth"
        page.wait(lambda: page.run(painted), "the photo")
        page.choose_file("image-drop", cut)
        said = page.wait(lambda: page.find("#toasts").text, "message")
        assert "cut.png" in said
        assert "truncated" in said
        assert "astronaut.png" in page.find("#image-drop").text
        page.click("#image-download")
        assert Image.open(page.downloaded(".png")).size == Image.open(astronaut).size


def test_a_video_that_is_done_in_part_is_there_after_removing_is_undone_and_the_studio_anew(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    def noise(number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)

    clip = write_clip(tmp_path / "cut.mkv", pts=range(0, 512 * 50, 512), picture=noise)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with elsewhere(folder=tmp_path / "kept") as page:
        page.open("video")
        page.choose_file("video-drop", clip)
        page.wait(lambda: page.find("#video-start").is_enabled(), "upload")
        page.click("#video-start")
        page.remove(page.job("video", "partial"))
        page.press(page.find("#toasts"), "Undo")
        page.job("video", "partial")
    port = urlsplit(page.url).port
    assert port
    with elsewhere(port=port, folder=tmp_path / "kept"):
        page.open("video")
        card = page.job("video", "partial")
        assert "Done in part" in card.text
        assert "cut.mkv" in card.find_element(By.CSS_SELECTOR, ".error").text
        playing = "return document.querySelector('.job video').readyState"
        page.wait(lambda: page.run(playing), "the video")
        card.find_element(By.LINK_TEXT, "Download").click()
        assert cv2.VideoCapture(str(page.downloaded(".mp4"))).read()[0]


def test_a_photo_that_is_gone_is_said_to_be(elsewhere: Elsewhere, astronaut: Path) -> None:
    with elsewhere() as page:
        page.open("image")
        page.choose_file("image-drop", astronaut)
        painted = "const view = document.getElementById('image-view'); return view.naturalWidth"
        page.wait(lambda: page.run(painted), "the photo")
        page.run(
            "const {id} = JSON.parse(sessionStorage.getItem('nst-rt photo'));"
            "return fetch(`/api/uploads/${id}`, {method: 'DELETE'}).then(() => 1)"
        )
        page.click("#image-look .swatch:nth-child(2)")
        page.wait(lambda: "no longer here" in page.find("#toasts").text, "message")
        assert "busy" not in str(page.find("#image-stage").get_attribute("class"))


def test_a_studio_that_goes_and_is_another_one_later_is_said_to(elsewhere: Elsewhere) -> None:
    with elsewhere() as page:
        page.open()
        page.click("#live-start")
        page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "pictures")
    trouble = page.find("#live-trouble")
    page.wait(lambda: "does not answer; trying again" in trouble.text, "message")
    assert page.find("#live-fps").text == "0"
    port = urlsplit(page.url).port
    assert port
    with elsewhere(port=port):
        page.wait(lambda: "reload it" in trouble.text, "another message")
        page.open()
        page.click("#live-start")
        page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "pictures again")
        assert not page.find("#live-trouble").is_displayed()


def test_a_start_that_another_one_overtakes_leaves_no_camera_on(page: Page) -> None:
    page.open()
    page.run("""
    const media = navigator.mediaDevices;
    const open = media.getUserMedia.bind(media);
    window.tracks = [];
    media.getUserMedia = async (wanted) => {
      const stream = await open(wanted);
      tracks.push(...stream.getTracks());
      return stream;
    };
    const Channel = WebSocket;
    window.channels = [];
    window.WebSocket = class extends Channel {
      constructor(address) { super(address); channels.push(this); }
    };
    const button = document.getElementById("live-start");
    button.click();
    button.click();""")
    page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "pictures")
    live = "return tracks.filter((each) => each.readyState === 'live').length"
    page.wait(lambda: page.run("return tracks.length") == 2, "both cameras")
    page.wait(lambda: page.run(live) == 1, "one of them")
    assert page.run("return channels.length") == 1
    page.click("#live-stop")
    assert page.run(live) == 0


def test_tabs_and_styles_work_with_the_keyboard_alone(page: Page) -> None:
    page.open()
    page.run("document.getElementById('tab-live').focus()")

    def press(key: str) -> Any:
        page.driver.switch_to.active_element.send_keys(key)
        return page.run("return document.activeElement.id || document.activeElement.value")

    assert press(Keys.ARROW_RIGHT) == "tab-image"
    assert press(Keys.END) == "tab-train"
    assert press(Keys.ARROW_RIGHT) == "tab-live"
    shown = page.run(
        "return [...document.querySelectorAll('[role=tabpanel]:not([hidden])')].map(p => p.id)"
    )
    assert shown == ["live"]
    assert press(Keys.TAB) == "live-start"
    for _ in range(20):  # on to the styles, past the buttons
        if press(Keys.TAB) == "waves":
            break
    assert press(Keys.ARROW_DOWN) == "night"
    assert page.find("#live-look input:checked").get_attribute("value") == "night"


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    page.open()
    nameless = """
    return [...document.querySelectorAll("button, select, input, a, img, video, canvas, progress")]
      .filter((each) => !(each.textContent.trim() || each.labels?.length || each.title
        || each.hasAttribute("alt") || each.getAttribute("aria-label") || each.hidden))
      .map((each) => each.outerHTML);"""
    assert page.run(nameless) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_dark_and_in_light(page: Page, scheme: str) -> None:
    """WCAG 2.1, AA: 4.5 to 1 for text."""
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page.open()
    script = """
    const style = getComputedStyle(document.documentElement);
    const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const luminance = (name) => {
      paint.fillStyle = style.getPropertyValue(name);
      paint.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((level) =>
        level / 255 <= 0.04045 ? level / 255 / 12.92 : ((level / 255 + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return arguments[0].map(([one, other]) => {
      const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    });"""
    pairs = [
        ["--text", "--page"],
        ["--text", "--surface"],
        ["--muted", "--page"],
        ["--muted", "--surface"],
        ["--muted", "--stage"],
        ["--on-accent", "--accent"],
        ["--accent", "--surface"],
        ["--accent", "--soft"],
        ["--danger", "--surface"],
    ]
    ratios = dict(zip(map(tuple, pairs), page.run(script, pairs), strict=True))
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_a_phone_has_nothing_to_scroll_sideways(page: Page) -> None:
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        for tab in ("live", "image", "video", "optimize", "train"):
            page.open(tab)
            width = page.run("return document.documentElement.scrollWidth")
            assert width <= 360, tab
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_viewer_over_the_limit_reads_so_on_the_page(page: Page) -> None:
    page.open()
    script = """
    const address = `ws://${location.host}/api/live`;
    window.others = Array.from({length: 4}, () => new WebSocket(address));
    return Promise.all(window.others.map((each) => new Promise((open) => each.onopen = open)))
      .then(() => 4);"""
    assert page.run(script) == 4
    page.click("#live-start")
    page.wait(lambda: "The studio is full" in page.find("#live-message").text, "message")
    assert "4 viewers" in page.find("#live-message").text
    page.run("window.others.forEach((each) => each.close())")
    page.click("#live-start")
    page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "pictures")
    page.click("#live-stop")
