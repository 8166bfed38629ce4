"""The page in Chromium: the image tab, refusals, access, keyboard and layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import Elsewhere, Page
from PIL import Image, ImageColor
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def test_image_is_shown_in_all_styles_and_downloaded_at_full_size(
    page: Page, tmp_path: Path, astronaut: Path
) -> None:
    Image.open(astronaut).resize((301, 201)).save(tmp_path / "my photo.png")
    page.open("image")
    page.choose_file("image-drop", tmp_path / "my photo.png")

    def loaded() -> int:
        images = "return [...document.querySelectorAll('#image img:not(.original)')]"
        return int(page.run(f"{images}.filter(each => each.naturalWidth).length"))

    page.wait(lambda: loaded() == 3, "the image in two styles, and one of them large")
    assert "301 \u00d7 201" in page.find("#image-drop").text
    before = page.find("#image-view").get_attribute("src")
    page.click("#image-style .swatch:nth-child(2)")
    page.wait(lambda: page.find("#image-view").get_attribute("src") != before, "another style")
    page.click("#image-download")
    file = page.downloaded(".png")
    assert file.name == "my photo_night.png"
    assert Image.open(file).size == (301, 201)
    page.driver.refresh()
    page.wait(lambda: loaded() == 3, "the same image after a reload")


def test_oversized_file_is_refused_by_the_page_and_by_the_studio(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "large.png")
    with elsewhere(limits={"upload": 10**6}) as page:
        for sent_anyway in ("", "Object.defineProperty(Blob.prototype, 'size', {get: () => 1})"):
            page.open("image")
            page.run(sent_anyway)
            page.choose_file("image-drop", tmp_path / "large.png")
            assert "1 MB" in page.toast()
            assert not page.find("#image-stage").is_displayed()


def test_truncated_image_does_not_replace_a_good_one(
    elsewhere: Elsewhere, tmp_path: Path, astronaut: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(astronaut.read_bytes()[:100_000])
    with elsewhere() as page:
        page.open("image")
        page.choose_file("image-drop", astronaut)
        page.image_loaded()
        page.choose_file("image-drop", cut)
        message = page.toast()
        assert "cut.png" in message
        assert "truncated" in message
        assert "astronaut.png" in page.find("#image-drop").text
        page.click("#image-download")
        assert Image.open(page.downloaded(".png")).size == Image.open(astronaut).size


def test_removed_image_is_reported(elsewhere: Elsewhere, astronaut: Path) -> None:
    with elsewhere() as page:
        page.open("image")
        page.choose_file("image-drop", astronaut)
        page.image_loaded()
        page.run(
            "const {id} = JSON.parse(sessionStorage.getItem('nst-rt image'));"
            "return fetch(`/api/uploads/${id}`, {method: 'DELETE'}).then(() => 1)"
        )
        page.click("#image-style .swatch:nth-child(2)")
        assert "no longer here" in page.toast()
        assert "busy" not in str(page.find("#image-stage").get_attribute("class"))


def test_wrong_token_is_refused_and_the_right_one_opens_the_page(elsewhere: Elsewhere) -> None:
    with elsewhere(token="correct horse", cookie="nst_rt_locked") as page:
        page.driver.get(page.url)
        assert "locked" in page.find("main").text
        assert page.run("return fetch('/api/studio').then((answer) => answer.status)") == 403
        page.find("input[name=token]").send_keys("wrong horse", Keys.ENTER)
        page.wait(lambda: "wrong+horse" in page.driver.current_url, "the next page")
        assert "locked" in page.find("main").text
        page.find("input[name=token]").send_keys("correct horse", Keys.ENTER)
        page.wait(lambda: page.find_all("html[data-ready]"), "page")
        assert "horse" not in page.driver.current_url


def test_tabs_and_styles_work_with_the_keyboard(page: Page) -> None:
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
    assert press(Keys.TAB) == "phone"
    assert press(Keys.TAB) == "live-start"
    for _ in range(20):  # on to the styles, past the buttons
        if press(Keys.TAB) == "waves":
            break
    assert press(Keys.ARROW_DOWN) == "night"
    assert page.find("#live-style input:checked").get_attribute("value") == "night"


def test_every_control_has_a_name(page: Page) -> None:
    page.open()
    nameless = """
    return [...document.querySelectorAll("button, select, input, a, img, video, canvas, progress")]
      .filter((each) => !(each.textContent.trim() || each.labels?.length || each.title
        || each.hasAttribute("alt") || each.getAttribute("aria-label") || each.hidden))
      .map((each) => each.outerHTML);"""
    assert page.run(nameless) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page: Page, scheme: str) -> None:
    """WCAG 2.1, AA: 4.5 to 1 for text."""
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page.open()
    script = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])"

    def luminance(name: str) -> float:
        levels = np.array(ImageColor.getrgb(page.run(script, f"--{name}"))) / 255
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    pairs = [("text", "page"), ("text", "surface"), ("on-accent", "accent")]
    pairs += [("muted", "page"), ("muted", "surface"), ("muted", "stage")]
    pairs += [("accent", "surface"), ("accent", "soft"), ("danger", "surface")]
    for pair in pairs:
        low, high = sorted(map(luminance, pair))
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair


def test_phone_layout_does_not_scroll_sideways(page: Page) -> None:
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
