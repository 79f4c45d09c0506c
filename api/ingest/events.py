"""The resource that events are posted to: reads a worker's body, checks each event, and appends the valid ones."""

import time
from collections.abc import Iterator
from itertools import chain

import falcon
import msgspec

from api.answers import feed
from api.dependencies import Parts
from api.errors import (
    BODY_FAULTS,
    INTERRUPTIONS,
    InterruptedBodyError,
    TooLargeError,
    UnavailableError,
    UnsupportedTypeError,
)
from api.http import bodies
from api.ingest import formats, intake, recording
from api.ingest.appending import Commit
from api.ingest.lanes import QueueTimeoutError
from api.ingest.receipt import Tally
from api.ingest.sender import MAX_SMALL_EVENTS, Sender
from api.repeating import FAILURE
from domain import ledger
from domain.ledger import Outcome, Prepared, Recorded
from domain.recorder import ConditionError, head_of
from projections.queries.caller import Asked, may_write

MAX_MEDIUM_BYTES = 256 * 1024  # of a body that a thread parses, but the event loop appends, and
MAX_MEDIUM_EVENTS = 1_000  # of it: to hand so many to the database takes it a millisecond
STREAM_BYTES_AT_ONCE = 256 * 1024  # of a stream of lines that are handed to a thread together
PAUSE_SECONDS = 0.1  # a thread looks for the next part of a stream no longer, then others have their turn
MOST_REJECTED = 10_000  # a stream may have so many rejected events more than others
WORK_SECONDS = 600.0  # of threads for one stream
_TOO_MANY_REJECTED = (
    f"Expected at most {MOST_REJECTED} rejected events more than others; send the rest once it is right"
)
_TOO_MUCH_WORK = f"Expected a body that takes at most {WORK_SECONDS:.0f} s to record; send the rest in another one"

_encode = msgspec.json.Encoder().encode


