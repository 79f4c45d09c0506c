"""Shows that the page has the answers of the API, at once and only with a valid key, in a real browser."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import comb
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from zoneinfo import ZoneInfo

import jwt
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright._impl._api_structures import SetCookieParam
from playwright.sync_api import Browser, expect

from service.demo.outreach import activity
from tests.support.browser import ZONE, Reader, launched, reading
from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, email_sent
from tests.support.running import Service, serving, users_of

pytestmark = pytest.mark.processes
HOSTILE = "<img src=x onerror=alert(1)>"
DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
COLUMNS = (
    "amount_of_prospects_contacted",
    "amount_of_replies",
    "reply_rate",
    "amount_of_interested",
    "amount_of_meetings_booked",
    "average_reply_time",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a browser for all tests of this module."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(browser: Browser, databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module, where they can be run at all."""
    del browser
    with databases.lend() as made:
        yield made


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a service with the demonstration's data in workspaces 1 and 2."""
    with serving(url) as running:
        with users_of(url) as users:
            key = api_key(users, 1, 2, user="seeds")
        for workspace in (1, 2):
            events = activity(7, workspace, until=datetime.now(UTC))
            position = running.post(workspace, key, *events).json["position"]
            assert running.dashboard(key, f"workspace_id={workspace}&min_position={position}").status == 200
        yield running


@pytest.fixture(scope="module")
def key(url: str, service: Service) -> str:
    """Give a key that may read both workspaces, of which 1 is the current one."""
    del service
    with users_of(url) as users:
        return api_key(users, 1, 2, user="reads", scopes=("read",))["X-API-Key"]


def last(days: int, zone: str = ZONE) -> dict[str, str]:
    """Return the parameters of the API for the last days up to today."""
    today = datetime.now(ZoneInfo(zone)).date()
    return {
        "start_date": str(today - timedelta(days=days - 1)),
        "end_date": str(today),
        "timezone": zone,
        "include": "extended",
    }


def ask(service: Service, key: str, path: str, **query: Any) -> Any:
    """Ask the API itself."""
    answer = service.request("GET", f"{path}?{urlencode(query, doseq=True)}", {"X-API-Key": key})
    assert answer.status == 200, answer.body
    return answer.json


def shown(metric: str, value: Any) -> str:
    """Return how the page writes a value."""
    if value is None:
        return "–"
    if metric.endswith("_rate"):
        return f"{value * 100:,.2f}".rstrip("0").rstrip(".") + " %"
    return value if isinstance(value, str) else f"{value:,}"


def rows_of(reader: Reader) -> dict[str, list[str]]:
    """Return the cells of the table of campaigns, by the campaign."""
    script = """rows => Object.fromEntries(rows.map(row =>
        [row.dataset.key, [...row.cells].slice(-6).map(cell => cell.innerText.trim())]))"""
    rows: dict[str, list[str]] = reader.page.locator(".campaigns tbody tr").evaluate_all(script)
    return rows


def assert_equals_the_api(reader: Reader, service: Service, key: str, **query: Any) -> None:
    """Assert that the tiles and the table show what the API says."""
    summary = ask(service, key, f"{DASHBOARD}summary/", **query)["analytics"]
    for metric in COLUMNS[:-1]:
        expect(reader.page.locator(f'.tile[data-key="{metric}"] .value')).to_have_text(shown(metric, summary[metric]))
    campaigns = ask(service, key, DASHBOARD, **query)["campaigns"]
    expected = {
        f"{each['workspace_id']}/{each['id']}": [shown(metric, each["analytics"][metric]) for metric in COLUMNS]
        for each in campaigns
    }
    assert rows_of(reader) == expected


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


