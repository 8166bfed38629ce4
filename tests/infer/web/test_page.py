"""The page in Chromium: access, keyboard and layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import TABS, Elsewhere, Page
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


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
        ActionChains(page.driver).send_keys(key).perform()  # an element would take it for a file
        return page.run("return document.activeElement.id || document.activeElement.value")

    assert press(Keys.ARROW_RIGHT) == "tab-image"
    assert press(Keys.END) == "tab-train"
    assert press(Keys.ARROW_RIGHT) == "tab-live"
    shown = page.run(
        "return [...document.querySelectorAll('[role=tabpanel]:not([hidden])')].map(p => p.id)"
    )
    assert shown == ["live"]
    assert press(Keys.TAB) == "phone"
    assert press(Keys.TAB) == "help-open"
    assert press(Keys.TAB) == "live-start"
    for _ in range(20):  # on to the styles, past the buttons
        if press(Keys.TAB) == "waves":
            break
    assert press(Keys.ARROW_DOWN) == "night"
    assert page.find("#live-style input:checked").get_attribute("value") == "night"


@pytest.fixture
def view(page: Page) -> Iterator[Page]:
    """A page whose size and colors the test may change."""
    yield page
    page.reset_view()


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_page_is_accessible(view: Page, size: tuple[int, int], astronaut: Path) -> None:
    """In both color schemes, with a job's card, a message and the help dialog."""
    view.resize(*size, phone=size[0] < 500)
    view.color_scheme("light")
    view.open("optimize")
    for place in ("optimize-content", "optimize-style"):
        view.choose_file(place, astronaut)
    view.wait(lambda: not view.find("#optimize-missing").text, "uploads")
    view.click("#optimize-form .start button")
    cancel = """
    const [button] = [...document.querySelectorAll("#optimize-jobs button")]
      .filter((each) => each.textContent === "Cancel");
    button?.click();
    return Boolean(button);"""
    view.wait(lambda: view.run(cancel), "the job")
    assert view.toast()
    found = {}
    for scheme, tags in (("light", ()), ("dark", ("cat.color",))):
        view.color_scheme(scheme)
        for tab in TABS:
            view.run(f"document.getElementById('tab-{tab}').click()")
            found[scheme, tab] = view.accessibility_errors(*tags)
    view.click("#help-open")
    found["dark", "help"] = view.accessibility_errors()
    assert {place: errors for place, errors in found.items() if errors} == {}
    ActionChains(view.driver).send_keys(Keys.ESCAPE).perform()
    view.wait(lambda: not view.find("#help").is_displayed(), "the closed dialog")
    assert view.run("return document.activeElement.id") == "help-open"


def test_buttons_are_in_reach_and_nothing_scrolls_sideways(view: Page) -> None:
    """On a laptop without scrolling; on phones for fingers."""
    below = """
    return [...document.querySelectorAll("[role=tabpanel]:not([hidden]) .side button,"
      + "[role=tabpanel]:not([hidden]) .side summary, .bar button")]
      .filter((each) => each.getBoundingClientRect().bottom > innerHeight).length"""
    small = """
    return [...document.querySelectorAll("button, select, summary, .check, .slider input")]
      .filter((each) => each.offsetParent && each.getBoundingClientRect().height < 43.5)
      .map((each) => each.outerHTML)"""
    for width, height in ((1280, 800), (1920, 1080), (844, 390), (390, 844), (320, 568)):
        view.resize(width, height, phone=width < 500)
        view.open()
        for tab in TABS:
            view.run(f"document.getElementById('tab-{tab}').click()")
            assert view.run("return document.documentElement.scrollWidth") <= width, (width, tab)
            if width in (1280, 1920):
                assert view.run(below) == 0, (width, tab)
            if width < 500:
                assert view.run(small) == [], (width, tab)
        more = view.find("#live-style details").get_attribute("open")
        assert (more is not None) == (width == 1920)


def test_tabs_are_steps_of_the_history_and_the_choice_is_not(page: Page) -> None:
    page.open("image")
    page.click("#tab-train")
    page.click("#tab-live")
    page.click("#live-style .swatch:nth-of-type(2)")
    page.driver.back()
    page.wait(lambda: page.find("#train").is_displayed(), "the tab before")
    assert page.find("#live-style input:checked").get_attribute("value") == "night"
    page.wait(lambda: page.driver.current_url.endswith("?style=night#train"), "the address")
    page.driver.forward()
    page.wait(lambda: page.find("#live").is_displayed(), "the tab after")
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click("#live-style .link")
    link = page.wait(lambda: page.run("return window.copied"), "the link")
    assert link == f"{page.url}?style=night#live"
    page.driver.get("about:blank")
    page.driver.get(link.replace("#live", "&strokes=4#image"))
    page.wait(lambda: page.find_all("html[data-ready]"), "page")
    assert page.run("return document.querySelector('#image-style :checked').value") == "night"
    assert page.find("#image-style details").get_attribute("open")  # strokes are not the default


def test_lost_studio_is_told_once_and_a_new_one_reloads_the_page(
    elsewhere: Elsewhere, painting: Path
) -> None:
    with elsewhere() as page:
        port = int(page.url.rsplit(":", 1)[1].strip("/"))
        page.open("train")
        page.click("#tab-image")
        page.click("#tab-train")
        page.find("#train-form [name=name]").send_keys("mine")
        page.run("window.before = true")
    page.wait(lambda: page.find("#connection").is_displayed(), "the banner")
    page.choose_file("train-style", painting)
    page.wait(lambda: "swirls" not in page.find("#train-style").text, "the end of the upload")
    assert page.find("#toasts").text == ""
    unsaved = 'import("/static/page/elements.js").then(({unsaved}) => unsaved.'
    page.run(f'{unsaved}add("a recording"))')
    with elsewhere(port):
        page.wait(lambda: page.find("#reload").is_displayed(), "the offer to reload")
        assert page.run("return window.before")
        page.run(f'{unsaved}delete("a recording"))')
        page.wait(lambda: not page.run("return window.before"), "the new page")
        page.wait(lambda: page.find_all("html[data-ready]"), "page")
        assert not page.find("#connection").is_displayed()
        assert page.find("#train").is_displayed()
        assert page.find("#train-form [name=name]").get_attribute("value") == "mine"


def test_short_loss_of_the_connection_heals_without_a_reload(page: Page) -> None:
    page.open()
    page.run(
        "window.before = window.fetch; window.fetch = () => Promise.reject(new TypeError('x'))"
    )
    page.wait(lambda: page.find("#connection").is_displayed(), "the banner")
    page.run("window.fetch = window.before")
    page.wait(lambda: not page.find("#connection").is_displayed(), "no banner")
    assert page.run("return Boolean(window.before)")
    assert page.find("#toasts").text == ""
