"""The optimize and train tabs in Chromium."""

from pathlib import Path

import numpy as np
import pytest
from pages import Page
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from visitors import Studio

from nst_rt.recipes import recipe_steps

pytestmark = pytest.mark.slow


def download(page: Page, card: WebElement, suffix: str) -> Path:
    card.find_element(By.LINK_TEXT, "Download").click()
    return page.downloaded(suffix)


def choose_optimization(page: Page, content: Path, style_image: Path) -> WebElement:
    """Choose both images; returns the button that starts."""
    page.open("optimize")
    page.choose_file("optimize-content", content)
    page.choose_file("optimize-style", style_image)
    button = page.find("#optimize-form button")
    page.wait(button.is_enabled, "uploads")
    return button


def test_optimization_is_watched_and_stopped_early(
    page: Page, astronaut: Path, painting: Path
) -> None:
    button = choose_optimization(page, astronaut, painting)
    Select(page.find("#optimize-form select")).select_by_value("256")
    button.click()
    page.job("optimize", "running")
    width = "return document.querySelector('.job img')?.naturalWidth"
    assert page.wait(lambda: page.run(width), "preview") > 30
    page.wait(lambda: page.find_all(".job .curve path.line0"), "curve")
    assert page.press(page.find(".job .tools"), "Stop and keep")
    card = page.job("optimize", "done")
    assert "astronaut.png as swirls.jpg" in card.text
    assert min(Image.open(download(page, card, ".png")).size) > 30
    page.remove(card)


def test_cancelling_is_undone_and_done(page: Page, astronaut: Path, painting: Path) -> None:
    choose_optimization(page, astronaut, painting).click()
    card = page.job("optimize", "running")
    for undone in (True, False):
        page.wait(lambda: page.press(card, "Cancel"), "the button")
        page.wait(lambda: "Ending" in card.text, "the end")
        if undone:
            page.press(page.find("#toasts"), "Undo")
            page.wait(lambda: "Ending" not in card.text, "no end")
    page.remove(page.job("optimize", "cancelled"))


def test_style_is_trained_watched_and_used_live(page: Page, painting: Path) -> None:
    page.open("train")
    page.choose_file("train-style", painting)
    button = page.find("#train-form button")
    page.wait(button.is_enabled, "upload")
    assert page.find("#train-form [name=name]").get_attribute("value") == "swirls"
    steps = Select(page.find("#train-form [name=steps]"))
    assert str(recipe_steps("new_style")) in steps.first_selected_option.text
    assert steps.first_selected_option.get_attribute("value") == ""  # the recipe's own
    page.run("document.querySelector('#train-form [name=steps]').options[0].value = 3")
    steps.select_by_value("3")
    button.click()
    card = page.job("train", "done")
    assert card.find_elements(By.CSS_SELECTOR, ".curve path.line1")
    samples = "return document.querySelector('.job img').naturalWidth"
    assert page.wait(lambda: page.run(samples), "samples")
    assert page.press(card, "Use it live")
    assert page.find("#tab-live").get_attribute("aria-selected") == "true"
    assert page.find("#live-style input:checked").get_attribute("value") == "swirls"
    page.start_camera()
    page.click("#live-stop")
    page.click("#tab-train")
    page.remove(card)
    assert "swirls" not in page.find("#live-style").get_attribute("innerHTML")
    page.press(page.find("#toasts"), "Undo")
    card = page.job("train", "done")
    page.wait(lambda: page.run(samples), "samples")  # else it asks for them once they are gone
    page.remove(card)


def test_folder_of_photos_is_reduced_before_upload(
    page: Page, studio: Studio, tmp_path: Path
) -> None:
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
    page.wait(lambda: "holiday: 3 photos, 1 " in place.text, "photos")
    sizes = [Image.open(file).size for file in studio.root.glob("*/photos/*.jpg")]
    assert sizes == [(432, 288)] * 3
