"""Shows that the OpenAPI document is true: whatever it allows or forbids, the service does as it says."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import hypothesis
import pytest
import schemathesis
from falcon import testing
from hypothesis import HealthCheck, Phase, given
from schemathesis import Case
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode
from schemathesis.python.asgi import shutdown_lifespans

from api.app import create_app
from api.openapi.document import document
from domain import ledger
from domain.access import Access
from domain.events import EVENTS
from service import database, settings
from service.web.application import make_parts
from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, parsed, worked_example
from tests.support.read_models import project_all
from tests.support.running import serving, users_of
from tests.support.served import Served

# How what is not allowed is refused.
REFUSED = [400, 401, 403, 404, 405, 413, 414, 415, 422, 431]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
}
# What a schema can't say is a 400 too: an end before its start, `min_position` with ALL, an unknown time zone. A part
# of a post may be refused, which is a 207. And the service's own state is not what one request has left of it.
SKIPPED_CHECKS = ("ensure_resource_availability", "use_after_free")
# Where a schema says all that holds; but that 5.0 is no integer here, and that a key ends in the future, it can't say.
ALL_CHECKED = " /api/v1/access/"
BUT_FOR = (
    "PUT /api/v1/access/users/{user}/current-workspace/",
    "POST /api/v1/access/users/{user}/keys/",
    "POST /api/v1/access/hooks/",
)
EXAMPLES, SERVED_EXAMPLES = 20, 4  # the same ones in each run, since they are derandomized
POSTED = "POST /api/v1/events/"
ENDLESS = "GET /api/v1/dashboard/campaign-analytics/stream/"  # is shown elsewhere


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """Return lines as they are."""
    return str(value).encode(errors="replace")


class Described(NamedTuple):
    """The operations as the application's document has them, and the headers of who may do everything."""

    operations: dict[str, Any]
    headers: dict[str, str]

    @classmethod
    def of(cls, schema: Any, headers: dict[str, str]) -> "Described":
        """Take a document that was read from the application."""
        operations = [each.ok() for each in schema.get_all_operations()]  # else it raises
        return cls({f"{each.method.upper()} {each.path}": each for each in operations}, headers)

    def ask(self, operation: str, mode: GenerationMode, examples: int) -> None:
        """Make so many requests that the document allows or forbids, and check every answer."""
        excluded = [*SKIPPED_CHECKS, *(["negative_data_rejection"] if operation == POSTED else [])]
        if ALL_CHECKED not in operation or operation in BUT_FOR:
            excluded.append("positive_data_acceptance")
        checks: Any = [check for check in CHECKS.get_all() if check.__name__ not in excluded]

        @given(case=self.operations[operation].as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Case[Any]) -> None:
            if str((case.query or {}).get("min_position", "")).isdecimal():
                case.query["min_position"] = 0  # a later one is waited for, which is shown elsewhere
            case.call_and_validate(headers=dict(self.headers), checks=checks)

        ask()


@pytest.fixture(scope="module")
def described(databases: Databases) -> Iterator[Described]:
    """Give the operations of an application with something in it, in this process."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused"})
    with databases.lend() as url, database.open_pool(url, size=20) as pool:
        with pool.connection() as connection:
            ledger.record(connection, 340, parsed(*worked_example()))
        project_all(pool)
        parts = make_parts(pool, chosen, {})
        key = api_key(parts.users, 1, 340, scopes=("read", "write", "admin"))
        yield Described.of(schemathesis.openapi.from_asgi("/openapi.json", create_app(parts), config=CONFIG), key)
        shutdown_lifespans()
        parts.close()


@pytest.mark.load
@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each != ENDLESS])
def test_what_the_document_allows_is_answered_as_it_says(described: Described, operation: str) -> None:
    """Statuses, headers and bodies are as described, and nothing is our fault."""
    described.ask(operation, GenerationMode.POSITIVE, EXAMPLES)


@pytest.mark.load
@pytest.mark.parametrize(
    "operation", [name for name, it in OPERATIONS.items() if it.get("parameters") or "requestBody" in it]
)
def test_what_the_document_forbids_is_refused_as_it_says(described: Described, operation: str) -> None:
    """What takes no parameter and no body forbids nothing."""
    described.ask(operation, GenerationMode.NEGATIVE, EXAMPLES)


@pytest.mark.processes
def test_the_running_service_answers_as_the_document_says(database_url: str) -> None:
    """A few requests of each operation over sockets, through the worker that frames them."""
    with users_of(database_url) as users, serving(database_url) as running:
        key = api_key(users, 1, 340, scopes=("read", "write", "admin"))
        described = Described.of(schemathesis.openapi.from_url(f"{running.url}/openapi.json", config=CONFIG), key)
        for operation in [each for each in OPERATIONS if each != ENDLESS]:
            described.ask(operation, GenerationMode.POSITIVE, SERVED_EXAMPLES)


def test_the_document_names_every_route(client: testing.TestClient) -> None:
    """And no other; all are taken with and without the slash at the end."""
    assert isinstance(client.app, Served)
    documented = {path.rstrip("/") for path in document()["paths"]}
    routes = {route.uri_template.replace(":path}", "}") for route in _routes(client.app.app._router._roots)}
    assert routes - {"/", "/page/{name}", "/openapi.json", "/docs", "/docs/{name}"} == documented


def _routes(nodes: list[Any]) -> Iterator[Any]:
    for node in nodes:
        if node.resource is not None:
            yield node
        yield from _routes(node.children)


def test_the_page_shows_the_document_by_files_of_its_own(client: testing.TestClient) -> None:
    """Its script and style come from the service, and the content security policy allows no other origin."""
    page = client.simulate_get("/docs/")
    assert page.headers["content-type"].startswith("text/html")
    files = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(files) == 3
    for path in files:
        answer = client.simulate_get(path)
        assert (answer.status_code, len(answer.content) > 20) == (200, True)
        assert answer.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "http" not in policy
    assert '"/openapi.json"' in client.simulate_get("/docs/start.js").text
    assert client.simulate_get("/docs/other.js").status_code == 404
    assert client.simulate_get("/openapi.json").json["openapi"] == "3.1.0"
    for path in ("/openapi.json", "/docs"):
        assert client.simulate_get(path, query_string="foo=1").json["details"][0]["field"] == "foo"


def test_an_example_of_each_type_of_event_can_be_posted(client: testing.TestClient, users: Access) -> None:
    """As the page shows it; operations have names of their own, by which generated clients call them."""
    content = document()["paths"]["/api/v1/events/"]["post"]["requestBody"]["content"]
    examples = [each["value"] for each in content["application/json"]["examples"].values()]
    assert [each["type"] for each in examples] == [event.__name__ for event in EVENTS]
    answer = client.simulate_post(
        "/api/v1/events/", headers=api_key(users, 340, scopes=("write",)), params={"workspace_id": "340"}, json=examples
    )
    assert (answer.status_code, answer.json["accepted"]) == (200, len(EVENTS))
    names = [operation["operationId"] for path in document()["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)
    assert {"getCampaignAnalytics", "getCampaignAnalyticsSummary", "postEvents", "getMe"} <= set(names)
