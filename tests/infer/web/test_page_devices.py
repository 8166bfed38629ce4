"""The page on phones and on screens in public, in Chromium with a clip as its camera."""

from urllib.parse import parse_qs, urlsplit

import pytest
from pages import Elsewhere, Page

pytestmark = pytest.mark.slow

QR_WIDTH = "return document.querySelector('#phone-facts img')?.naturalWidth"


def test_link_for_a_phone(elsewhere: Elsewhere) -> None:
    link = "https://studio.example:8765/?token=correct-horse"
    for given in ({}, {"link": link, "https": False, "fingerprint": "AB:CD"}):
        with elsewhere(**given) as page:
            page.open()
            page.click("#phone")
            page.wait(lambda: page.find("#phone-dialog").is_displayed(), "the dialog")
            facts = page.find("#phone-facts").text
            assert ("--host" in facts) == (not given)
            assert (link in facts and "AB:CD" in facts) == bool(given)
            if given:
                assert page.wait(lambda: page.run(QR_WIDTH), "the QR code") > 100
            page.click("#phone-close")
            assert not page.find("#phone-dialog").is_displayed()


def test_phones_have_the_image_and_the_buttons_in_view(page: Page) -> None:
    size = "Emulation.setDeviceMetricsOverride"
    for width, height in ((390, 844), (844, 390)):
        given = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        page.driver.execute_cdp_cmd(size, given)
        page.open()
        page.start_camera()
        names = ("#live-stage", "#live-style .styles", "#live .keys", "#live .settings")
        stage, styles, keys, settings = (page.find(name).rect for name in names)
        assert styles["y"] + styles["height"] <= keys["y"] + 1
        assert keys["y"] + keys["height"] < settings["y"]
        assert page.run("return document.documentElement.scrollWidth") <= width
        if width < height:
            assert stage["y"] + stage["height"] <= styles["y"]
        else:
            assert (stage["x"], stage["y"], stage["height"]) == (0, 0, height)
            assert styles["x"] >= stage["width"]
        bottom = height - (70 if width < height else 0)  # of the tabs
        for button in ("stop", "shot", "record"):
            rect = page.find(f"#live-{button}").rect
            assert rect["height"] >= 44
            assert rect["width"] >= 44
            assert rect["y"] + rect["height"] <= bottom
        page.click("#live-stop")
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_kiosk_shows_frames_without_a_click_and_outlives_a_restart(elsewhere: Elsewhere) -> None:
    def frames() -> int:
        return int(page.run("return window.frames_drawn ?? 0"))

    with elsewhere() as page:
        page.driver.get("about:blank")
        page.driver.get(f"{page.url}?kiosk&style=night,nothing,waves&every=1")
        page.run("""
        const draw = CanvasRenderingContext2D.prototype.drawImage;
        CanvasRenderingContext2D.prototype.drawImage = function (...given) {
          draw.apply(this, given);
          if (this.canvas.id === "canvas") window.frames_drawn = (window.frames_drawn ?? 0) + 1;
        };
        window.titles = new Set();
        const title = document.getElementById("title");
        setInterval(() => title.textContent && titles.add(title.textContent), 100);""")
        page.wait(frames, "frames")
        assert page.run("return document.getElementById('canvas').width") == 160
        page.wait(lambda: len(page.run("return [...titles]")) == 2, "two styles")
        assert page.run("return [...titles].sort()") == ["Night", "The Waves"]
        assert page.find_all("button, header, input") == []
        assert page.find("body").value_of_css_property("cursor") == "none"
        address = parse_qs(urlsplit(page.driver.current_url).query)
        assert address["style"] == ["night,nothing,waves"]  # also after styles have changed
    page.wait(lambda: page.find("#message").text, "a message")
    before = frames()
    port = urlsplit(page.url).port
    assert port
    with elsewhere(port=port):
        page.wait(lambda: frames() > before, "frames again")
        page.wait(lambda: not page.find("#message").text, "no message")
        # A camera that was unplugged is opened again.
        page.run("""
        const stream = document.getElementById("camera").srcObject;
        stream.getTracks()[0].stop();
        stream.getTracks()[0].dispatchEvent(new Event("ended"));""")
        camera = "return document.getElementById('camera').srcObject?.active"
        page.wait(lambda: page.run(camera), "the camera")
        before = frames()
        page.wait(lambda: frames() > before, "frames of it")
        page.driver.get("about:blank")
