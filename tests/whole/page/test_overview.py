"""Shows that the overview has the answers of the API, at once and as they move, in a real browser."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Reader, reading
from tests.support.examples import api_key, email_sent
from tests.support.page import DASHBOARD, ask, assert_equals_the_api, last, rows_of
from tests.support.running import Service, users_of

pytestmark = pytest.mark.processes


def test_the_demonstration_appears_to_whoever_opens_the_link(browser: Browser, service: Service, key: str) -> None:
    """The key goes from the fragment to the tab, and nowhere else; the page asks no other server."""
    with reading(browser, service.url) as reader:
        reader.come(key)
        assert_equals_the_api(reader, service, key, workspace_id=1, **last(30))
        assert key not in reader.page.url
        assert reader.page.locator("svg.lines path.line").count() == 2
        reader.page.reload()
        reader.settled()
        assert int(reader.tile("amount_of_replies")) > 0
        sent = [each for each in reader.asked if urlsplit(each).fragment == ""]
        assert {f"{urlsplit(each).scheme}://{urlsplit(each).netloc}" for each in reader.asked} == {service.url}
        assert not any(key in each for each in sent)
        assert reader.page.evaluate("localStorage.length") == 0
        other = reader.context.new_page()
        other.goto(service.url)
        expect(other.get_by_label("API key")).to_be_visible()


def test_an_event_shows_without_a_reload(browser: Browser, service: Service, url: str) -> None:
    """From an empty workspace, which shows how to fill it, to a number that is marked as new."""
    with users_of(url) as users:
        headers = api_key(users, 31, user="live")
    with reading(browser, service.url) as reader:
        reader.come(headers["X-API-Key"])
        assert "/api/v1/events/?workspace_id=31" in reader.text("pre")
        reader.page.evaluate("window.same = true")
        now = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        began = time.monotonic()
        service.post(31, headers, email_sent(1, occurred_at=now))
        contacted = reader.page.locator('.tile[data-key="amount_of_prospects_contacted"] .number')
        expect(contacted).to_have_text("1", timeout=3_000)
        assert time.monotonic() - began < 3
        service.post(31, headers, email_sent(2, occurred_at=now))
        expect(contacted).to_have_text("2", timeout=3_000)
        expect(reader.page.locator('.tile[data-key="amount_of_prospects_contacted"] [data-changed]')).to_be_attached()
        assert reader.page.evaluate("window.same")


def test_where_streams_do_not_get_through_the_page_looks_every_two_seconds(
    browser: Browser, service: Service, url: str
) -> None:
    """And says so."""
    with users_of(url) as users:
        headers = api_key(users, 32, user="polls")
    with reading(browser, service.url) as reader:
        reader.page.route("**/stream/**", lambda route: route.abort())
        reader.page.goto(f"{service.url}/#key={headers['X-API-Key']}")
        expect(reader.page.locator("#fresh.warn")).to_contain_text("every 2 s")
        expect(reader.page.locator("pre")).to_be_visible()
        service.post(32, headers, email_sent(1, occurred_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat()))
        expect(reader.page.locator('.tile[data-key="amount_of_prospects_contacted"] .number')).to_have_text("1")
        reader.page.route("**/api/**", lambda route: route.abort())
        expect(reader.page.locator("#fresh.bad")).to_contain_text("may be old")


def test_an_answer_that_is_asked_for_again_before_it_has_come_is_shown(
    browser: Browser, service: Service, key: str
) -> None:
    """Where the second answer is that nothing has changed, too: the first one is drawn as soon as it is there."""
    slow = """(() => {
        const ask = window.fetch, asked = new Set();
        window.fetch = async (url, ...more) => {
            if (!asked.has(url) && !url.includes("/stream/")) {
                asked.add(url);
                await new Promise((resolve) => setTimeout(resolve, 500));
            }
            return ask(url, ...more);
        };
        window.setInterval = () => 0;  // nothing is drawn because time goes by
    })();"""
    with reading(browser, service.url) as reader:
        reader.context.add_init_script(slow)
        reader.page.route("**/stream/**", lambda route: route.abort())
        reader.page.goto(f"{service.url}/#key={key}")
        expect(reader.page.locator("#fresh.warn")).to_contain_text("every 2 s")
        expect(reader.page.locator(".campaigns")).to_be_visible()
        expect(reader.page.locator(".loading")).to_have_count(0)


@pytest.mark.parametrize(
    ("label", "choice", "query"),
    [
        ("Workspace", "Workspace 2", {"workspace_id": 2, **last(30)}),
        ("Workspace", "All workspaces", {"workspace_id": "ALL", **last(30)}),
        ("Period", "Last 7 days", {"workspace_id": 1, **last(7)}),
        ("Period", "Today", {"workspace_id": 1, **last(1)}),
        ("Period", "All time", {"workspace_id": 1, "include": "extended"}),
        ("Time zone", "Pacific/Kiritimati", {"workspace_id": 1, **last(30, "Pacific/Kiritimati")}),
        ("Status", "paused", {"workspace_id": 1, "status": "PAUSED", **last(30)}),
    ],
)
def test_a_choice_shows_the_answer_of_the_api_and_is_in_the_address(  # noqa: PLR0913
    browser: Browser, service: Service, key: str, label: str, choice: str, query: dict[str, Any]
) -> None:
    """Whoever is given the address sees the same, elsewhere in the world too; and one can go back."""
    with reading(browser, service.url) as reader:
        reader.come(key)
        before = reader.page.url
        reader.page.get_by_label(label, exact=True).select_option(label=choice)
        reader.settled()
        assert_equals_the_api(reader, service, key, **query)
        table, address = rows_of(reader), reader.page.url
        assert address != before
        with reading(browser, service.url, timezone_id="Asia/Tokyo") as other:
            other.come(key, f"?{urlsplit(address).query}")
            assert rows_of(other) == table
            assert other.page.url == address
        reader.page.go_back()
        reader.settled()
        assert reader.page.url == before
        assert_equals_the_api(reader, service, key, workspace_id=1, **last(30))


def test_campaigns_are_searched_and_sorted(browser: Browser, service: Service, key: str) -> None:
    """By a part of the name in any case; by any column, both ways."""
    with reading(browser, service.url) as reader:
        reader.come(key, "?workspace=ALL")
        values = ask(service, key, DASHBOARD, workspace_id="ALL", **last(30))["campaigns"]
        reader.page.get_by_role("button", name="Replies", exact=True).click()
        expect(reader.page.locator("th[aria-sort=descending]")).to_have_text("Replies")
        replies = [int(cells[1]) for cells in rows_of(reader).values()]
        assert replies == sorted((each["analytics"]["amount_of_replies"] for each in values), reverse=True)
        reader.page.get_by_role("button", name="Replies", exact=True).click()
        expect(reader.page.locator("th[aria-sort=ascending]")).to_have_text("Replies")
        assert [int(cells[1]) for cells in rows_of(reader).values()] == replies[::-1]
        reader.page.get_by_label("Search").fill("TRADE")
        expect(reader.page.locator(".campaigns tbody tr")).to_have_count(1)
        expect(reader.page.locator(".campaigns tbody")).to_contain_text("Met at the trade fair")
        assert "search=TRADE" in reader.page.url


def test_the_table_saved_as_csv_is_what_the_api_says(browser: Browser, service: Service, key: str) -> None:
    """Byte for byte."""
    with reading(browser, service.url) as reader:
        reader.come(key)
        with reader.page.expect_download() as download:
            reader.page.locator('section[data-key="campaigns"] >> text=CSV').click()
        saved = download.value.path().read_bytes()
        query = urlencode({"workspace_id": 1, **last(30), "format": "csv", "bom": 1})
        assert saved == service.request("GET", f"{DASHBOARD}?{query}", {"X-API-Key": key}).body


def test_the_change_against_the_period_before_comes_with_the_number(
    browser: Browser, service: Service, key: str
) -> None:
    """In one answer, not two."""
    with reading(browser, service.url) as reader:
        reader.come(key, "?period=7d")
        [summary_url] = {each for each in reader.asked if "/summary/" in each}
        assert parse_qs(urlsplit(summary_url).query)["compare"] == ["previous"]
        answer = ask(service, key, f"{DASHBOARD}summary/", workspace_id=1, compare="previous", **last(7))
        by = answer["analytics"]["amount_of_replies"] - answer["previous"]["amount_of_replies"]
        change = reader.text('.tile[data-key="amount_of_replies"] .change')
        assert change.startswith(f"{'+' if by > 0 else '−' if by else '±'}{abs(by)} ")


def series_asked(reader: Reader) -> list[list[str]]:
    """Return the campaigns of each question for trends; one may be asked again, with its tag."""
    urls = dict.fromkeys(each for each in reader.asked if "/timeseries/" in each)
    queries = (parse_qs(urlsplit(each).query) for each in urls)
    return [each["campaign_id"] for each in queries if "per" in each]


def drawn(reader: Reader, campaign: str) -> list[tuple[float, float]]:
    """Return the places that a campaign's small trend goes through."""
    path = reader.page.locator(f'tr[data-key="{campaign}"] .trend path').get_attribute("d") or ""
    pairs = (each.split(" ") for each in path.lstrip("M").replace("M", "L").split("L"))
    return [(float(x), float(y)) for x, y in pairs]


