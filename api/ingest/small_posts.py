"""Small posts by API keys, recorded without Falcon, whose request and response took half of the time of such a post.

What is odd in any way (the head, the credentials, the body, one of its events) is left to the resource, before
anything of it is recorded; so there is one place that says what is wrong with a post.
"""

import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import msgspec

from api.auth.authentication import credentials_of_key
from api.dependencies import Parts
from api.errors import BODY_FAULTS, BadRequestError, UnauthenticatedError
from api.http.bodies import WHOLE
from api.http.headers import REQUEST_ID, SECURITY, TRACEPARENT, request_id_of, traceparent_of
from api.ingest import formats, intake, recording
from api.ingest.lanes import QueueTimeoutError
from api.ingest.receipt import Tally
from api.ingest.sender import MAX_SMALL_BYTES, MAX_SMALL_EVENTS
from api.repeating import FAILURE, Count, Scope, Send
from domain import ledger
from domain.ledger import Outcome, Prepared
from domain.recorder import ConditionError
from projections.queries.caller import Credentials

ROUTE = "/api/v1/events"
_PATHS = (ROUTE, f"{ROUTE}/")
_JSON = (b"application/json", b"application/json; charset=utf-8")
_KEY, _TYPE, _ID, _TRACE = b"x-api-key", b"content-type", REQUEST_ID.lower().encode(), TRACEPARENT.encode()
# Headers that say more of the body or of the answer than is known here.
_LEFT_TO_THE_RESOURCE = {b"content-encoding", b"expect", b"origin", b"transfer-encoding", b"ce-specversion"}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in (*SECURITY, ("Content-Type", _JSON[0].decode()))]
_encode = msgspec.json.Encoder().encode

Receive = Callable[[], Awaitable[dict[str, Any]]]


class _OddError(Exception):
    """A post is to be answered by the resource."""


class _Post(NamedTuple):
    """The head of a post: who sends it, and to which workspace; and what is logged of it."""

    credentials: Credentials
    workspace: int
    request_id: str
    traceparent: str | None

    @property
    def key(self) -> str | None:
        """Return the prefix of its key."""
        return self.credentials.prefix


class SmallPosts:
    """Records the posts that are small, on the event loop."""

    def __init__(self, parts: Parts, count: Count) -> None:
        """Take the parts, and what counts and logs a request."""
        self._parts = parts
        self._count = count

    def covers(self, scope: Scope) -> bool:
        """Return whether a request may be a small post; its body has come as a whole, so nothing waits for it."""
        return scope["method"] == "POST" and scope["path"] in _PATHS and WHOLE in scope

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, by_itself: Callable[[Receive], Awaitable[None]]
    ) -> None:
        """Record a post and answer it, or leave it to the resource."""
        began = time.perf_counter()
        post = self._post_of(scope)
        if post is None:
            await by_itself(receive)
            return
        message, tally, recorded = await receive(), Tally(), False
        try:
            await self._record(post, _small_body_of(message), tally)
            recorded = True
        except _OddError:
            pass
        except Exception as error:  # noqa: BLE001 (the application's table of errors answers it, whatever it is)
            scope[FAILURE] = error
        if not recorded:
            await by_itself(_with(message, receive))
            return
        result = tally.result(post.workspace)
        body, status = _encode(result), int(result.status)
        headers = [*_HEADERS, (b"content-length", b"%d" % len(body)), (_ID, post.request_id.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._count(post, post.request_id, ROUTE, status, time.perf_counter() - began)

    def _post_of(self, scope: Scope) -> _Post | None:
        """Return the head of a post by a key that could write there before; None where it is odd."""
        pairs = scope["headers"]
        headers = dict(pairs)
        key, workspace = headers.get(_KEY), _workspace_of(scope["query_string"])
        if (
            key is None
            or workspace is None
            or headers.get(_TYPE) not in _JSON
            or len(headers) != len(pairs)  # one comes twice
            or not _LEFT_TO_THE_RESOURCE.isdisjoint(headers)
        ):
            return None
        try:
            credentials = credentials_of_key(key.decode("latin-1"))
        except UnauthenticatedError:
            return None
        if (credentials, workspace) not in self._parts.known_writers:
            return None
        request_id, trace = headers.get(_ID), headers.get(_TRACE)
        return _Post(
            credentials,
            workspace,
            request_id_of(None if request_id is None else request_id.decode("latin-1")),
            None if trace is None else traceparent_of(trace.decode("latin-1")),
        )

    async def _record(self, post: _Post, body: bytes, tally: Tally) -> None:
        """Record the events of a body; raise _OddError, with nothing recorded, where the resource has to."""
        taken: intake.Intake | None = None

        def prepare() -> Prepared:
            nonlocal taken
            taken = self._taken(post, body)
            return ledger.prepare(taken.events)

        try:
            recorded = await self._parts.appending.record(post.workspace, prepare, len(body), post.credentials)
        except ConditionError as error:  # the resource says why not, before it parses anything
            self._parts.known_writers.refused((post.credentials, post.workspace))
            raise _OddError from error
        except QueueTimeoutError as error:
            raise recording.too_many_wait() from error
        assert taken is not None  # what is recorded was prepared
        self._parts.authentication.last_use.note(post.credentials.prefix or "")
        finish = partial(recording.finish, self._parts, post.workspace, tally, taken, recorded)
        if Outcome.CONFLICT in recorded.outcomes:  # which is stored
            await self._parts.threads.run(finish)
        else:
            finish()

    def _taken(self, post: _Post, body: bytes) -> intake.Intake:
        """Return the checked events of a body; raise _OddError where it has many, or anything is wrong with one."""
        try:
            part = formats.part_of_json(body)
        except BODY_FAULTS as error:
            raise _OddError from error
        if len(part.raw) > MAX_SMALL_EVENTS:
            raise _OddError
        taken = intake.take(part, 0, self._parts.clock())
        if not taken.events or taken.refused or taken.retracts:
            raise _OddError
        if self._parts.keys.others(post.workspace, taken.events) != {}:
            raise _OddError
        return taken


@lru_cache(maxsize=1_000)  # workers post to the same workspaces again and again; a request line is at most 8 kB
def _workspace_of(query: bytes) -> int | None:
    """Return the workspace that a query names; None where the query is wrong."""
    try:
        return recording.asked_of(query.decode()).workspace_id
    except (BadRequestError, UnicodeDecodeError):
        return None


def _small_body_of(message: dict[str, Any]) -> bytes:
    """Return the body that was received; raise _OddError where it is not a whole one, or not small."""
    body: bytes = message.get("body", b"")
    if message["type"] != "http.request" or message.get("more_body") or len(body) > MAX_SMALL_BYTES:
        raise _OddError
    return body


def _with(message: dict[str, Any], receive: Receive) -> Receive:
    """Return what receives a message again, and then the following ones."""
    messages = [message]

    async def receiving() -> dict[str, Any]:
        return messages.pop() if messages else await receive()

    return receiving
