"""The video tab in Chromium: frames and a preview of a video in a style, results, comparing."""

from pathlib import Path

import cv2
import pytest
from clips import write_clip
from pages import Page
from selenium.webdriver.common.by import By
from visitors import cut_clip

pytestmark = pytest.mark.slow


def choose_video(page: Page, clip: Path) -> None:
    page.open("video")
    page.choose_file("video-drop", clip)
    page.uploaded("video-drop", clip.name)
    page.shown("#video-view")


def start_video(page: Page, clip: Path) -> None:
    choose_video(page, clip)
    page.click("#video-start")


def can_compare(page: Page) -> bool:
    """Wait until it is known whether the newest result can be compared with the original."""
    button = page.find(".player button")
    page.wait(lambda: "loaded" not in str(button.get_attribute("title")), "the original")
    reason = page.find(".player .hint").text
    blocked = button.get_attribute("aria-disabled") == "true"
    assert bool(reason) == blocked
    assert not blocked or button.get_attribute("title") == reason
    return not blocked


def test_video_is_tried_out_before_it_is_stylized(page: Page, tmp_path: Path) -> None:
    page.open("video")
    start = page.find("#video-start")
    assert start.get_attribute("aria-disabled") == "true"
    assert start.get_attribute("title") == page.find("#video-hint").text
    start.click()
    assert page.toast() == start.get_attribute("title")
    clip = write_clip(tmp_path / "trial.mp4", pts=range(0, 512 * 75, 512))
    choose_video(page, clip)
    assert page.find("#video-start").get_attribute("aria-disabled") == "false"
    swatches = page.find_all("#video-style .swatch img")
    assert len(swatches) == 2
    first = page.shown("#video-style .swatch img")
    at_begin = page.shown("#video-view")
    page.set_slider("Position", "video-tools", 2)
    page.wait(lambda: page.shown("#video-view") != at_begin, "another frame")
    page.run("""
        const position = document.querySelector("#video-position input");
        position.dispatchEvent(new Event("change"));""")
    page.wait(lambda: page.shown("#video-style .swatch img") != first, "its previews")
    page.click("#video-compare")
    assert page.find("#video .original").is_displayed()
    page.click("#video-preview")
    playing = """
    const clip = document.querySelector("#video .clip");
    return clip.readyState && clip.duration;"""
    seconds = page.wait(lambda: page.run(playing), "preview")
    assert 1.8 < seconds < 2.2
    assert page.find("#video .clip").is_displayed()
    assert page.find("#video .divider").get_property("hidden")
    forecast = page.find("#video-hint").text
    page.click("#video-style .swatch:nth-of-type(2)")
    assert not page.find("#video .clip").is_displayed()
    assert page.find("#video-hint").text != forecast
    page.click("#video-preview")  # and is no longer waited for
    page.click("#video-style .grid > .swatch")
    page.wait(lambda: page.find("#video-preview").text == "Preview 2 s", "the end")
    assert not page.find("#video .clip").is_displayed()
    assert not page.find_all("#video-jobs .job")
    page.driver.refresh()  # the video is found again
    page.shown("#video-view")
    assert "trial.mp4" in page.find("#video-drop").text


def test_video_is_stylized_survives_a_reload_plays_downloads_and_is_compared(
    page: Page, tmp_path: Path
) -> None:
    start_video(page, write_clip(tmp_path / "clip.mp4", audio="aac"))
    page.wait(lambda: page.find_all(".job"), "job")
    page.open("video")
    card = page.job("video", "done")
    assert "25 frames" in card.text
    assert page.video_loaded() == pytest.approx(1, abs=0.1)
    assert can_compare(page)
    page.click(".player button")
    assert page.find(".player .original").is_displayed()
    page.run("document.querySelector('.player video').currentTime = 0.6")
    times = """
    const [shown, original] = document.querySelectorAll(".player video");
    const apart = Math.abs(shown.currentTime - original.currentTime);
    return !shown.seeking && !original.seeking && apart < 0.05
      && original.currentTime > 0.5 && original.muted;"""
    page.wait(lambda: page.run(times), "the same moment")
    assert page.press(card, "Play")
    moving = "return [...document.querySelectorAll('.player video')].every((each) => !each.paused)"
    page.wait(lambda: page.run(moving), "both playing")
    assert page.press(card, "Pause")
    page.wait(lambda: page.run(moving.replace("!each", "each")), "both paused")
    card.find_element(By.LINK_TEXT, "Download").click()
    file = page.downloaded(".mp4")
    assert file.name == "clip_waves.mp4"
    assert cv2.VideoCapture(str(file)).read()[0]
    page.remove(card)


def test_partly_done_video_tells_what_is_missing(page: Page, tmp_path: Path) -> None:
    start_video(page, cut_clip(tmp_path))
    card = page.job("video", "partial")
    assert "cut.mkv" in card.find_element(By.CSS_SELECTOR, ".error").text
    page.video_loaded()
    can_compare(page)
    page.remove(card)


def test_result_says_why_it_cannot_be_compared(page: Page, tmp_path: Path) -> None:
    start_video(page, write_clip(tmp_path / "old.avi", codec="mpeg4"))
    card = page.job("video", "done")
    page.video_loaded()
    assert not can_compare(page)
    unplayable = page.find(".player .hint").text
    page.run(
        "return fetch('/api/uploads').then((answer) => answer.json()).then((all) => Promise.all("
        "all.map(({id}) => fetch(`/api/uploads/${id}`, {method: 'DELETE'})))).then(() => 1)"
    )
    page.open("video")
    card = page.job("video", "done")
    assert not can_compare(page)
    assert page.find(".player .hint").text != unplayable  # it is no longer there
    page.remove(card)
