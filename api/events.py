"""The one way in for facts: a worker's body is read, each event is checked, and what holds is put on disk."""

import falcon
import msgspec

from api import feed, formats, intake
from api.authentication import require
from api.bodies import MAX_SMALL_BYTES
from api.errors import (
    BODY_FAULTS,
    INTERRUPTIONS,
    AccessDeniedError,
    InterruptedBodyError,
    UnavailableError,
    UnsupportedTypeError,
)
from api.outcomes import Rejected, Tally
from api.parameters import WORKSPACE, asked, query
from api.parts import Parts
from domain import ledger
from domain.events import Event
from domain.group_commit import QueueTimeoutError
from domain.ledger import Outcome, Recorded
from domain.recorder import ConditionError
from projections import access, rejections
from projections.access import Asked, Credentials

_encode = msgspec.json.Encoder().encode


class Events:
    """`/api/v1/events/`: facts come in by POST, and the log of them is read by GET."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with a stretch of the log."""
        feed.answer(self._parts, request, response)

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Record the events of the body; when this answers, what was accepted is on disk."""
        credentials = self._parts.authentication.credentials(request)
        with self._parts.known_first(request, response, credentials):
            wanted = asked(query(request, (WORKSPACE,)), every=False)
        request.context.workspace = wanted.workspace_id
        sender = _Sender(self._parts, request, response, credentials, wanted)
        if not sender.is_asked_by_the_append():
            sender.check()
        tally = Tally()
        try:
            for part in formats.parts(request):
                self._record(sender, tally, part)
        except INTERRUPTIONS as error:
            if isinstance(error, BODY_FAULTS) and not sender.checked:
                sender.check()  # what is wrong with a body is told only to somebody who may post it
            if isinstance(error, UnsupportedTypeError) or not formats.is_stream(request):
                raise
            raise InterruptedBodyError(error, msgspec.to_builtins(tally.result(sender.workspace_id))) from error
        result = tally.result(sender.workspace_id)
        response.status_code = result.status
        response.content_type = falcon.MEDIA_JSON
        response.data = _encode(result)

    def _record(self, sender: "_Sender", tally: Tally, part: formats.Part) -> None:
        """Record the events of one part in one transaction, and keep why those were refused that were."""
        taken = intake.take(part, tally.events, self._parts.clock())
        recorded = self._append(sender, taken.facts)
        refused = taken.with_conflicts(recorded.outcomes)
        if refused:
            with self._parts.connection() as database:
                rejections.keep(database, sender.workspace_id, [rejection for _, rejection in refused])
        accepted, duplicates = (recorded.outcomes.count(each) for each in (Outcome.ACCEPTED, Outcome.DUPLICATE))
        self._parts.measurements.recorded(accepted, duplicates, len(refused))
        rejected = [Rejected(index, each.id, each.code, each.error) for index, each in refused]
        tally.add(accepted, duplicates, rejected, recorded.position)

    def _append(self, sender: "_Sender", facts: list[Event]) -> Recorded:
        """Put facts on disk, if the sender may do so now; the append's own statement asks that."""
        if not facts:
            sender.check()
            with self._parts.connection() as database:
                return ledger.record(database, sender.workspace_id, [])
        try:
            recorded = self._parts.log.record(sender.workspace_id, ledger.prepare(facts), sender.credentials)
        except ConditionError as error:
            sender.check()  # says why not
            raise UnavailableError("Who may write here is being changed, please try again") from error
        except QueueTimeoutError as error:
            raise UnavailableError("Too many posts to this workspace wait, please try again") from error
        sender.admitted()
        return recorded


class _Sender:
    """Who sends a post, and to which workspace."""

    def __init__(
        self,
        parts: Parts,
        request: falcon.Request,
        response: falcon.Response,
        credentials: Credentials,
        wanted: Asked,
    ) -> None:
        self.credentials = credentials
        self.workspace_id = wanted.workspace_id or 0
        self.checked = False
        self._parts = parts
        self._request = request
        self._response = response
        self._wanted = wanted

    def is_asked_by_the_append(self) -> bool:
        """Return whether it can be left to the append's statement to ask whether the sender may write.

        So it can where nothing need be known before: a key that is not counted, a workspace that is named, and a body
        that is here already, since nobody is to make us wait for one who may not post it.
        """
        length = self._request.content_length
        return (
            self.credentials.prefix is not None
            and self._parts.authentication.rate_limit is None
            and self._wanted.workspace_id is not None
            and length is not None
            and length <= MAX_SMALL_BYTES
            and self._request.get_header("Expect") is None
        )

    def check(self) -> None:
        """Ask who is calling; raise UnauthenticatedError or AccessDeniedError where they may not write there now."""
        authentication = self._parts.authentication
        with self._parts.connection() as database:
            found, workspaces = access.check(database, self.credentials, self._wanted)
        caller = authentication.identify(self.credentials, found)
        self.admitted()
        require(caller, "write")
        if not workspaces:
            raise AccessDeniedError
        self.workspace_id = self._request.context.workspace = workspaces[0]
        self._wanted = Asked(self.workspace_id)

    def admitted(self) -> None:
        """Note, once, that the sender is who they say."""
        if not self.checked:
            self.checked = True
            self._parts.authentication.note(self._request, self._response, self.credentials)
