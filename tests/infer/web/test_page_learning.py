"""A style image that is dropped on the page in Chromium becomes a style that gets better."""

from pathlib import Path

import numpy as np
import pytest
from pages import Page
from PIL import Image

pytestmark = pytest.mark.slow

PANEL = "#live-style .learning"


def far(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one.astype(int) - other).mean() > 12)


def press(page: Page, text: str) -> None:
    assert page.press(page.find(PANEL), text), page.find(PANEL).text


def test_painting_that_is_dropped_in_live_is_learned_while_it_is_shown(
    page: Page, astronaut: Path, tmp_path: Path
) -> None:
    painting = Path("nst_rt/assets/styles/mosaic.jpg").resolve()
    page.open()
    page.start_camera()
    page.set_slider("Strength", "live-style", 0)
    page.run("return new Promise((done) => setTimeout(done, 1000))")
    plain = page.canvas()
    page.set_slider("Strength", "live-style", 1)
    dropped = ("mosaic.jpg", "image/jpeg", painting.read_bytes())
    assert page.drag(dropped, target="#live-style", kind="dragover")
    assert "learn" in page.find(".overlay").text
    assert page.drag(dropped, target="#live-style .grid")
    page.wait(lambda: page.find(PANEL).is_displayed(), "the panel")
    chosen = "#live-style input:checked"
    page.wait(lambda: page.find(chosen).get_attribute("value") == "mosaic", "the style")
    page.wait(lambda: far(page.canvas(), plain), "frames in the style")
    page.wait(lambda: "crops" in page.find(PANEL).text, "progress")
    assert "mosaic" in page.find(PANEL).text
    assert "mosaic" in page.find("#learning-said").get_attribute("textContent")
    assert page.find("#live").is_displayed()
    assert "style=mosaic" in page.driver.current_url
    page.resize(390, 844, phone=True)
    assert page.run("return document.documentElement.scrollWidth") <= 390
    small = """
    return [...document.querySelectorAll(".learning button, .learning input")]
      .filter((each) => each.offsetParent && each.getBoundingClientRect().height < 43.5)
      .map((each) => each.outerHTML)"""
    assert page.run(small) == []
    assert page.accessibility_errors() == []
    page.reset_view()
    assert page.accessibility_errors() == []

    press(page, "Pause")
    page.wait(lambda: "paused" in page.find(PANEL).text, "the pause")
    press(page, "Continue")
    page.wait(lambda: "learning" in page.find(PANEL).text, "more")

    # In the Image tab, what is shown is loaded anew when the style is better.
    page.click("#tab-image")
    page.choose_file("image-drop", astronaut)
    page.image_loaded()
    assert page.find("#image-style .learning").is_displayed()
    view = "#image-view"
    page.wait(lambda: "revision" in page.shown(view), "a better style")
    shown = page.shown(view)
    page.wait(lambda: page.shown(view) != shown, "a better one still")
    page.click("#tab-live")

    # A reload finds the learning again, and another stroke size begins it anew.
    page.open()
    page.wait(lambda: "crops" in page.find(PANEL).text, "the same learning")
    page.run("""
    const input = document.querySelector("#live-style .learning .slider input");
    input.value = 0;
    input.dispatchEvent(new Event("input", {bubbles: true}));
    input.dispatchEvent(new Event("change", {bubbles: true}));""")
    page.wait(lambda: "starts" in page.find(PANEL).text, "another start")
    page.wait(lambda: "crops" in page.find(PANEL).text, "its progress")
    names = page.run("""
    return [...document.querySelectorAll("#live-style input[type=radio]")].map((i) => i.value)""")
    assert names == ["waves", "night", "mosaic"]
    page.click("#live-style label:has([value=mosaic])")
    press(page, "Keep")
    page.wait(lambda: "learned" in page.find(PANEL).text, "the end")
    assert "mosaic" in page.toast()
    press(page, "Close")
    page.wait(lambda: not page.find(PANEL).is_displayed(), "no panel")
    assert page.find_all("#live-style input[value=mosaic]")
    page.forget_uploads()

    # What cannot be learned is refused in a line, and nothing changes.
    Image.new("RGB", (200, 200), "teal").save(plain_file := tmp_path / "teal.png")
    page.open()
    page.find("#live-style .adder input").send_keys(str(plain_file))
    assert "teal" in page.toast()
    assert not page.find(PANEL).is_displayed()
    # The refusal is an answer that the browser logs.
    assert len(page.errors()) == 1