def test_each_campaign_has_a_small_trend_and_all_of_them_cost_one_request(
    browser: Browser, service: Service, key: str
) -> None:
    """It is drawn of the API's series; to sort asks nothing and makes nothing anew but rows."""
    with reading(browser, service.url) as reader:
        reader.come(key)
        expect(reader.page.locator(".campaigns .trend")).to_have_count(4)
        query = {"workspace_id": 1, "per": "campaign", "interval": "day", **last(30)}
        for campaign in ask(service, key, f"{DASHBOARD}timeseries/", **query)["campaigns"]:
            values = [each["analytics"]["amount_of_prospects_contacted"] for each in campaign["series"]]
            expected = [(100 * at / 29, 27 - 25 * value / max(values)) for at, value in enumerate(values)]
            points = drawn(reader, f"1/{campaign['id']}")
            assert [each for pair in points for each in pair] == pytest.approx(
                [each for pair in expected for each in pair], abs=0.06
            )
        assert [len(each) for each in series_asked(reader)] == [4]
        reader.page.evaluate("window.chart = document.querySelector('svg.lines')")
        before = len(reader.asked)
        reader.page.get_by_role("button", name="Campaign", exact=True).click()
        expect(reader.page.locator("th[aria-sort=ascending]")).to_have_text("Campaign")
        assert not [each for each in reader.asked[before:] if "/dashboard/" in each]
        assert reader.page.evaluate("window.chart === document.querySelector('svg.lines')")


