"""The live tab in Chromium, with a clip as its camera."""

import re
import time
from io import BytesIO
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from pages import Elsewhere, Page
from PIL import Image
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import Select

pytestmark = pytest.mark.slow


def test_live_frames_change_with_style_strength_and_blend(page: Page) -> None:
    page.open()
    page.start_camera()
    assert float(page.find("#live-latency").text) > 0

    def far(one: np.ndarray, other: np.ndarray) -> bool:
        return bool(np.abs(one.astype(int) - other).mean() > 12)

    waves = page.canvas()
    page.click("#live-style .swatch:nth-of-type(2)")
    page.wait(lambda: far(page.canvas(), waves), "another style")
    night = page.canvas()
    page.set_slider("Strength", "live-style", 0)
    page.wait(lambda: far(page.canvas(), night), "no style")
    plain = page.canvas()
    page.set_slider("Strength", "live-style", 1)
    page.click("#live-style summary")
    Select(page.find("#live-style select")).select_by_value("waves")
    page.set_slider("Amount", "live-style", 1)
    page.wait(lambda: not far(page.canvas(), waves) and far(page.canvas(), plain), "a blend")
    colors = page.find("#live-style input[type=checkbox]")
    colors.click()
    page.wait(lambda: far(page.canvas(), waves), "the colors of the camera")
    colors.click()
    page.click("#live-stop")
    assert page.find("#live-message").is_displayed()


def asks_before_leaving(page: Page) -> bool:
    return bool(page.run("return !dispatchEvent(new Event('beforeunload', {cancelable: true}))"))


NAME = r"waves_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"


def test_snapshot_and_recording_are_saved(page: Page) -> None:
    page.open()
    page.start_camera()
    page.click("#live-shot")
    snapshot = page.downloaded(".png")
    assert Image.open(snapshot).size == (160, 120)
    assert re.fullmatch(NAME, snapshot.stem)
    hour = page.run("return new Date().getHours()")
    assert hour - int(snapshot.stem[-8:-6]) in (0, 1, -23)  # local time
    label = page.find("#live-record-label")
    assert not re.search(r"\d", label.text)
    page.click("#live-sound")
    page.click("#live-record")
    page.wait(lambda: page.find("#live-record").get_attribute("aria-pressed") == "true", "start")
    assert page.find("#live-mark").get_attribute("data-state") == "recording"
    wait = "const t = performance.now(); return new Promise((d) => setTimeout(d, 2000))"
    seconds = page.run(f"{wait}.then(() => (performance.now() - t) / 1000)")
    assert asks_before_leaving(page)
    page.downloaded(".mp4", ".webm").unlink()  # what is there by then, should the page be left
    page.wait(lambda: re.fullmatch(r"\d:\d\d", label.text) and label.text > "0:00", "a clock")
    begin = time.monotonic()
    page.click("#live-record")
    file = page.downloaded(".mp4", ".webm")
    assert re.fullmatch(NAME, file.stem)
    with av.open(str(file)) as recording:
        assert recording.streams.audio
        times = [frame.time for frame in recording.decode(video=0)]
    late = time.monotonic() - begin  # clicks take time, too
    assert seconds / 2 < times[-1] - times[0] < seconds + 2 + late
    assert not re.search(r"\d", label.text)
    assert not asks_before_leaving(page)
    page.click("#live-stop")


def test_recording_without_a_microphone_says_why_and_stop_saves_one(page: Page) -> None:
    page.open()
    page.start_camera()
    page.run("""
    const media = navigator.mediaDevices;
    const open = media.getUserMedia.bind(media);
    media.getUserMedia = async (wanted) => {
      if (wanted.audio) throw new DOMException("", "NotFoundError");
      return open(wanted);
    };""")
    page.click("#live-sound")
    page.click("#live-record")
    assert "microphone" in page.toast()
    pressed = page.find("#live-record").get_attribute
    assert pressed("aria-pressed") == "false"
    page.click("#live-sound")
    page.click("#live-record")
    page.wait(lambda: pressed("aria-pressed") == "true", "a silent recording")
    page.run("return new Promise((done) => setTimeout(done, 1000))")
    page.click("#live-stop")
    with av.open(str(page.downloaded(".mp4", ".webm"))) as recording:
        assert not recording.streams.audio
        assert next(recording.decode(video=0))
    assert not page.find("#live-mark").is_displayed()


