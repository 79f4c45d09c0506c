"""`POST /api/v1/hooks/{provider}/{token}`: a connected tool's deliveries, in the tool's own format, become events.

A tool that is refused stops posting, so each delivery with a valid token is answered with 200 once it is stored,
ignored or written to the rejections. One whose body can't be read or whose signature does not fit is refused, and
counted, so that `hooks list` shows it. The token is in no log, metric or error: these name a request's route, and the
hook by its id.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import falcon

from api.dependencies import Parts
from api.errors import BODY_FAULTS, NotFoundError, UnauthenticatedError, UnavailableError
from api.http import bodies
from api.ingest import intake
from api.ingest.appending import Commit
from api.ingest.deliveries import ACCEPTED, DUPLICATE, OUTCOMES, REJECTED, Effect, connection_of, part_of_events
from api.ingest.deliveries import rehearsed as rehearse
from api.ingest.formats import MAX_BODY_BYTES, MAX_EVENTS
from api.ingest.lanes import Traced
from api.tools import TEST
from connectors.providers import PROVIDERS
from connectors.signatures import Delivery, SignatureError, certificate_url, confirmation_url, verify
from connectors.table import Provider
from connectors.translation import UNNAMED, Translation, translate
from domain import ledger
from domain.api_keys import secret_sha256
from domain.recorder import ConditionError, Database
from projections.queries import hooks, rejections
from projections.queries.hooks import KnownHook

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_TOO_LARGE = f"Expected at most {MAX_BODY_BYTES} bytes"
MOST_CONFIRMATION = 1_024
MOST_URL = 256  # characters of a stored URL
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"

logger = logging.getLogger(__name__)


class HookDeliveries:
    """Takes the deliveries of tools."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    async def on_post(self, request: falcon.Request, response: falcon.Response, provider: str, token: str) -> None:
        """Store a delivery's events, whatever its Content-Type."""
        run = self._parts.threads.run
        table = PROVIDERS.get(provider)
        if table is None:
            raise NotFoundError("There is no such tool")
        hook = await run(self._hook, table, token)
        request.context.key, request.context.workspace = hook.hook_id, hook.workspace_id
        try:
            packed = bodies.is_packed(request)
            body = await bodies.whole(request, MAX_BODY_BYTES, _TOO_LARGE)
            if packed:
                body = await run(bodies.unpacked, body, MAX_BODY_BYTES, _TOO_LARGE)
        except BODY_FAULTS as error:
            await run(self._count_refused, hook, str(error))
            raise
        headers = {name.lower(): value for name, value in request.headers.items()}
        if TEST.lower() in headers:
            effect = await run(rehearse, table, hook, body, headers, self._parts.clock())
        else:
            effect = await run(self._take, table, hook, body, headers, request.context.span)
        response.media = effect.answer()

    def _count_refused(self, hook: KnownHook, reason: str) -> None:
        """Count a delivery that is not translated, in a thread."""
        with self._parts.connection() as database:
            hooks.count(database, hook.hook_id, self._parts.clock(), {(UNNAMED, REJECTED, reason): 1})
        self._parts.measurements.hooked(hook.provider, {REJECTED: 1})

    def _hook(self, table: Provider, token: str) -> KnownHook:
        with self._parts.connection() as database:
            hook = hooks.by_token(database, secret_sha256(token), table.name)
        if hook is None:
            raise _unknown()
        return hook

    def _take(
        self, table: Provider, hook: KnownHook, body: bytes, headers: Mapping[str, str], span: "Span | None"
    ) -> Effect:
        """Store a delivery's events, in a thread."""
        now, effect = self._parts.clock(), Effect()
        self._require_signature(table, hook, Delivery(body=body, headers=headers, now=now))
        translation = translate(table, body, connection_of(hook), now, headers)
        effect.add_unused(translation, table.name, now)
        for first in range(0, len(translation.events), MAX_EVENTS):
            began = time.time_ns()
            position, events = self._append(hook, translation, slice(first, first + MAX_EVENTS), effect, now)
            if events:
                traced = [] if span is None else [Traced(span, began, hook.workspace_id, events)]
                self._parts.committed(Commit({hook.workspace_id: position}, events, 1, traced))
        with self._parts.connection() as database:
            rejections.keep(database, hook.workspace_id, effect.rejections)
            hooks.count(database, hook.hook_id, now, effect.counts)
            if table.signature == "sns" and "SubscriptionConfirmation" in translation.received:
                self._keep_confirmation(database, hook, body)
        numbers = {outcome: effect.number(outcome) for outcome in OUTCOMES}
        self._parts.measurements.recorded(numbers[ACCEPTED], numbers[DUPLICATE], effect.codes)
        self._parts.measurements.hooked(table.name, numbers)
        return effect

    def _keep_confirmation(self, database: Database, hook: KnownHook, body: bytes) -> None:
        """Store the URL that an operator has to open once, if it is one of AWS: nothing is fetched here."""
        try:
            url = confirmation_url(body)
        except SignatureError as error:
            logger.warning("hook %s: what is to be confirmed can't be shown: %s", hook.hook_id, error)
            return
        if len(url) <= MOST_CONFIRMATION:
            hooks.keep_confirmation(database, hook.hook_id, url)

    def _append(
        self, hook: KnownHook, translation: Translation, stretch: slice, effect: Effect, now: int
    ) -> tuple[int, int]:
        """Append a stretch of a delivery's events, where the hook was not revoked meanwhile.

        Return where the log ends now, and how many of the events were valid.
        """
        taken = intake.take(part_of_events(translation.events[stretch]), stretch.start, now)
        try:
            with self._parts.connection() as database:
                taken = taken.without_keys(self._parts.keys.register(database, hook.workspace_id, taken.events))
                recorded = ledger.record_prepared(
                    database, hook.workspace_id, ledger.prepare(taken.events), hooks.still_there(hook)
                )
        except ConditionError as error:
            raise _unknown() from error
        effect.add(taken, translation.names[stretch], recorded.outcomes)
        return recorded.position, len(taken.events)

    def _require_signature(self, table: Provider, hook: KnownHook, delivery: Delivery) -> None:
        """Raise UnauthenticatedError where a delivery is not signed as it should be, if the hook has a secret.

        UnavailableError where the secret itself is at fault: the tool tries again, and an operator mends it meanwhile.
        """
        if not hook.secret:
            return
        secret = self._parts.secret_of(hook.secret)
        try:
            if secret is None:
                raise ValueError("it can't be read")  # noqa: TRY301 (one way to tell what is wrong with it)
            _verify(table, delivery, secret)
        except ValueError as error:
            logger.warning("hook %s: its secret %s is at fault: %s", hook.hook_id, hook.secret, error)
            raise UnavailableError("The signature can't be checked, please try again") from error
        except SignatureError as error:
            self._count_refused(hook, f"signature: {error}")
            raise UnauthenticatedError("Invalid signature", "hook_signature") from error


def _verify(table: Provider, delivery: Delivery, secret: str) -> None:
    """Check a signature; for SNS the secret is the topic's ARN and, on the lines below it, its certificates as PEM.

    They are not fetched: a request must not wait for another service. There are several where SNS changes its own. The
    error names the one that the delivery asks for, so that an operator can fetch it.
    """
    if table.signature != "sns":
        verify(table, delivery, secret)
        return
    topic, *certificates = secret.split(_CERTIFICATE)
    if not certificates:
        raise ValueError("it has no certificate below the topic's ARN")
    last: SignatureError | None = None
    for each in certificates:
        pem = (_CERTIFICATE + each).encode()
        signed = Delivery(body=delivery.body, headers=delivery.headers, now=delivery.now, certificate=pem)
        try:
            verify(table, signed, topic.strip())
        except SignatureError as error:
            last = error
        else:
            return
    url = certificate_url(delivery.body)
    raise SignatureError(f"{last}, the certificate is {url}" if len(url) <= MOST_URL else str(last))


def _unknown() -> UnauthenticatedError:
    return UnauthenticatedError("Invalid hook", "invalid_hook")
