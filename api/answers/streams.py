"""Streams of projections' positions; an open stream occupies no thread, no connection and no timer.

One task of a process polls for all streams in one statement: for the streams whose workspaces have moved, and for the
streams whose access was checked more than `ACCESS_SECONDS` ago. It also lets the silent ones send their comments.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
import psycopg

from api.answers.projected import Projected
from api.auth.gate import Gate, Visit
from api.errors import AccessDeniedError, UnauthenticatedError, UnavailableError
from projections.pipeline import Pipeline, TooManySentError
from projections.queries.caller import Sealed
from projections.queries.standing import Standing
from projections.queries.watching import Watched, ask_all

SPACING_SECONDS = 0.25  # between two messages of a stream
TICK_SECONDS = 0.05  # between two statements, and
TICK_SECONDS_OF_EACH = 0.0005  # more for each stream that has moved, so that many take a small part of the loop
ACCESS_SECONDS = 3.0  # after which a stream's access is checked again
LOOK_SECONDS = 1.0  # between two looks for such streams, and for silent ones
COMMENT_SECONDS = 14.0  # of silence, after which the next look lets a stream send a comment
MOST_AT_ONCE = 500  # streams of a statement, and comments of a look: the loop has requests to answer in between
MOST_STREAMS = 5_000  # of one process
_FIRST, _COMMENT = b"retry: 2000\n\n", b":\n\n"

logger = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Position(msgspec.Struct, frozen=True):
    """How far a workspace's log and its read models go."""

    workspace_id: int
    epoch: str | None  # as the feed has it: a reader of JSON may take numbers for floats
    generation: int
    position: int
    head: int


class _Ending(NamedTuple):
    """How a stream ends: with an error to its client, or without one where the client may reconnect."""

    error: str | None = None


