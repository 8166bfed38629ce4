"""The image tab in Chromium: one image in all styles, several at once, dropped and pasted files."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from pages import Elsewhere, Page
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


def small(folder: Path, name: str, width: int = 60, height: int = 40) -> Path:
    levels = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(folder / name)
    return folder / name


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
    page.click("#image-style .swatch:nth-of-type(2)")
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
        removal = (
            "return fetch('/api/uploads').then((answer) => answer.json())"
            ".then(([{id}]) => fetch(`/api/uploads/${id}`, {method: 'DELETE'})).then(({ok}) => ok)"
        )
        page.wait(lambda: page.run(removal), "removal")  # refused while previews are made
        page.click("#image-style .swatch:nth-of-type(2)")
        assert "no longer here" in page.toast()
        assert "busy" not in str(page.find("#image-stage").get_attribute("class"))


def test_image_is_compared_opened_large_and_found_again(page: Page, astronaut: Path) -> None:
    page.open("image")
    page.choose_file("image-drop", astronaut)
    page.uploaded("image-drop", "astronaut.png")
    page.shown("#image-view")
    page.click("#image-compare")
    divider = page.find("#image .divider")
    divider.send_keys(Keys.ARROW_RIGHT)
    assert float(divider.get_attribute("value") or 0) > 50
    original = page.find("#image .original")
    assert original.is_displayed()
    before = page.shown("#image-view")
    page.set_slider("Strength", "image-style", 0.5)
    page.wait(lambda: page.shown("#image-view") != before, "another strength")
    assert original.is_displayed()  # still comparing
    page.click("#image-compare")
    assert not original.is_displayed()
    button = page.find("#image-hold")
    for begin, end in (
        (ActionChains(page.driver).click_and_hold(button), ActionChains(page.driver).release()),
        (
            ActionChains(page.driver).move_to_element(button).key_down(Keys.SPACE, button),
            ActionChains(page.driver).key_up(Keys.SPACE, button),
        ),
    ):
        begin.perform()
        assert original.is_displayed()
        end.perform()
        assert not original.is_displayed()
    for opened in ("#image-view", "#image-large"):
        page.click(opened)
        page.shown("dialog.large img")
        page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        page.wait(lambda: not page.find_all("dialog.large"), "the end of the dialog")
    tab = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        page.open("image")  # in another tab of the browser
        page.shown("#image-view")
        assert "astronaut.png" in page.find("#image-drop").text
    finally:
        page.driver.close()
        page.driver.switch_to.window(tab)


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_image_and_its_buttons_are_visible_without_scrolling(
    page: Page, astronaut: Path, size: tuple[int, int]
) -> None:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.open("image")
        page.choose_file("image-drop", astronaut)
        page.shown("#image-view")
        page.uploaded("image-drop", "astronaut.png")
        page.run("scrollTo(0, 0)")
        ends = "return document.getElementById(arguments[0]).getBoundingClientRect()[arguments[1]]"
        assert page.run(ends, "image-view", "top") > 0
        assert page.run(ends, "image-download", "bottom") <= size[1]
        assert page.run(ends, "image-view", "height") > 300
        assert page.run(ends, "image-download", "height") >= (44 if size[0] < 500 else 24)
        assert page.run("return document.documentElement.scrollWidth") <= size[0]
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_several_images_become_one_download(page: Page, tmp_path: Path) -> None:
    files = [small(tmp_path, name) for name in ("one.png", "two.png", "three.png")]
    page.open("image")
    page.find("#image-drop input").send_keys("\n".join(map(str, files)))
    page.wait(lambda: "3" in page.find("#image-download").text, "three images")
    page.click("#image-download")
    card = page.job("images", "done")
    assert "3" in card.find_element(By.CSS_SELECTOR, ".state").text
    page.shown("#images-jobs img")
    card.find_element(By.CSS_SELECTOR, ".show button").send_keys(Keys.ENTER)
    page.shown("dialog.large img")
    page.click("dialog.large button")
    card.find_element(By.LINK_TEXT, "Download").click()
    file = page.downloaded(".zip")
    assert file.name == "images_waves.zip"
    names = {f"{name}_waves.png" for name in ("one", "two", "three")}
    assert set(zipfile.ZipFile(file).namelist()) == names
    page.remove(card)


def test_files_are_taken_anywhere_and_go_where_they_are_of_use(page: Page, tmp_path: Path) -> None:
    image = small(tmp_path, "dropped.png").read_bytes()

    def panel() -> str:
        return str(page.find("[role=tabpanel]:not([hidden])").get_attribute("id"))

    page.open("live")
    assert page.drag(("a.png", "image/png", image), kind="dragover")
    assert "Image" in page.find(".overlay").text
    assert page.drag(("dropped.png", "image/png", image), target="#live-stage")
    page.uploaded("image-drop", "dropped.png")
    assert panel() == "image"
    assert not page.find(".overlay").is_displayed()
    page.open("optimize")
    for place, kind in (("content", "drop"), ("style", "paste")):
        assert page.drag((f"{place}.png", "image/png", image), kind=kind)
        page.uploaded(f"optimize-{place}", f"{place}.png")
        page.shown(f"#optimize-{place} img")
    assert panel() == "optimize"
    assert page.drag(("x.mkv", "video/x-matroska", b""), kind="dragover")
    assert "Video" in page.find(".overlay").text
    assert page.drag(("notes.txt", "text/plain", b"x"))
    message = page.toast()
    assert "notes.txt" in message
    assert "PNG" in message
    assert page.drag(("photos.zip", "application/zip", b"x"), kind="dragover")
    assert "train" in page.find(".overlay").text
    page.open("optimize")  # both are found again
    for place in ("content", "style"):
        page.shown(f"#optimize-{place} img")
    page.wait(page.find("#optimize-form button").is_enabled, "the button")
    assert not page.drag(kind="paste")  # text is left to fields


def test_upload_shows_its_progress_and_can_be_cancelled(page: Page, tmp_path: Path) -> None:
    file = small(tmp_path, "large.png", 900, 800)
    page.open("image")
    before = page.find("#image-drop .name").text
    page.run("""
        XMLHttpRequest.prototype.send = function (body) {
          this.upload.onprogress({loaded: body.size / 2, total: body.size});
          this.abort = this.onabort;
        };""")
    page.choose_file("image-drop", file)
    page.wait(lambda: "50%" in page.find("#image-drop").text, "progress")
    assert "MB" in page.find("#image-drop").text
    page.press(page.find("#image-drop"), "Cancel")
    page.wait(lambda: page.find("#image-drop .name").text == before, "the end")
    assert page.find("#image-drop input").is_enabled()
    assert not page.find("#image-drop button").is_displayed()
    assert not page.find("#toasts").text
