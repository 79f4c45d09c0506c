"""Shows what every answer carries, and which pages of other sites may read."""

import pytest
from falcon import testing

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, SECURITY_HEADERS, session

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
EVENTS = "/api/v1/events/"
HERE = "https://app.example.com"


@pytest.mark.parametrize("path", [DASHBOARD, EVENTS, "/healthz", "/readyz", "/metrics", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_every_answer_carries_the_security_headers_and_no_cookie(
    client: testing.TestClient, path: str, method: str
) -> None:
    """Errors too; and no page of another origin may read it."""
    answer = client.simulate_request(method, path, headers={"Origin": HERE, "Access-Control-Request-Method": "GET"})
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "set-cookie" not in answer.headers
    assert [name for name in answer.headers if name.startswith("access-control-")] == []


@pytest.fixture
def for_pages(pool: Pool) -> testing.TestClient:
    """Give the application with two origins whose pages may read."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET, "CORS_ORIGINS": f"{HERE}, http://localhost:3000"})
    return testing.TestClient(create_app(make_parts(pool, chosen, {})))


def test_a_page_of_a_named_origin_may_read_with_its_users_cookie(for_pages: testing.TestClient, users: Access) -> None:
    """And see how fresh the answer is."""
    users.link("u-1", 340, "cli:test")
    answer = for_pages.simulate_get(DASHBOARD, headers={"Origin": HERE, **session("u-1")})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == HERE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"].split(", ")
    assert "X-Position" in answer.headers["access-control-expose-headers"]
    preflight_headers = {
        "Origin": HERE,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-api-key",
    }
    preflight = for_pages.simulate_options(DASHBOARD, headers=preflight_headers)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == HERE
    assert preflight.headers["access-control-allow-headers"] == "x-api-key"


@pytest.mark.parametrize("path", [DASHBOARD, EVENTS, "/api/v1/access/users/u-1/workspaces/340"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_page_of_a_named_origin_may_not_write(for_pages: testing.TestClient, path: str, method: str) -> None:
    """A browser that asks is allowed nothing; it has to ask, since a write needs a key's header."""
    preflight_headers = {
        "Origin": HERE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "x-api-key",
    }
    answer = for_pages.simulate_options(path, headers=preflight_headers)
    assert [name for name in answer.headers if name.startswith("access-control-")] == []
    assert "Origin" in answer.headers["vary"].split(", ")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null", "*"]
)
def test_a_page_of_another_origin_reads_nothing(for_pages: testing.TestClient, users: Access, origin: str) -> None:
    """Its browser keeps the answer from it, and `Vary` names the origin for caches."""
    users.link("u-1", 340, "cli:test")
    answer = for_pages.simulate_get(DASHBOARD, headers={"Origin": origin, **session("u-1")})
    assert [name for name in answer.headers if name.startswith("access-control-")] == []
    assert "Origin" in answer.headers["vary"].split(", ")
