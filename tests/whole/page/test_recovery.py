"""Shows that the page finds back by itself after failures, odd addresses and answers that come late."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.browser import reading
from tests.support.examples import api_key, email_sent
from tests.support.page import DASHBOARD, ask, last, rows_of
from tests.support.running import Service, users_of

pytestmark = pytest.mark.processes
CONTACTED = '.tile[data-key="amount_of_prospects_contacted"] .number'
BY_ITSELF = 15_000  # ms; every five seconds the page looks for what has failed


def now() -> str:
    """Return an instant that has just gone by."""
    return (datetime.now(UTC) - timedelta(seconds=1)).isoformat()


@pytest.mark.parametrize("status", [503, 429, None])
def test_an_answer_that_fails_is_asked_for_again_and_said_to_be_old_until_then(
    browser: Browser, service: Service, url: str, status: int | None
) -> None:
    """Busy, or not there at all; nothing else has to happen."""
    with users_of(url) as users:
        headers = api_key(users, 41, user="fails")
    service.post(41, headers, email_sent(1, occurred_at=now(), source=str(status)))
    is_over: list[bool] = []

    def fail(route: Route) -> None:
        if is_over:
            route.continue_()
        elif status is None:
            route.abort()
        else:
            route.fulfill(status=status, headers={"Retry-After": "1"}, json={"error": "busy"})

    with reading(browser, service.url) as reader:
        reader.come(headers["X-API-Key"])
        before = reader.tile("amount_of_prospects_contacted")
        reader.page.route("**/summary/**", fail)
        service.post(41, headers, email_sent(2, occurred_at=now(), source=str(status), prospect_id=f"p-{status}"))
        expect(reader.page.locator("#fresh.bad")).to_contain_text("may be old", timeout=BY_ITSELF)
        assert reader.tile("amount_of_prospects_contacted") == before
        is_over.append(True)
        expect(reader.page.locator("#fresh.good")).to_be_visible(timeout=BY_ITSELF)
        expect(reader.page.locator(CONTACTED)).to_have_text(str(int(before) + 1), timeout=BY_ITSELF)


@pytest.mark.parametrize(
    "query",
    [
        "?why=toString",
        "?why=amount_of_replies&why_campaign=123&why_workspace=42&why_part=times:99",
        "?why=amount_of_replies&why_campaign=123&why_workspace=42&why_part=hour:x",
    ],
)
def test_an_odd_address_stops_no_update(browser: Browser, service: Service, url: str, query: str) -> None:
    """And breaks nothing: whatever is thrown would be a complaint."""
    with users_of(url) as users:
        headers = api_key(users, 42, user="odd")
    with reading(browser, service.url) as reader:
        reader.come(headers["X-API-Key"], query)
        for _ in range(2):
            position = service.post(42, headers, email_sent(1, id=now(), occurred_at=now(), source=query)).json[
                "position"
            ]
            expect(reader.page.locator('section[data-key="health"]')).to_contain_text(f"{position} events in the log")


def test_a_page_that_nobody_sees_holds_no_stream(browser: Browser, service: Service, key: str) -> None:
    """A browser has six connections to a service, which such pages would use up."""
    hidden = "Object.defineProperty(document, 'hidden', { get: () => !window.seen });"
    with reading(browser, service.url) as reader:
        reader.context.add_init_script(hidden)
        reader.page.goto(f"{service.url}/#key={key}")
        expect(reader.page.locator(CONTACTED)).to_be_visible()
        assert not [each for each in reader.asked if "/stream/" in each]
        reader.page.evaluate("window.seen = true; document.dispatchEvent(new Event('visibilitychange'))")
        reader.settled()


def test_who_has_come_in_is_not_sent_away_by_an_answer_to_somebody_before(
    browser: Browser, service: Service, key: str
) -> None:
    """A key that does not hold, of which the answer comes late, takes away no other one."""
    with reading(browser, service.url) as reader:
        held: list[Route] = []

        def hold_first(route: Route) -> None:
            if held:
                route.continue_()
            else:
                held.append(route)

        reader.page.route("**/me/", hold_first)
        reader.page.goto(f"{service.url}/#key=ca_bad.key")
        expect(reader.page.locator(".loading")).to_be_visible()
        reader.page.evaluate("key => { location.hash = `key=${key}`; }", key)
        reader.settled()
        with reader.page.expect_response("**/me/"):
            held[0].continue_()
        reader.settled()
        assert rows_of(reader)
        assert reader.page.evaluate("sessionStorage.length") == 1


def test_what_is_rejected_shows_without_a_reload(browser: Browser, service: Service, url: str) -> None:
    """It moves no position, of which the stream would tell."""
    with users_of(url) as users:
        headers = api_key(users, 43, user="rejected")
    service.post(43, headers, email_sent(1, occurred_at=now()))
    with reading(browser, service.url) as reader:
        reader.come(headers["X-API-Key"])
        health = reader.page.locator('section[data-key="health"]')
        expect(health).to_contain_text("Nothing was rejected")
        service.post(43, headers, {"id": "bad", "type": "EmailSent"})
        expect(health).to_contain_text("invalid field", timeout=BY_ITSELF)


def test_going_back_takes_a_column_and_its_mark_away(browser: Browser, service: Service, key: str) -> None:
    """So that the next choice begins with what is shown."""
    with reading(browser, service.url) as reader:
        reader.come(key)
        before = rows_of(reader)
        reader.page.locator('details[data-key="columns"] summary').click()
        box = reader.page.get_by_label("E-mails", exact=True)
        box.check()
        expect(reader.page.locator(".campaigns th").filter(has_text="E-mails")).to_have_count(1)
        reader.page.go_back()
        expect(reader.page.locator(".campaigns th").filter(has_text="E-mails")).to_have_count(0)
        expect(box).not_to_be_checked()
        assert rows_of(reader) == before
        campaigns = ask(service, key, DASHBOARD, workspace_id=1, **last(30))["campaigns"]
        assert len(before) == len(campaigns)


def test_an_explanation_with_several_pages_open_adds_up_again_after_an_event(
    browser: Browser, service: Service, url: str
) -> None:
    """The further pages are of the log before it, so the reader begins with the first page again."""
    with users_of(url) as users:
        headers = api_key(users, 44, user="pages")
    service.post(44, headers, *(email_sent(number, occurred_at=now()) for number in range(130)))
    with reading(browser, service.url) as reader:
        reader.come(headers["X-API-Key"], "?period=all&why=amount_of_emails_sent&why_campaign=123&why_workspace=44")
        rows, total = reader.page.locator("dialog tbody tr"), reader.page.locator("dialog .sum")
        expect(rows).to_have_count(100)
        reader.page.locator("dialog").get_by_role("button", name="Show 100 more").click()
        expect(rows).to_have_count(130)
        service.post(44, headers, email_sent(1_000, occurred_at=now()))
        expect(total).to_have_attribute("data-of", "131")
        expect(rows).to_have_count(100)
        reader.page.locator("dialog").get_by_role("button", name="Show 100 more").click()
        expect(rows).to_have_count(131)
        expect(total.locator(".adds")).to_be_visible()
