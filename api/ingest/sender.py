"""Who sends a post, and whether they may write: asked before the body is read, or by the append itself."""

import time

from api.auth.gate import Visit
from api.dependencies import Parts
from api.ingest import ndjson
from api.ingest.lanes import Traced
from projections.queries.caller import CHECK, Asked, Sealed, check, checked, parameters

MAX_SMALL_BYTES = 16 * 1024  # of a body that is parsed on the event loop, and
MAX_SMALL_EVENTS = 150  # of it: so many take less than a millisecond


class Sender:
    """The caller of a post, and the workspace it names."""

    def __init__(self, parts: Parts, visit: Visit, asked: Asked) -> None:
        """Take the parts, the visit, and the workspace."""
        self.credentials = visit.credentials
        self.workspace_id = asked.workspace_id or 0  # it is named
        self._parts = parts
        self._known = parts.known_writers
        self._visit = visit
        self._request = visit.request
        self._asked = asked

    @property
    def checked(self) -> bool:
        """Whether the sender is authenticated."""
        return self._visit.is_counted

    def traced(self, events: int) -> Traced | None:
        """Return what is traced of an append that begins now; None where its request has no span."""
        span = self._request.context.span
        return None if span is None else Traced(span, time.time_ns(), self.workspace_id, events)

    def sends_little(self) -> bool:
        """Return whether the body is small enough for the event loop, and the append can decide who may write.

        It can for an API key without a rate limit.
        """
        length = self._request.content_length
        return (
            self.credentials.prefix is not None
            and self._parts.authentication.rate_limit is None
            and length is not None
            and length <= MAX_SMALL_BYTES
            and self._request.get_header("Expect") is None
            and self._request.get_header("Content-Encoding") is None
            and not (self._request.content_type or "").lower().startswith(ndjson.MEDIA_TYPE)
        )

    def is_known(self) -> bool:
        """Return whether the sender could write there before; no other sender's body is parsed before the check."""
        return (self.credentials, self.workspace_id) in self._known

    def check(self) -> None:
        """Check the caller; raise UnauthenticatedError or AccessDeniedError where they may not write there now."""
        with self._parts.connection() as database:
            self._open(check(database, self.credentials, self._asked))

    async def check_on_loop(self) -> None:
        """Do what `check` does on the event loop, so that a caller's post waits for no thread."""
        rows = await self._parts.reads.rows(CHECK, parameters(self.credentials, self._asked))
        self._open(checked(rows))

    def _open(self, sealed: Sealed[list[int]]) -> None:
        self._known.refused((self.credentials, self.workspace_id))
        self._parts.gate.open(self._visit, sealed, "write")
        self._known.allowed((self.credentials, self.workspace_id))

    def admitted(self) -> None:
        """Note that the sender is authenticated and may write."""
        self._parts.gate.count(self._visit)
        self._known.allowed((self.credentials, self.workspace_id))