def test_every_number_of_the_table_explains_itself_and_adds_up(browser: Browser, service: Service, key: str) -> None:
    """A page at a time to the end; a rate by what it is a share of; a sum of campaigns by each of them."""
    with reading(browser, service.url) as reader:
        reader.come(key)
        page, dialog = reader.page, reader.page.locator("dialog")
        numbers = page.locator(".campaigns tbody .number")
        for at in range(numbers.count()):
            text, metric = numbers.nth(at).inner_text(), numbers.nth(at).get_attribute("data-why")
            numbers.nth(at).click()
            expect(dialog.locator(".sum")).to_be_visible()
            if metric == "reply_rate":
                part, whole = (int(each) for each in dialog.locator(".sum .number").all_inner_texts())
                assert text == shown("reply_rate", round(part / whole, 4))
                dialog.locator(".sum .number").first.click()
                expect(dialog.locator("[data-whole]")).to_have_attribute("data-of", str(part))
            while dialog.get_by_text("more", exact=False).and_(dialog.get_by_role("button")).count():
                count = dialog.locator("tbody tr").count()
                dialog.get_by_role("button", name="more").click()
                expect(dialog.locator("tbody tr")).not_to_have_count(count)
            total = dialog.locator(".sum")
            assert total.get_attribute("data-sum") == total.get_attribute("data-of")
            if metric not in ("reply_rate", "average_reply_time"):
                assert total.get_attribute("data-of") == text
                assert dialog.locator("tbody tr").count() == int(text)
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
        page.locator('.tile[data-key="amount_of_replies"] .number').click()
        expect(dialog.locator(".adds")).to_be_visible()
        replies = reader.tile("amount_of_replies")
        assert dialog.locator(".sum").get_attribute("data-sum") == replies
        parts = [int(each) for each in dialog.locator("tbody .number").all_inner_texts()]
        assert sum(parts) == int(replies)
        page.locator("dialog tbody .number").first.click()
        expect(dialog.locator(".sum")).to_have_attribute("data-of", str(parts[0]))
        assert "why_campaign=" in page.url


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
        assert not [each for each in reader.asked[before:] if "/api/" in each]
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


def assert_adds_up(reader: Reader, value: int) -> None:
    """Assert that the open explanation is of this number, and that its parts add up to it."""
    total = reader.page.locator("dialog .sum").last
    expect(total).to_have_attribute("data-of", str(value))
    expect(total).to_have_attribute("data-sum", str(value))
    expect(total.locator(".adds")).to_be_visible()


def test_an_hour_of_the_week_is_made_of_days_campaigns_and_events(browser: Browser, service: Service, key: str) -> None:
    """Down to events that lie in that very hour, of a week longer than the API's longest series of hours too."""
    with reading(browser, service.url) as reader:
        reader.come(key, "?period=90d")
        page, dialog = reader.page, reader.page.locator("dialog")
        query = {"workspace_id": 1, "by": "weekday,hour", **last(90)}
        rows = ask(service, key, f"{DASHBOARD}breakdown/", **query)["rows"]
        row = max(rows, key=lambda row: row["analytics"]["amount_of_replies"])
        value = row["analytics"]["amount_of_replies"]
        heat = page.locator(".heat").first
        assert heat.locator("button").count() == sum(row["analytics"]["amount_of_replies"] > 0 for row in rows)
        heat.locator("tbody tr").nth(row["weekday"] - 1).locator("td").nth(row["hour"]).locator("button").click()
        assert_adds_up(reader, value)
        day = dialog.locator("tbody .number").first
        of_day = int(day.inner_text())
        day.click()
        expect(dialog.locator(".when")).to_contain_text(f"{row['hour']:02}:00")
        assert_adds_up(reader, of_day)
        campaign = dialog.locator("tbody .number").first
        of_campaign = int(campaign.inner_text())
        campaign.click()
        assert_adds_up(reader, of_campaign)
        assert dialog.locator("tbody tr").count() == of_campaign
        for text in dialog.locator("tbody td:nth-child(2)").all_inner_texts():
            assert f", {row['hour']:02}:" in text
        page.reload()  # the address holds it
        assert_adds_up(reader, of_campaign)
        page.go_back()
        assert_adds_up(reader, of_day)
        page.keyboard.press("Escape")
        touched = page.locator(".heat").nth(1).locator("button").first
        whole = int(touched.inner_text().split(" ")[0])
        touched.click()
        expect(dialog.locator(".sum .number")).to_have_count(3)
        parts = [int(each.replace(",", "")) for each in dialog.locator(".sum .number").all_inner_texts()]
        assert sum(parts) == whole


