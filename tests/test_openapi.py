"""Shows that the OpenAPI document is true: whatever it allows or forbids, the running service does as it says."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from falcon import testing
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from api.openapi.document import document
from tests.conftest import new_database
from tests.facts import api_key, worked_example
from tests.running import Service, serving, users_of

# How what is not allowed is refused.
REFUSED = [400, 401, 403, 404, 405, 413, 414, 415, 422, 431]
_CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})
_SCHEMA = schemathesis.openapi.from_dict(document(), config=_CONFIG)
_FOUND: Any = [found.ok() for found in _SCHEMA.get_all_operations()]  # type: ignore[union-attr]  # else it raises
OPERATIONS = {f"{found.method.upper()} {found.path}": found for found in _FOUND}
# What a schema can't say is a 400 too: an end before its start, `min_position` with ALL, an unknown time zone. A part
# of a post may be refused, which is a 207. And the service's own state is not what one request has left of it.
NOT_ASKED = ("positive_data_acceptance", "ensure_resource_availability", "use_after_free")
EXAMPLES = 40
POSTED = "POST /api/v1/events/"
ENDLESS = "GET /api/v1/dashboard/campaign-analytics/stream/"


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """Return lines as they are."""
    return str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def service(server_url: str, template: str) -> Iterator[tuple[Service, dict[str, str]]]:
    """Give a service with something in it, and a key that may do everything."""
    with new_database(server_url, template) as url, users_of(url) as users:
        key = api_key(users, 1, 340, scopes=("read", "write", "admin"))
        with serving(url) as running:
            posted = running.post(340, key, *worked_example()).json["position"]
            answer = running.dashboard(key, f"workspace_id=340&min_position={posted}")
            assert answer.status == 200
            yield running, key


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        (operation, mode)
        for operation in OPERATIONS
        for mode in GenerationMode
        if mode == GenerationMode.POSITIVE or " /api/" in operation  # health allows and forbids nothing
        if operation != ENDLESS or mode != GenerationMode.POSITIVE  # it is shown elsewhere
    ],
)
def test_the_service_does_what_the_document_says(
    service: tuple[Service, dict[str, str]], operation: str, mode: GenerationMode
) -> None:
    """Statuses, headers and bodies are as described; what is not allowed is refused, and nothing is our fault."""
    running, key = service
    excluded = [*NOT_ASKED, *(["negative_data_rejection"] if operation == POSTED else [])]
    checks: Any = [check for check in CHECKS.get_all() if check.__name__ not in excluded]

    @given(case=OPERATIONS[operation].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Case[Any]) -> None:
        if str((case.query or {}).get("min_position", "")).isdecimal():
            case.query["min_position"] = 0  # a later one is waited for, which is shown elsewhere
        case.call_and_validate(base_url=running.url, headers=key, checks=checks)

    ask()


def test_the_document_names_every_route(client: testing.TestClient) -> None:
    """And no other; all are taken with and without the slash at the end."""
    told = {path.rstrip("/") for path in document()["paths"]}
    routes = {route.uri_template for route in _routes(client.app._router._roots)}
    assert routes - {"/", "/page/{name}", "/openapi.json", "/docs", "/docs/{name}"} == told


def _routes(nodes: list[Any]) -> Iterator[Any]:
    for node in nodes:
        if node.resource is not None:
            yield node
        yield from _routes(node.children)


def test_the_page_shows_the_document_by_files_of_its_own(client: testing.TestClient) -> None:
    """Its script and style come from here, and the browser is told to ask nobody else."""
    page = client.simulate_get("/docs/")
    assert page.headers["content-type"].startswith("text/html")
    asked = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(asked) == 3
    for path in asked:
        answer = client.simulate_get(path)
        assert (answer.status_code, len(answer.content) > 20) == (200, True)
        assert answer.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "http" not in policy
    assert '"/openapi.json"' in client.simulate_get("/docs/start.js").text
    assert client.simulate_get("/docs/other.js").status_code == 404
    assert client.simulate_get("/openapi.json").json["openapi"] == "3.1.0"
