"""Shows that the page can be used without a mouse, without sight, on any screen and on paper."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.support.browser import ZONE, reading
from tests.support.page import last
from tests.support.running import Service

pytestmark = pytest.mark.processes


def test_print_shows_the_numbers_and_nothing_to_press(browser: Browser, service: Service, key: str) -> None:
    """On white, also for readers of dark pages, with words instead of choices; of an open explanation only that."""
    with reading(browser, service.url, color_scheme="dark") as reader:
        page = reader.come(key).page
        expect(page.locator(".printed")).to_be_hidden()
        page.emulate_media(media="print")
        of = last(30)
        expect(page.locator(".printed")).to_have_text(f"Workspace 1 · {of['start_date']} to {of['end_date']} · {ZONE}")
        for shown_too in (".printed", ".tile .value", "svg.lines", ".campaigns tbody tr", ".heat", ".bars"):
            expect(page.locator(shown_too).first).to_be_visible()
        for pressed in (".controls", ".tools", "footer", ".skip", 'section[data-key="health"]'):
            expect(page.locator(pressed).first).to_be_hidden()
        buttons = page.locator("button:visible")
        assert set(buttons.evaluate_all("all => all.map(each => each.className)")) <= {"number", "name", "sort"}
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 36, 48)"
        assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
        assert page.pdf().startswith(b"%PDF")
        page.emulate_media(media="screen")
        page.locator('.tile [data-why="amount_of_replies"]').click()
        expect(page.locator("dialog .adds")).to_be_visible()
        page.emulate_media(media="print")
        expect(page.locator("dialog .sum")).to_be_visible()
        expect(page.locator("#page")).to_be_hidden()
        expect(page.get_by_role("button", name="Close")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_are_no_barriers(browser: Browser, service: Service, key: str, scheme: str) -> None:
    """None is found by axe: on the entry, the overview, an explanation and a campaign."""
    with reading(browser, service.url, color_scheme=scheme) as reader:
        views = (
            "",
            "?workspace=ALL",
            "?why=amount_of_replies",
            "?why=amount_of_replies&why_campaign=101&why_workspace=1",
            "?period=90d&why=amount_of_replies&why_part=cell:1/9",
            '?campaign=101&part=step,variant&why=amount_of_replies&why_part=row:[1,"A"]',
            "?campaign=101&part=step,variant",
        )
        reader.page.goto(service.url)
        expect(reader.page.get_by_label("API key")).to_be_visible()
        reports = [Axe().run(reader.page)]
        for view in views:
            reader.come(key, view)
            for details in reader.page.locator("details").all():
                details.evaluate("each => { each.open = each.className !== 'menu'; }")
            reports.append(Axe().run(reader.page))
        wrong = [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]][:3])
            for results in reports
            for violation in results.response["violations"]
        ]
        assert not wrong, json.dumps(wrong, indent=1)


def test_the_keyboard_is_enough(browser: Browser, service: Service, key: str) -> None:
    """To get to a number, ask why, come back to where one was, walk along the chart and open a campaign."""
    with reading(browser, service.url) as reader:
        page = reader.come(key).page

        def tab_to(selector: str) -> None:
            for _ in range(80):
                page.keyboard.press("Tab")
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    return
            raise AssertionError(selector)

        tab_to("a.skip")
        tab_to('.tile [data-why="amount_of_replies"]')
        page.keyboard.press("Enter")
        expect(page.locator("dialog .adds")).to_be_visible()
        tab_to("dialog tbody .number")
        page.keyboard.press("Enter")
        expect(page.locator("dialog [data-whole]")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_be_hidden()
        assert page.evaluate("document.activeElement.dataset.why") == "amount_of_replies"
        tab_to("svg.lines")
        page.keyboard.press("End")
        expect(page.locator(".tip")).to_contain_text("Replies: ")
        assert "Replies: " in (page.locator("#spoken").text_content() or "")
        tab_to(".heat button")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement === document.querySelectorAll('.heat button')[1]")
        page.keyboard.press("Enter")
        expect(page.locator("dialog .adds")).to_be_visible()
        page.keyboard.press("Escape")
        page.locator("a.skip").focus()
        tab_to(".campaigns .name")
        page.keyboard.press("Enter")
        expect(page.locator("h2.title")).to_be_visible()


@pytest.mark.parametrize("width", [360, 768, 2_560])
def test_it_fits_every_screen(browser: Browser, service: Service, key: str, width: int) -> None:
    """Nothing has to be scrolled sideways but tables, from a phone to a wall."""
    with reading(browser, service.url, viewport={"width": width, "height": 800}) as reader:
        for view in ("?workspace=ALL", "?campaign=101&workspace=1", "?workspace=1&why=amount_of_replies"):
            reader.come(key, view)
            script = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert reader.page.evaluate(script), view