class Events:
    """`/api/v1/events/`: POST appends events, GET reads the log."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with a stretch of the log, in a thread."""
        feed.answer(self._parts, request, response)

    async def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Record the events of the body; when this answers, what was accepted is on disk."""
        parts = self._parts
        visit, asked = await parts.gate.visit(request, response, _parse)
        visit.about(asked)
        if FAILURE in request.scope:  # type: ignore[attr-defined]
            raise request.scope.pop(FAILURE)  # type: ignore[attr-defined]
        sender, tally = Sender(parts, visit, asked), Tally()
        small = sender.sends_little()
        if parts.authentication.rate_limit is not None:  # which is counted in the database
            await parts.threads.run(sender.check)
        elif not small or not sender.is_known():
            await sender.check_on_loop()
        try:
            if formats.is_stream(request):
                await self._record_stream(sender, tally, request)
            else:
                await self._record_whole(sender, tally, request, small=small)
        except INTERRUPTIONS as error:
            if isinstance(error, BODY_FAULTS) and not sender.checked:
                await parts.threads.run(sender.check)  # faults of a body are shown only to a caller who may post it
            if isinstance(error, UnsupportedTypeError) or not formats.is_stream(request):
                raise
            if isinstance(error, BODY_FAULTS) and not tally.position:
                await parts.threads.run(self._note_head, sender, tally)
            raise InterruptedBodyError(error, msgspec.to_builtins(tally.result(sender.workspace_id))) from error
        result = tally.result(sender.workspace_id)
        response.status_code = result.status
        response.content_type = falcon.MEDIA_JSON
        response.data = _encode(result)

    async def _record_stream(self, sender: Sender, tally: Tally, request: falcon.Request) -> None:
        """Record lines as they arrive; no thread waits for the next ones."""
        stream = formats.Stream(packed=bodies.is_packed(request))
        come, size = list[bytes](), 0
        try:
            async for piece in bodies.pieces(request):
                come.append(piece)
                size += len(piece)
                if size >= STREAM_BYTES_AT_ONCE:
                    data, come, size = b"".join(come), [], 0
                    await self._record_parts(sender, tally, stream.feed(data))
        except BODY_FAULTS:
            await self._record_parts(sender, tally, stream.feed(b"".join(come)))
            raise
        await self._record_parts(sender, tally, chain(stream.feed(b"".join(come)), stream.finish()))

    async def _record_parts(self, sender: Sender, tally: Tally, parts: Iterator[formats.Part | None]) -> None:
        """Record the parts of a stream, each with a thread of its own, so that others have their turn in between.

        Once the client has gone this is cancelled, and the rest is not recorded.
        """
        while await self._parts.threads.run(self._record_next, sender, tally, parts):
            if tally.seconds > WORK_SECONDS:
                raise TooLargeError(_TOO_MUCH_WORK)

    def _record_next(self, sender: Sender, tally: Tally, parts: Iterator[formats.Part | None]) -> bool:
        """Record the next part that there is, in a thread; return whether there may be another."""
        began = time.monotonic()
        try:
            for part in parts:
                if part is not None:
                    self._record_part(sender, tally, part)
                    if tally.rejects > MOST_REJECTED + tally.recorded:
                        raise TooLargeError(_TOO_MANY_REJECTED)
                if part is not None or time.monotonic() - began > PAUSE_SECONDS:
                    return True
            return False
        finally:
            tally.seconds += time.monotonic() - began

    async def _record_whole(self, sender: Sender, tally: Tally, request: falcon.Request, *, small: bool) -> None:
        """Record a body that is no stream."""
        body = await formats.body_of(request)
        if small:
            await self._record_small(sender, tally, formats.part_of(request, body))
        elif len(body) <= MAX_MEDIUM_BYTES:
            await self._record_medium(sender, tally, request, body)
        else:
            await self._parts.threads.run(self._record_body, sender, tally, request, body)

    async def _record_small(self, sender: Sender, tally: Tally, part: formats.Part) -> None:
        """Record a small body on the event loop."""
        if len(part.raw) > MAX_SMALL_EVENTS:
            await self._parts.threads.run(self._record_part, sender, tally, part)
        else:
            await self._record_taken(sender, tally, part, intake.take(part, tally.events, self._parts.clock()), None)

    async def _record_medium(self, sender: Sender, tally: Tally, request: falcon.Request, body: bytes) -> None:
        """Record a body that a thread parses and the event loop appends: a thread would wait for each step of that."""

        def take() -> tuple[formats.Part, intake.Intake, Prepared] | None:
            part = formats.part_of(request, body)
            if len(part.raw) > MAX_MEDIUM_EVENTS:
                self._record_part(sender, tally, part)
                return None
            taken = intake.take(part, tally.events, self._parts.clock())
            return part, taken, ledger.prepare(taken.events)

        ready = await self._parts.threads.run(take)
        if ready is not None:
            await self._record_taken(sender, tally, *ready)

    async def _record_taken(
        self, sender: Sender, tally: Tally, part: formats.Part, taken: intake.Intake, ready: Prepared | None
    ) -> None:
        """Record checked events in one transaction with others that arrive at the same time.

        They may be `ready` to be appended already.
        """
        if taken.retracts:  # which is checked against the log first
            await self._parts.threads.run(self._record_part, sender, tally, part)
            return
        others = self._parts.keys.others(sender.workspace_id, taken.events)
        if others is None:
            others = await self._parts.threads.run(self._register_keys, sender, taken)
        if others:
            taken, ready = taken.without_keys(others), None
        if not taken.events:
            await self._parts.threads.run(self._finish, sender, tally, taken, None)
            return
        prepared, traced = ready or ledger.prepare(taken.events), sender.traced(len(taken.events))
        size = sum(map(len, prepared.states))
        try:
            recorded = await self._parts.appending.record(
                sender.workspace_id, lambda: prepared, size, sender.credentials, traced
            )
        except ConditionError as error:
            await self._parts.threads.run(sender.check)  # says why not
            raise _being_changed() from error
        except QueueTimeoutError as error:
            raise recording.too_many_wait() from error
        sender.admitted()
        if taken.refused or Outcome.CONFLICT in recorded.outcomes:
            await self._parts.threads.run(self._finish, sender, tally, taken, recorded)
        else:
            self._finish(sender, tally, taken, recorded)

    def _register_keys(self, sender: Sender, taken: intake.Intake) -> dict[int, str]:
        """Register campaigns' keys, in a thread, if the caller may write; return what `KnownKeys.others` does."""
        sender.check()
        with self._parts.connection() as database:
            return self._parts.keys.register(database, sender.workspace_id, taken.events)

    def _record_body(self, sender: Sender, tally: Tally, request: falcon.Request, body: bytes) -> None:
        """Record a whole body in a thread."""
        self._record_part(sender, tally, formats.part_of(request, body))

    def _record_part(self, sender: Sender, tally: Tally, part: formats.Part) -> None:
        """Record a part in a transaction of its own, in a thread."""
        taken = intake.take(part, tally.events, self._parts.clock())
        if taken.retracts:
            with self._parts.connection() as database:
                taken = intake.check_retractions(database, sender.workspace_id, taken)
        recorded = None
        others = self._parts.keys.others(sender.workspace_id, taken.events)
        taken = taken.without_keys(self._register_keys(sender, taken) if others is None else others)
        if taken.events:
            prepared = ledger.prepare(taken.events)
            condition, traced = may_write([sender.credentials], self._parts.clock()), sender.traced(len(taken.events))
            try:
                with self._parts.connection() as database:
                    recorded = ledger.record_prepared(database, sender.workspace_id, prepared, condition)
            except ConditionError as error:
                sender.check()
                raise _being_changed() from error
            self._parts.committed(
                Commit({sender.workspace_id: recorded.position}, len(taken.events), 1, [traced] if traced else [])
            )
            sender.admitted()
        self._finish(sender, tally, taken, recorded)

    def _note_head(self, sender: Sender, tally: Tally) -> None:
        """Note where the log ends of which no part of this post has become, in a thread."""
        with self._parts.connection() as database:
            tally.add(0, 0, [], head_of(database, sender.workspace_id))

    def _finish(self, sender: Sender, tally: Tally, taken: intake.Intake, recorded: Recorded | None) -> None:
        """Store the rejections of a part, and count it; in a thread, unless nothing was refused."""
        if recorded is None:  # there was nothing to append
            sender.check()
            with self._parts.connection() as database:
                recorded = ledger.record(database, sender.workspace_id, [])
        recording.finish(self._parts, sender.workspace_id, tally, taken, recorded)


def _parse(request: falcon.Request) -> Asked:
    asked = recording.asked_of(request.query_string)
    formats.require_head(request)
    return asked


def _being_changed() -> UnavailableError:
    return UnavailableError("Who may write here is being changed, please try again")
