"""Shows that the page has something for who may see it alone, and that no name is more than a name there."""

import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from playwright._impl._api_structures import SetCookieParam
from playwright.sync_api import Browser, expect

from tests.support.browser import reading
from tests.support.examples import JWT_SECRET, api_key
from tests.support.running import Service, users_of

pytestmark = pytest.mark.processes
HOSTILE = "<img src=x onerror=alert(1)>"


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
