"""The application on an event loop, without a server, for tests of requests that come together."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, NamedTuple

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.clock import clock
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, email_sent, session
from tests.support.read_models import project_all
from tests.support.stored_events import record

DASHBOARD = "/api/v1/dashboard/campaign-analytics"


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def scope_of(path: str, headers: dict[str, str], query: str) -> dict[str, Any]:
    """Return the scope of a GET as an ASGI server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }


class Application:
    """The application on an event loop, without a server, and the names of the statements that it has sent to read."""

    def __init__(self, pool: Pool, **environment: str) -> None:
        """Make it around a pool."""
        parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET, **environment}), {})
        self.ahead = 0  # ms, of its clock
        authentication = replace(parts.authentication, clock=lambda: clock() + self.ahead)
        self.parts = replace(parts, authentication=authentication)
        self.app = create_app(self.parts)
        self.sent: list[str] = []

    async def get(self, headers: dict[str, str], query: str = "workspace_id=340") -> Got:
        """Ask for the dashboard."""
        messages: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope_of(DASHBOARD, headers, query), None, send)
        head, body = messages
        answer_headers = {name.decode(): value.decode() for name, value in head["headers"]}
        return Got(head["status"], answer_headers, body.get("body", b""))


def run(pool: Pool, test: Callable[[Application], Coroutine[Any, Any, None]], **environment: str) -> None:
    """Run a test's coroutine with an application whose connection is open, and note what it sends from then on."""

    async def with_application() -> None:
        application = Application(pool, **environment)
        reads = application.parts.reads
        try:
            await application.get(session("nobody"))
            send = reads._send

            def noting(statements: Any) -> None:
                application.sent += [each.statement.name.decode() for each in statements]
                send(statements)

            reads._send = noting  # type: ignore[method-assign]
            await test(application)
        finally:
            application.parts.close()

    asyncio.run(with_application())


def own(answer: Got) -> Got:
    """Return an answer without the id of its request."""
    return answer._replace(headers={**answer.headers, "x-request-id": ""})


def reader_of_a_campaign(pool: Pool, users: Access) -> dict[str, str]:
    """Let workspace 340 have a campaign; return the header of a key of user u-1, who may see it."""
    record(pool, 340, email_sent(1))
    project_all(pool)
    return api_key(users, 340, user="u-1")