def test_replies_that_took_so_long_are_made_of_campaigns_and_turns(
    browser: Browser, service: Service, key: str
) -> None:
    """Each turn that is shown took so long."""
    with reading(browser, service.url) as reader:
        reader.come(key, "?period=all")
        dialog = reader.page.locator("dialog")
        bars = ask(service, key, f"{DASHBOARD}reply-times/", workspace_id=1)["histogram"]
        at = max(range(len(bars)), key=lambda at: bars[at]["count"])
        reader.page.locator('section[data-key="times"] li').nth(at).locator("button").click()
        assert_adds_up(reader, bars[at]["count"])
        campaign = dialog.locator("tbody .number").first
        value = int(campaign.inner_text())
        campaign.click()
        assert_adds_up(reader, value)
        assert dialog.locator("tbody tr").count() == value


def test_a_number_of_an_hour_of_the_chart_can_be_asked(browser: Browser, service: Service, key: str) -> None:
    """A rate too."""
    day = str(datetime.now(ZoneInfo(ZONE)).date() - timedelta(days=5))
    query = {"workspace_id": 1, **last(1), "start_date": day, "end_date": day, "interval": "hour"}
    series = ask(service, key, f"{DASHBOARD}timeseries/", **query)["series"]
    hours = [each["analytics"]["amount_of_prospects_contacted"] for each in series]
    with reading(browser, service.url) as reader:
        reader.come(key, f"?period=own&from={day}&to={day}&second=reply_rate")
        reader.page.get_by_text("The numbers behind it").click()
        row = reader.page.locator('section[data-key="chart"] tbody tr').nth(hours.index(max(hours)))
        row.locator(".number").first.click()
        assert_adds_up(reader, max(hours))
        reader.page.keyboard.press("Escape")
        if max(hours):
            row.locator(".number").nth(1).click()
            expect(reader.page.locator("dialog .sum .number").last).to_have_text(str(max(hours)))


def test_a_row_of_a_breakdown_is_shown_among_all_that_make_the_campaigns_number(
    browser: Browser, service: Service, key: str
) -> None:
    """The API does not explain a row; so all rows are shown, which add up to what it does explain."""
    with reading(browser, service.url) as reader:
        reader.come(key, "?period=all&campaign=101&workspace=1")
        page, dialog = reader.page, reader.page.locator("dialog")
        for by in ("step", "step,variant", "sender", "channel"):
            page.locator('section[data-key="breakdown"]').get_by_label("By", exact=True).select_option(by)
            reader.settled()
            query = {"workspace_id": 1, "campaign_id": 101, "by": by}
            rows = ask(service, key, f"{DASHBOARD}breakdown/", **query)["rows"]
            replies = [row["analytics"]["amount_of_replies"] for row in rows]
            at = replies.index(max(replies))
            row = page.locator('section[data-key="breakdown"] tbody tr').nth(at)
            row.locator('[data-why="amount_of_replies"]').click()
            assert_adds_up(reader, sum(replies))
            marked = dialog.locator("tr", has=page.locator("strong"))
            expect(marked.locator("th")).to_have_text(row.locator("th").inner_text())
            expect(marked.locator("td").first).to_have_text(str(max(replies)))
            expect(dialog).to_contain_text(f"explains all {sum(replies)} at once")
            page.keyboard.press("Escape")
        page.locator('section[data-key="cohorts"] .number').first.click()
        assert_adds_up(reader, int(page.locator('section[data-key="cohorts"] .number').first.inner_text()))


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