# Levels of a layer in small, and the difference between the layers, of one moment.
LAYERS = """
const small = Object.assign(document.createElement("canvas"), {width: 16, height: 12});
const context = small.getContext("2d", {willReadFrequently: true});
const read = (id) => {
  context.drawImage(document.getElementById(id), 0, 0, 16, 12);
  return [...context.getImageData(0, 0, 16, 12).data];
};
const apart = (one, other) =>
  one.reduce((sum, level, i) => sum + Math.abs(level - other[i]), 0) / one.length;
"""


def test_divider_compares_frames_of_the_same_moment(page: Page) -> None:
    page.open()
    page.run("""
    const channel = WebSocket.prototype.send;
    const camera = Object.assign(document.createElement("canvas"), {width: 90, height: 160});
    const context = camera.getContext("2d");
    let number = 0;
    setInterval(() => {  // each frame has a level of its own, and a dark side
      number += 1;
      context.fillStyle = `rgb(${[1, 2, 3].map((i) => 90 + (number * i * 37) % 160)})`;
      context.fillRect(0, 0, 90, 160);
      context.fillStyle = "black";
      context.fillRect(0, 0, 20, 160);
    }, 40);
    navigator.mediaDevices.getUserMedia = async () => camera.captureStream();""")
    page.set_slider("Stability", "live-style", 0)
    page.set_slider("Strength", "live-style", 0)
    page.start_camera()
    page.click("#live-compare")
    # The stage has the camera's shape.
    layers = page.find("#live-stage .layers").size
    assert abs(layers["width"] / layers["height"] - 90 / 160) < 0.02
    page.run("return new Promise((done) => setTimeout(done, 500))")
    within, between = page.run(f"""{LAYERS}
    const pairs = [];
    const screen = CanvasRenderingContext2D.prototype;
    const draw = screen.drawImage;
    return new Promise((done) => {{
      screen.drawImage = function (...given) {{
        draw.apply(this, given);
        if (this.canvas.id !== "live-original") return;  // which is drawn last
        screen.drawImage = draw;
        pairs.push([read("live-canvas"), read("live-original")]);
        if (pairs.length < 12) screen.drawImage = screen.noted;
        else done([
          Math.max(...pairs.map(([one, other]) => apart(one, other))),
          Math.max(...pairs.slice(1).map(([one], i) => apart(one, pairs[i][0]))),
        ]);
      }};
      screen.noted = screen.drawImage;
    }});""")
    assert within < 6 < 12 < between
    # On the screen the original is left of the divider, mirrored: its dark side is at the right.
    page.set_slider("Strength", "live-style", 1)
    screen = Image.open(BytesIO(page.find("#live-stage .layers").screenshot_as_png)).convert("L")
    levels = np.asarray(screen.resize((16, 12)), int)[3:9]
    assert levels[:, 1:6].std() < 6  # as plain as the camera
    page.find("#live-stage .divider").send_keys(Keys.END)
    page.wait(lambda: page.run("return document.querySelector('.divider').value") == "100", "end")
    screen = Image.open(BytesIO(page.find("#live-stage .layers").screenshot_as_png)).convert("L")
    levels = np.asarray(screen.resize((16, 12)), int)[3:9]
    assert levels[:, -2:].mean() < 40 < 80 < levels[:, 1:10].mean()
    # It stays with another style, and the camera is seen while the image is held.
    page.click("#live-style .swatch:nth-of-type(2)")
    assert page.find("#live-compare").get_attribute("aria-pressed") == "true"
    page.click("#live-compare")
    original = page.find("#live-original")
    assert original.value_of_css_property("visibility") == "hidden"
    for place in ("#live-hold", "#live-stage .layers"):
        held = ActionChains(page.driver).click_and_hold(page.find(place))
        held.perform()
        assert original.value_of_css_property("visibility") == "visible"
        held.release().perform()
        assert original.value_of_css_property("visibility") == "hidden"
    page.click("#live-stop")


# Notes what is sent: choices as objects, frames as their number of bytes.
NOTE_SENT = """
window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  sent.push(typeof data === "string" ? JSON.parse(data) : data.size);
  send.call(this, data);
};
window.said = [];
new MutationObserver(() => said.push(document.getElementById("live-status").textContent))
  .observe(document.getElementById("live-status"), {childList: true, subtree: true});
"""


