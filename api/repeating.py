"""Answers that the process has sent before are sent again while they hold, without Falcon and without rendering.

Requests that are the same in all that an answer depends on have the same answer for as long as `Validation` says so,
which asks the database each time. Only a request's hash is kept, never its credentials.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from api.answers.cache import Cache
from api.answers.validation import GATHERING_TICKS, AccessMark, Marks, Validation
from api.auth.authentication import Authentication, Proof
from api.http.headers import REQUEST_ID, TRACEPARENT, request_id_of, traceparent_of
from projections.queries.standing import Standing

NOTE = "campaign_analytics.note"  # in a request's scope, where others may get its answer: a `Note`, at first None
FAILURE = "campaign_analytics.failure"  # in a request's scope: why the database could not be asked
MOST_BYTES = 32 * 1024 * 1024  # of all of them
MOST_CHANGES = 3  # in a row; then the answer is made anew without that question, until it comes out unchanged
# The headers that an answer depends on, and no other: proxies add some that differ in each request.
DEPENDS_ON = {b"x-api-key", b"cookie", b"if-none-match", b"accept", b"accept-encoding"} | {
    *(b"origin", b"access-control-request-method", b"access-control-request-headers")  # where others may read
}
_ID, _TRACE = REQUEST_ID.lower().encode(), TRACEPARENT.encode()
_INTERNAL_ERROR = 500  # its body names the request
_KEPT = (200, 304)  # an error may be over with the next request
_OVERHEAD_BYTES = 4_096  # of an answer beside its body, and
_STANDING_BYTES = 320  # of each workspace that it is about
_WAITS = b"min_position"  # in the query of a request that waits for the projection

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
# Counts and logs a request whose answer has been sent: the context of the request that was answered by itself, the own
# request id, the route, the status, and the seconds that it took.
Count = Callable[[Any, str, str, int, float], None]


class Ground(NamedTuple):
    """What an answer depends on beside its request."""

    access: AccessMark  # as of before the answer was read
    standings: list[Standing]
    proof: Proof


@dataclass
class Note:
    """What the application notes of a request for others that are equal: what is counted and logged, and the ground."""

    context: Any
    route: str
    ground: Ground | None = None  # None: the answer can't be kept


class _Identity(NamedTuple):
    """A request: the hash of all that its answer depends on, the ids that it gives itself, and when it came (s)."""

    key: bytes
    request_id: str | None
    trace: str | None
    came: float


@dataclass
class _Answer:
    """An answer, as the messages that were sent."""

    start: dict[str, Any]
    body: dict[str, Any]
    note: Note


@dataclass
class _Kept:
    """An answer that is kept, its ground, and how often in a row that had changed when it was asked for."""

    answer: _Answer
    ground: Ground
    changes: int = 0

    @property
    def workspace_ids(self) -> list[int]:
        """Return the workspaces that it is about."""
        return [each.workspace_id for each in self.ground.standings]

    def holds(self, marks: Marks) -> bool:
        """Return whether nothing has changed that it depends on."""
        return self.ground.access == marks.access and all(
            marks.standings.get(each.workspace_id) == each for each in self.ground.standings
        )


class Repeating:
    """The answers of some paths."""

    def __init__(
        self, paths: Collection[str], validation: Validation, authentication: Authentication, count: Count
    ) -> None:
        """Take the paths, what asks whether answers hold, what credentials are checked by, and what counts requests."""
        self._paths = paths
        self._validation = validation
        self._authentication = authentication
        self._count = count
        self._kept: Cache[bytes, _Kept] = Cache(_size, MOST_BYTES)
        self._coming: dict[bytes, asyncio.Future[_Answer | None]] = {}  # of which no statement has been sent yet

    def covers(self, scope: Scope) -> bool:
        """Return whether a request may be answered so; one that waits for a position waits by itself."""
        return scope["path"] in self._paths and scope["method"] == "GET" and _WAITS not in scope["query_string"]

    async def answer(self, scope: Scope, send: Send, by_itself: Callable[[Send], Awaitable[None]]) -> None:
        """Answer a request by an answer that was sent before, or by that of an equal one, else by itself."""
        own = _identity(scope)
        known = self._kept.get(own.key)
        if known is not None and known.changes < MOST_CHANGES:
            try:
                marks = await self._validation.marks(known.workspace_ids)
            except Exception as error:  # noqa: BLE001 (the application's table of errors answers it, whatever it is)
                scope[FAILURE] = error.with_traceback(None)  # whose frames have the credentials
            else:
                if marks and known.holds(marks) and self._authentication.accepts_again(known.ground.proof):
                    known.changes = 0
                    await self._repeat(known.answer, own, send)
                    return
        coming = self._coming.get(own.key)
        if coming is None:
            await self._answer_by_itself(scope, own.key, send, by_itself)
        elif (answer := await asyncio.shield(coming)) is not None:
            await self._repeat(answer, own, send)
        else:
            await by_itself(send)

    async def _answer_by_itself(
        self, scope: Scope, key: bytes, send: Send, by_itself: Callable[[Send], Awaitable[None]]
    ) -> None:
        """Answer a request by itself; equal ones that come within some ticks, before its statement, get its answer."""
        coming: asyncio.Future[_Answer | None] = asyncio.get_running_loop().create_future()
        try:
            self._coming[key] = coming
            try:
                for _ in range(GATHERING_TICKS):
                    await asyncio.sleep(0)
            finally:
                del self._coming[key]
            await by_itself(self._keeping(scope, key, send, coming))
        finally:
            if not coming.done():  # there is none that may be sent to others: each of them is answered by itself
                coming.set_result(None)

    async def _repeat(self, answer: _Answer, own: _Identity, send: Send) -> None:
        """Send an answer to another request, with that one's id."""
        request_id, status, context = request_id_of(own.request_id), answer.start["status"], answer.note.context
        id_header = (_ID, request_id.encode())
        headers = [id_header if each[0] == _ID else each for each in answer.start["headers"]]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(answer.body)
        if own.trace is not None or context.traceparent is not None:
            context = copy(context)
            context.traceparent = traceparent_of(own.trace)
        self._count(context, request_id, answer.note.route, status, time.perf_counter() - own.came)

    def _keeping(self, scope: Scope, key: bytes, send: Send, coming: "asyncio.Future[_Answer | None]") -> Send:
        """Return what sends an answer, and keeps it where it is known what it depends on."""
        scope[NOTE] = None
        start: dict[str, Any] = {}

        async def sending(message: dict[str, Any]) -> None:
            note: Note | None = scope[NOTE]
            if not start:
                start.update(message)
            elif (
                note is not None
                and start["status"] != _INTERNAL_ERROR
                and not coming.done()
                and not message.get("more_body")
            ):
                answer = _Answer(start, {"type": "http.response.body", "body": message.get("body", b"")}, note)
                if note.ground is not None and start["status"] in _KEPT:
                    self._keep(key, _Kept(answer, note.ground))
                coming.set_result(answer)  # first, since this client may be a slow one
            await send(message)

        return sending

    def _keep(self, key: bytes, kept: _Kept) -> None:
        before = self._kept.get(key)
        if before is not None and before.ground != kept.ground:
            kept.changes = before.changes + 1
        self._kept.put(key, kept)


def _size(kept: _Kept) -> int:
    return len(kept.answer.body["body"]) + _OVERHEAD_BYTES + _STANDING_BYTES * len(kept.ground.standings)


def _identity(scope: Scope) -> _Identity:
    """Return what a request's answer depends on, and what names it."""
    parts = [scope["path"].encode(), scope["query_string"]]
    request_id, trace = list[bytes](), list[bytes]()
    for name, value in scope["headers"]:
        if name in DEPENDS_ON:
            parts += (name, value)
        elif name == _ID:
            request_id.append(value)
        elif name == _TRACE:
            trace.append(value)
    # A header that comes twice is joined as Falcon does it.
    return _Identity(sha256(b"\n".join(parts)).digest(), _joined(request_id), _joined(trace), time.perf_counter())


def _joined(values: list[bytes]) -> str | None:
    return b",".join(values).decode("latin-1") if values else None