def test_a_campaign_shows_its_funnel_and_what_works(browser: Browser, service: Service, key: str) -> None:
    """The numbers are the API's, by step and text; and each week's beginners."""
    with reading(browser, service.url) as reader:
        reader.come(key, "?period=all")
        reader.page.get_by_role("button", name="Met at the trade fair").click()
        reader.settled()
        campaign = int(parse_qs(urlsplit(reader.page.url).query)["campaign"][0])
        of = {"workspace_id": 1, "campaign_id": campaign, "include": "extended"}
        analytics = ask(service, key, f"{DASHBOARD}summary/", **of)["analytics"]
        funnel = reader.page.locator('section[data-key="funnel"] .number').all_inner_texts()
        metrics = ("prospects", "prospects_contacted", "prospects_accepted", "prospects_replied", "interested")
        expected = [*(analytics[f"amount_of_{each}"] for each in metrics), analytics["amount_of_meetings_booked"]]
        assert funnel == [str(each) for each in expected]
        reader.page.locator('section[data-key="breakdown"]').get_by_label("By", exact=True).select_option(
            "step,variant"
        )
        reader.settled()
        rows = ask(service, key, f"{DASHBOARD}breakdown/", by="step,variant", **of)["rows"]
        cells = reader.page.locator('section[data-key="breakdown"] tbody tr')
        assert cells.count() == len(rows)
        for at, row in enumerate(rows):
            assert cells.nth(at).locator("td").nth(3).inner_text() == str(row["analytics"]["amount_of_replies"])
        expect(reader.page.locator(".verdicts li").first).to_contain_text("Step 1")
        weeks = reader.page.locator('section[data-key="cohorts"] tbody tr')
        contacted = [int(weeks.nth(at).locator(".number").first.inner_text()) for at in range(weeks.count())]
        assert sum(contacted) == analytics["amount_of_prospects_contacted"]


def test_whether_a_difference_is_chance_is_decided_by_exact_arithmetic(browser: Browser, service: Service) -> None:
    """Fisher's test as the page does it equals the one by fractions, to a millionth."""
    cases = [(3, 4, 1, 4), (8, 10, 1, 6), (0, 5, 0, 5), (5, 5, 0, 5), (12, 120, 25, 118), (99, 100, 80, 100)]

    def exact(hits1: int, tries1: int, hits2: int, tries2: int) -> int:
        hits = hits1 + hits2

        def weight(k: int) -> int:
            return comb(tries1, k) * comb(tries2, hits - k)

        tables = [weight(k) for k in range(max(0, hits - tries2), min(hits, tries1) + 1)]
        share = Fraction(sum(each for each in tables if each <= weight(hits1)), sum(tables))
        return int(share * 1_000_000 + Fraction(1, 2))

    with reading(browser, service.url) as reader:
        reader.page.goto(service.url)
        script = """async cases => {
            const { millionths } = await import('/page/chance.js');
            return cases.map(each => millionths(...each));
        }"""
        assert reader.page.evaluate(script, cases) == [exact(*each) for each in cases]


def session_until(seconds: int, url: str, user: str = "u-session") -> SetCookieParam:
    """Return the cookie of a session that expires in so many seconds."""
    token = jwt.encode({"sub": user, "exp": int(time.time()) + seconds}, JWT_SECRET, algorithm="HS256")
    return {"name": "sessionid", "value": token, "url": url, "httpOnly": True, "sameSite": "Lax"}


def test_a_platform_session_signs_in_at_once_and_its_end_is_shown(browser: Browser, service: Service, url: str) -> None:
    """While one looks: nothing of the numbers stays."""
    with users_of(url) as users:
        users.link("u-session", 1, "cli:test")
    with reading(browser, service.url) as reader:
        reader.context.add_cookies([session_until(-4, service.url)])
        reader.come()
        assert int(reader.tile("amount_of_replies")) > 0
        expect(reader.page.get_by_role("alert").filter(has_text="session has expired")).to_be_visible(timeout=15_000)
        assert reader.page.locator(".tile, tbody, dialog[open]").count() == 0


