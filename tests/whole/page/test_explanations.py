"""Shows that the numbers of the page explain themselves, down to events, and what a campaign shows."""

from datetime import datetime, timedelta
from fractions import Fraction
from math import comb
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import ZONE, reading
from tests.support.page import DASHBOARD, ask, assert_adds_up, last, shown
from tests.support.running import Service

pytestmark = pytest.mark.processes


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