def test_trends_are_asked_for_as_their_campaigns_come_into_view(browser: Browser, service: Service, url: str) -> None:
    """At most 25 in a request, and each campaign once."""
    with users_of(url) as users:
        headers = api_key(users, 35, user="many")
    at = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    events = [email_sent(each, campaign_id=each, occurred_at=at) for each in range(1, 121)]
    position = service.post(35, headers, *events).json["position"]
    assert service.dashboard(headers, f"workspace_id=35&min_position={position}").status == 200
    with reading(browser, service.url, viewport={"width": 1_000, "height": 700}) as reader:
        reader.come(headers["X-API-Key"])
        page = reader.page
        rows, trends = page.locator(".campaigns tbody tr"), page.locator(".campaigns .trend")
        expect(rows).to_have_count(50)
        rows.first.scroll_into_view_if_needed()
        expect(rows.first.locator(".trend")).to_be_visible()
        assert trends.count() < 50
        for row in range(0, 50, 10):
            rows.nth(row).scroll_into_view_if_needed()
            expect(rows.nth(row).locator(".trend")).to_be_visible()
        rows.last.scroll_into_view_if_needed()
        expect(trends).to_have_count(50)
        requests = series_asked(reader)
        assert max(map(len, requests)) <= 25
        assert sorted(each for ids in requests for each in ids) == sorted({each for ids in requests for each in ids})
        page.get_by_role("button", name="Show 50 more").click()
        expect(rows).to_have_count(100)
