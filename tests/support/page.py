"""What the page shows, and what it should show by the API itself."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from playwright.sync_api import expect

from tests.support.browser import ZONE, Reader
from tests.support.running import Service

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
COLUMNS = (
    "amount_of_prospects_contacted",
    "amount_of_replies",
    "reply_rate",
    "amount_of_interested",
    "amount_of_meetings_booked",
    "average_reply_time",
)


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


def assert_adds_up(reader: Reader, value: int) -> None:
    """Assert that the open explanation is of this number, and that its parts add up to it."""
    total = reader.page.locator("dialog .sum").last
    expect(total).to_have_attribute("data-of", str(value))
    expect(total).to_have_attribute("data-sum", str(value))
    expect(total.locator(".adds")).to_be_visible()