def test_a_revoked_key_and_an_unlinked_workspace_show_nothing_any_more(
    browser: Browser, service: Service, url: str
) -> None:
    """Within five seconds and without a click, also what is explained just now; and the words are clear."""
    with users_of(url) as users:
        raw_key = api_key(users, 1, 2, user="goes", scopes=("read",))["X-API-Key"]
        with reading(browser, service.url) as reader:
            reader.come(raw_key, "?workspace=1&why=amount_of_replies")
            expect(reader.page.locator("dialog .adds")).to_be_visible()
            users.unlink("goes", 1, "cli:test")
            expect(reader.page.get_by_role("alert").filter(has_text="Workspace 1 is not yours to see")).to_be_visible(
                timeout=6_000
            )
            assert reader.page.locator(".tile, tbody, dialog[open]").count() == 0
            reader.page.get_by_label("Workspace", exact=True).select_option(label="Workspace 2")
            reader.page.keyboard.press("Escape")
            reader.settled()
            users.revoke_key("goes", raw_key.partition(".")[0], "cli:test")
            expect(reader.page.get_by_role("alert").filter(has_text="API key does not hold")).to_be_visible(
                timeout=6_000
            )
            assert reader.page.locator(".tile, tbody").count() == 0
            assert reader.page.evaluate("sessionStorage.length") == 0
            with users_of(url) as again:
                fresh = api_key(again, user="goes", scopes=("read",))["X-API-Key"]
            reader.page.get_by_label("API key").fill(fresh)
            reader.page.get_by_role("button", name="Come in").click()
            reader.settled()
            reader.page.get_by_role("button", name="Sign out").click()
            expect(reader.page.get_by_label("API key")).to_be_visible()
            assert reader.page.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("link", "scopes", "words"), [(False, ("read",), "No workspace is linked"), (True, ("write",), "read is missing")]
)
def test_a_user_without_workspace_or_scope_sees_the_reason(  # noqa: PLR0913
    browser: Browser, service: Service, url: str, *, link: bool, scopes: tuple[str, ...], words: str
) -> None:
    """No workspace, or a key without the scope."""
    with users_of(url) as users:
        raw_key = api_key(users, *([1] if link else []), user=f"nothing-{link}", scopes=scopes)["X-API-Key"]
    with reading(browser, service.url) as reader:
        reader.page.goto(f"{service.url}/#key={raw_key}")
        expect(reader.page.get_by_role("alert").filter(has_text=words)).to_be_visible()


def test_a_hostile_name_is_just_a_name_wherever_text_can_stand(browser: Browser, service: Service, url: str) -> None:
    """Workspace, campaign, prospect, ids, sender, variant, channel, rejections."""
    with users_of(url) as users:
        headers = api_key(users, 33, user=HOSTILE.replace("/", ""))
        users.rename_workspace(33, HOSTILE, "cli:test")
    at = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    about = {"campaign_id": 5, "prospect_id": HOSTILE, "occurred_at": at}
    hostile = {"source": HOSTILE, **about}
    service.post(
        33,
        headers,
        {"id": "c", "type": "CampaignCreated", "campaign_id": 5, "occurred_at": at, "name": HOSTILE},
        {"id": HOSTILE, "type": "EmailSent", "step": 1, "variant": HOSTILE, "sender_id": HOSTILE, **hostile},
        {"id": f"{HOSTILE}2", "type": "ReplyReceived", "channel": "email", **hostile},
        {"id": f"{HOSTILE}3", "type": HOSTILE, **hostile},
    )
    with reading(browser, service.url) as reader:
        page = reader.come(headers["X-API-Key"], "?search=%3Cimg").page
        expect(page.locator(".campaigns .name")).to_have_text(HOSTILE)
        expect(page.locator('section[data-key="health"]')).to_contain_text(HOSTILE)
        page.locator('.campaigns [data-why="amount_of_replies"]').click()
        expect(page.locator("dialog tbody")).to_contain_text(f"{HOSTILE}2")
        page.keyboard.press("Escape")
        page.locator(".campaigns .name").click()
        for by in ("step,variant", "sender", "channel"):
            page.locator('section[data-key="breakdown"]').get_by_label("By", exact=True).select_option(by)
            reader.settled()
        expect(page.locator("h2.title")).to_contain_text(HOSTILE)
        page.goto(f"{service.url}/?workspace={HOSTILE}&search={HOSTILE}&metric={HOSTILE}&why={HOSTILE}&zone={HOSTILE}")
        expect(page.get_by_role("alert").first).to_be_visible()
        assert page.locator("img").count() == 0


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
