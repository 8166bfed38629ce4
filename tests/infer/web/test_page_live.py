"""The live tab in Chromium, with a clip as its camera."""

from urllib.parse import urlsplit

import av
import numpy as np
import pytest
from pages import Elsewhere, Page
from PIL import Image
from selenium.webdriver.support.ui import Select

pytestmark = pytest.mark.slow


def test_live_frames_change_with_style_strength_and_blend(page: Page) -> None:
    page.open()
    page.start_camera()
    assert float(page.find("#live-latency").text) > 0

    def far(one: np.ndarray, other: np.ndarray) -> bool:
        return bool(np.abs(one.astype(int) - other).mean() > 12)

    waves = page.canvas()
    page.click("#live-style .swatch:nth-child(2)")
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
    page.click("#live-stop")
    assert page.find("#live-message").is_displayed()


def asks_before_leaving(page: Page) -> bool:
    return bool(page.run("return !dispatchEvent(new Event('beforeunload', {cancelable: true}))"))


def test_snapshot_and_recording_are_saved(page: Page) -> None:
    page.open()
    page.start_camera()
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
    page.click("#live-stop")


def test_restart_of_the_studio_is_reported(elsewhere: Elsewhere) -> None:
    with elsewhere() as page:
        page.open()
        page.start_camera()
    trouble = page.find("#live-trouble")
    page.wait(lambda: "trying again" in trouble.text, "message")
    page.wait(lambda: page.find("#live-fps").text == "0", "no frames")
    port = urlsplit(page.url).port
    assert port
    with elsewhere(port=port):
        page.wait(lambda: not page.find("#live-trouble").is_displayed(), "the new page")
        page.open()
        page.start_camera()
        assert not page.find("#live-trouble").is_displayed()


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
