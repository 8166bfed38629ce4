"""The optimize and train tabs in Chromium."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import Page
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from visitors import PATIENCE, Studio

from nst_rt.recipes import recipe_steps

pytestmark = pytest.mark.slow


def download(page: Page, card: WebElement, suffix: str) -> Path:
    card.find_element(By.LINK_TEXT, "Download").click()
    return page.downloaded(suffix)


def choose_optimization(page: Page, content: Path, style_image: Path) -> WebElement:
    """Choose both images; returns the button that starts, which says what is missing until then."""
    page.forget_uploads()
    page.open("optimize")
    button = page.find("#optimize-form .start button")
    assert button.get_attribute("aria-disabled") == "true"
    button.click()
    assert page.toast() == page.find("#optimize-missing").text
    page.choose_file("optimize-content", content)
    page.wait(lambda: "style" in page.find("#optimize-missing").text, "the content image")
    page.choose_file("optimize-style", style_image)
    page.wait(lambda: button.get_attribute("aria-disabled") == "false", "the style image")
    assert page.find("#optimize-missing").text == ""
    return button


def test_optimization_is_watched_and_stopped_early(
    page: Page, astronaut: Path, painting: Path
) -> None:
    button = choose_optimization(page, astronaut, painting)
    size = Select(page.find("#optimize-form select"))
    assert size.first_selected_option.get_attribute("value") == "512"
    assert all(re.search(r"\d+ px, .*(s|min|h)$", option.text) for option in size.options)
    size.select_by_value("256")
    button.click()
    page.job("optimize", "running")
    width = "return document.querySelector('.job img')?.naturalWidth"
    assert page.wait(lambda: page.run(width), "preview") > 30
    page.wait(lambda: page.find_all(".job .curve path.line0"), "curve")
    assert page.press(page.find(".job .tools"), "Stop and keep")
    card = page.job("optimize", "done")
    assert "astronaut.png as swirls.jpg" in card.text
    assert min(Image.open(download(page, card, ".png")).size) > 30
    page.click(".job .enlarge")
    large = "return document.querySelector('dialog.large[open] img')?.naturalWidth"
    assert page.wait(lambda: page.run(large), "the large image") > 30
    page.click("dialog.large button")
    page.remove(card)
    page.open("optimize")
    kept = Select(page.find("#optimize-form select")).first_selected_option
    assert kept.get_attribute("value") == "256"  # after the reload


def test_job_of_another_tab_is_shown_with_its_place(page: Page) -> None:
    page.open("optimize")
    page.driver.set_script_timeout(PATIENCE)
    page.driver.execute_async_script("""
        const done = arguments[0];
        (async () => {
          const canvas = Object.assign(document.createElement("canvas"), {width: 64, height: 64});
          const body = await new Promise((resolve) => canvas.toBlob(resolve));
          const answer = await fetch("/api/uploads?kind=image", {method: "POST", body});
          const {id} = await answer.json();
          const json = JSON.stringify({kind: "optimize", content: id, style_image: id, size: 64});
          await fetch("/api/jobs", {method: "POST", body: json});
        })().then(done);""")
    script = """
        const [job, done] = arguments;
        import("/static/jobs/card.js").then(({words}) => done(words(job)));"""

    def words(**job: Any) -> list[Any]:
        found: list[Any] = page.driver.execute_async_script(script, job)
        return found

    assert words(state="running", note="step 1", place=1, seconds=None) == ["step 1", False]
    _, left = words(state="running", note="step 120 of 300", place=1, seconds=170)
    assert "3 min" in left
    _, place, start = words(state="waiting", note="", place=2, seconds=700)
    assert "2nd" in place
    assert "12 min" in start
    place = page.find("#optimize-jobs")
    page.wait(lambda: page.press(place, "Stop and keep"), "the job and its button")
    page.remove(page.job("optimize", "done"))


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
    button = page.find("#train-form .start button")
    assert button.get_attribute("aria-disabled") == "true"
    page.choose_file("train-style", painting)
    page.wait(lambda: button.get_attribute("aria-disabled") == "false", "upload")
    assert page.find("#train-form [name=name]").get_attribute("value") == "swirls"
    steps = Select(page.find("#train-form [name=steps]"))
    assert f"{recipe_steps('new_style')} steps, about" in steps.first_selected_option.text
    assert steps.first_selected_option.get_attribute("value") == ""  # the recipe's own
    source = Select(page.find("#train-form [name=source]"))
    assert source.first_selected_option.get_attribute("value") == "server"
    assert not page.find("#train-photos .warning").is_displayed()
    source.select_by_value("packaged")
    assert "4" in page.find("#train-photos .warning").text
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
    shape = """
        const {naturalWidth, naturalHeight} = document.querySelector("#live-style :checked + img");
        return [naturalWidth, naturalHeight];"""
    page.wait(lambda: page.run(shape) == [96, 96], "the gallery's photo, not the style image")
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
    assert len(page.find_all("#train-photos .thumbs img")) == 3
    assert "3" in page.find("#train-photos .warning").text


def test_frames_of_the_camera_are_photos_to_train_on(page: Page) -> None:
    page.open("train")
    page.run("""
        const later = setTimeout;
        window.setTimeout = (act, pause) => later(act, pause / 50);""")
    Select(page.find("#train-form [name=source]")).select_by_value("camera")
    page.click("#train-photos button")
    page.wait(lambda: "40" in page.find("#train-photos .warning").text, "frames")
    assert len(page.find_all("#train-photos .thumbs img")) == 12