def test_page_says_what_it_waits_for_and_asks_for_a_frame_rate(page: Page) -> None:
    page.open()
    page.run(NOTE_SENT)
    Select(page.find("#live-preference")).select_by_value("sharp")
    page.start_camera()
    page.wait(lambda: not page.find("#live-status").is_displayed(), "frames of the style")
    said = page.run("return said")
    assert any("Waves" in text for text in said), said
    assert said[-1] == ""
    assert "prefer=sharp" in page.driver.current_url
    Select(page.find("#live-preference")).select_by_value("smooth")
    Select(page.find("#live-preference")).select_by_value("")
    assert "prefer" not in page.driver.current_url
    choices = [each for each in page.run("return sent") if isinstance(each, dict)]
    assert [each.get("fps") for each in choices] == [10, 30, None]
    page.run("document.querySelector('#live-preference').value = 'smooth'")
    page.click("#live-stop")
    page.driver.get(f"{page.url}?prefer=smooth#live")
    chosen = "#live-preference"
    page.wait(lambda: page.find(chosen).get_attribute("value") == "smooth", "the preference")


def test_live_pauses_in_other_tabs_unless_it_records(page: Page) -> None:
    page.open()
    page.run(NOTE_SENT)
    page.start_camera()

    def state() -> str | None:
        return page.find("#live-mark").get_attribute("data-state")

    def grows() -> bool:
        before = page.run("return sent.length")
        page.run("return new Promise((done) => setTimeout(done, 400))")
        return bool(page.run("return sent.length") > before)

    assert state() == "running"
    page.click("#tab-image")
    assert state() == "paused"
    page.wait(lambda: not grows(), "no more frames")
    page.click("#tab-live")
    assert state() == "running"
    page.wait(grows, "frames again")
    page.click("#live-record")
    page.wait(lambda: state() == "recording", "a recording")
    page.click("#tab-image")
    assert state() == "recording"
    page.wait(grows, "frames that are recorded")
    page.click("#tab-live")
    page.click("#live-record")
    page.wait(lambda: state() == "running", "the end")
    # A page that is loaded anew goes on without a click.
    page.driver.refresh()
    page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "frames")
    page.click("#live-stop")
    assert not page.find("#live-mark").is_displayed()
    page.driver.refresh()
    page.wait(lambda: page.find_all("html[data-ready]"), "page")
    assert page.find("#live-start").is_displayed()


def test_live_goes_on_after_a_restart_of_the_studio(elsewhere: Elsewhere) -> None:
    with elsewhere() as page:
        page.open()
        page.start_camera()
        page.run("window.track = document.getElementById('live-camera').srcObject.getTracks()[0]")
    status = page.find("#live-status")
    page.wait(lambda: status.is_displayed() and status.text, "message")
    page.wait(lambda: page.find("#live-fps").text == "0", "no frames")
    port = urlsplit(page.url).port
    assert port
    with elsewhere(port=port):
        page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "frames again")
        page.wait(lambda: not page.find("#live-status").is_displayed(), "no message")
        page.click("#live-stop")


def test_second_start_replaces_the_first_camera(page: Page) -> None:
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
    page.wait(lambda: float(page.find("#live-fps").text or 0) > 0, "frames")
    live = "return tracks.filter((each) => each.readyState === 'live').length"
    page.wait(lambda: page.run("return tracks.length") == 2, "both cameras")
    page.wait(lambda: page.run(live) == 1, "one of them")
    assert page.run("return channels.length") == 1
    page.click("#live-stop")
    assert page.run(live) == 0


def test_viewer_over_the_limit_is_told_so(page: Page) -> None:
    page.open()
    page.run("""
    const address = `ws://${location.host}/api/live`;
    window.others = Array.from({length: 4}, () => new WebSocket(address));
    return Promise.all(window.others.map((each) => new Promise((open) => each.onopen = open)))
      .then(() => 4);""")
    page.click("#live-start")
    page.wait(lambda: "at most 4" in page.find("#live-message").text, "message")
    page.run("window.others.forEach((each) => each.close())")
    page.start_camera()
    page.click("#live-stop")