class Stream:
    """One open stream: the messages, as Falcon takes them."""

    def __init__(self, streams: "Streams", visit: Visit, watched: Watched, standings: list[Standing]) -> None:
        """Take the open streams, the visit, the watched workspaces, and their standings now."""
        self.visit = visit
        self.watched = watched
        self.asked_at = self.sent_at = asyncio.get_running_loop().time()
        self.behind = False  # a hint says that there is more
        self.workspaces = {each.workspace_id for each in standings}
        self._streams = streams
        self._standings = standings
        self._sent: dict[int, Position] = {}
        self._changed = asyncio.Event()
        self._silent = False  # for so long that a comment is due
        self._ending: _Ending | None = None
        self._begun = False

    def show(self, standings: list[Standing], now: float) -> None:
        """Take the standings that the client may see now; a workspace missing among them ends the stream."""
        self.asked_at = now
        if standings == self._standings:
            return
        visible = {each.workspace_id for each in standings}
        if not self.workspaces <= visible:
            self.end("Access denied")
        else:
            self.workspaces, self._standings = visible, standings
            self._changed.set()

    def break_silence(self, now: float) -> None:
        """Send a comment, so that neither side takes the other for gone."""
        self.sent_at = now
        self._silent = True
        self._changed.set()

    def end(self, error: str | None = None) -> None:
        """End the stream; with an error where the client has lost access."""
        self._ending = self._ending or _Ending(error)
        self._changed.set()

    def __aiter__(self) -> "Stream":
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Wait for the next message; the first call begins the updates, which last until the stream is closed."""
        if not self._begun:
            self._streams.follow(self)
        while self._ending is None:
            self._changed.clear()
            news = self._news()
            silent, self._silent = self._silent, False
            if news:
                self.sent_at = asyncio.get_running_loop().time()
                return news
            if silent:
                return _COMMENT
            await self._changed.wait()
        ending, self._ending = self._ending, _Ending()
        if ending.error is None:
            raise StopAsyncIteration
        return b"event: end\ndata: %b\n\n" % _encode({"error": ending.error})

    async def close(self) -> None:
        """Unregister the stream; Falcon calls it when the response has ended or its client has gone."""
        self._streams.forget(self)

    def _news(self) -> bytes:
        parts = [] if self._begun else [_FIRST]
        self._begun = True
        for each in self._standings:
            position = Position(
                each.workspace_id, str(each.epoch) if each.epoch else None, each.generation, each.position, each.head
            )
            if self._sent.get(each.workspace_id) != position:
                self._sent[each.workspace_id] = position
                parts.append(b"event: position\ndata: %b\n\n" % _encode(position))
        return b"".join(parts)


class Streams:
    """The open streams of one process."""

    def __init__(self, pipeline: Pipeline, projected: Projected, gate: Gate) -> None:
        """Take the connection to query with, the hints, and the gate that callers pass."""
        self._pipeline = pipeline
        self._projected = projected
        self._gate = gate
        self._open: dict[Stream, None] = {}
        self._hinted = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._closed = False
        projected.call(self._on_moved)

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._open)

    async def open(self, visit: Visit, watched: Watched) -> Stream:
        """Return a new stream for an authenticated caller.

        Raises what `Gate.opened` and `Pipeline.rows` raise, and UnavailableError where too many streams are open.
        """
        if self._closed or len(self._open) >= MOST_STREAMS:
            raise UnavailableError("Too many streams are open, please try again")
        await self._projected.listen()  # before the query, so that no hint between the two is missed
        [sealed] = await ask_all(self._pipeline, [watched])
        if sealed is None:
            raise UnavailableError("A workspace can't be asked now, please try again")
        standings = await self._gate.opened(visit, sealed)
        return Stream(self, visit, watched, standings)

    def follow(self, stream: Stream) -> None:
        """Keep a stream up to date until it is closed."""
        self._open[stream] = None
        if self._closed:
            stream.end()
        if self._following is None:
            self._following = asyncio.ensure_future(self._follow())

    def forget(self, stream: Stream) -> None:
        """Unregister a stream."""
        self._open.pop(stream, None)

    def close(self) -> None:
        """End all streams at once, and refuse new ones: the process is about to end."""
        self._closed = True
        for each in self._open:
            each.end()

    def _on_moved(self, workspaces: Collection[int] | None) -> None:
        for each in self._open:
            if workspaces is None or not each.workspaces.isdisjoint(workspaces):
                each.behind = True
        self._hinted.set()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._open:
                self._hinted.clear()
                now = loop.time()
                silent = [each for each in self._open if now - each.sent_at >= COMMENT_SECONDS][:MOST_AT_ONCE]
                for each in silent:
                    each.break_silence(now)
                due = self._due(now)
                if due:
                    moved = sum(each.behind for each in due)
                    await self._ask(due)
                    await asyncio.sleep(TICK_SECONDS + TICK_SECONDS_OF_EACH * moved)
                    continue
                behind = [SPACING_SECONDS + each.asked_at - now for each in self._open if each.behind]
                try:
                    async with asyncio.timeout(max(0.0, min([LOOK_SECONDS, *behind]))):
                        await self._hinted.wait()
                except TimeoutError:
                    pass  # poll without a hint
        finally:
            self._following = None
            for each in self._open:  # of a task that has failed: their readers connect anew
                each.end()

    def _due(self, now: float) -> list[Stream]:
        """Return the streams to query for, those first that were queried for the longest ago, so that none starves."""
        moved, others = now - SPACING_SECONDS, now - ACCESS_SECONDS
        due = [each for each in self._open if each.asked_at <= (moved if each.behind else others)]
        return sorted(due, key=lambda each: each.asked_at)[:MOST_AT_ONCE]

    async def _ask(self, due: Sequence[Stream]) -> None:
        """Query the streams' standings in one statement, and check each client's access again."""
        of_each: defaultdict[Watched, list[Stream]] = defaultdict(list)
        for stream in due:
            stream.behind = False
            of_each[stream.watched].append(stream)
        try:
            await self._projected.listen()  # the connection may be another one
            answers = await ask_all(self._pipeline, list(of_each))
        except (psycopg.Error, TooManySentError) as error:  # the clients' access can't be checked
            logger.warning("%s streams end, the database can't be asked: %s", len(due), error)
            for stream in due:
                stream.end()
            return
        now = asyncio.get_running_loop().time()
        for streams, sealed in zip(of_each.values(), answers, strict=True):
            for stream in streams:
                await self._show(stream, sealed, now)

    async def _show(self, stream: Stream, sealed: Sealed[list[Standing]] | None, now: float) -> None:
        if sealed is None:
            stream.end()
            return
        try:
            stream.show(await self._gate.again(stream.visit, sealed), now)
        except (UnauthenticatedError, AccessDeniedError) as error:
            stream.end(str(error))
        except UnavailableError:  # the keys for sessions can't be fetched
            stream.end()
