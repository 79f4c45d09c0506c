"""Hooks as aggregates of events: a tool may post to a workspace by a URL of its own, until it is revoked.

The events are in log 0, as those of users do, and the rows change in the same transaction. Of the token in the URL
only a hash is stored. Class and field names are storage format.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError

from domain.access_log import AccessApplication
from domain.api_keys import secret_sha256
from domain.events import MAX_ID
from domain.recorder import Database, Pool
from domain.refusals import AccessError, BadFieldError
from domain.suggestions import did_you_mean
from domain.texts import shown

PROSPECTS = ("hashed", "plain")  # how prospects are called that a tool knows by their address
MAX_LABELS = 100
MAX_LABEL = 64
MAX_REFERENCE = 1_024
_TOKEN_BYTES = 32
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_LABEL = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{MAX_LABEL}}}")


class UnknownHookError(AccessError):
    """There never was such a hook."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a workspace has decided about a tool: how its prospects, campaigns and labels are understood.

    `secret` is a reference, `env:NAME` or `file:/path`, to what its deliveries are signed with, `""` for none;
    `labels` say by label, in any case, what the tool's own categories mean.
    """

    workspace_id: int
    provider: str
    prospects: str = PROSPECTS[0]
    own_campaign_ids: bool = False
    secret: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Known(NamedTuple):
    """The known tools: whether each signs its deliveries, by its name, and the meanings that a label can have."""

    signs: Mapping[str, bool]
    meanings: Sequence[str]


class NewHook(NamedTuple):
    """A hook that was added, and the token of its URL, which is shown this once."""

    hook_id: str
    token: str


class Hook(Aggregate):
    """One hook. Every event carries `at` (ms, UTC) and `by` (`cli:<os user>` or `key:<prefix>`)."""

    class Event(Aggregate.Event):
        """A change of a hook."""

        at: int
        by: str
        hook_id: str

    class Added(Event, Aggregate.Created):
        """A tool may post to the workspace with the token that has this hash."""

        workspace_id: int
        provider: str
        token_sha256: str
        prospects: str
        own_campaign_ids: bool
        secret: str
        labels: dict[str, str]

    class Revoked(Event):
        """The token no longer counts."""

    @event(Added)
    def __init__(  # noqa: PLR0913 (an event's fields)
        self,
        hook_id: str,
        workspace_id: int,
        provider: str,
        token_sha256: str,
        prospects: str,
        own_campaign_ids: bool,  # noqa: FBT001
        secret: str,
        labels: dict[str, str],
        at: int,
        by: str,
    ) -> None:
        """Begin; all but whether it still counts is read from the rows."""
        del workspace_id, provider, token_sha256, prospects, own_campaign_ids, secret, labels, at, by
        self.hook_id = hook_id
        self.is_revoked = False

    @staticmethod
    def create_id(hook_id: str) -> UUID:
        """Return the stream of a hook."""
        return uuid5(NAMESPACE_URL, f"/hooks/{hook_id}")

    def revoke(self, at: int, by: str) -> None:
        """Revoke it, or leave it revoked."""
        if not self.is_revoked:
            self._revoked(self.hook_id, at=at, by=by)

    @event(Revoked)
    def _revoked(self, hook_id: str, at: int, by: str) -> None:
        del hook_id, at, by
        self.is_revoked = True


class Hooks(AccessApplication):
    """The hooks."""

    name = "hooks"
    kinds = (Hook.Event,)

    def __init__(
        self,
        pool: Pool,
        project: Callable[[Database, Iterable[Hook.Event]], None],
        clock: Callable[[], int],
        known: Known,
    ) -> None:
        """Take the pool, what writes the rows, the clock (ms, UTC), and the known tools."""
        self._known = known
        super().__init__(pool, project, clock)

    def add(self, terms: Terms, by: str) -> NewHook:
        """Add a hook; raise BadFieldError for terms that can't be."""
        labels = _check(terms, self._known)
        hook_id, token = f"hk_{secrets.token_hex(8)}", secrets.token_urlsafe(_TOKEN_BYTES)
        hook = Hook(
            hook_id,
            terms.workspace_id,
            terms.provider,
            secret_sha256(token),
            terms.prospects,
            terms.own_campaign_ids,
            terms.secret,
            labels,
            self._clock(),
            by,
        )
        self.save(hook)
        return NewHook(hook_id, token)

    def revoke(self, hook_id: str, by: str) -> None:
        """Revoke a hook, or leave it revoked; raise UnknownHookError where there never was such a one."""
        try:
            hook: Hook = self.repository.get(Hook.create_id(hook_id))
        except (AggregateNotFoundError, UnicodeEncodeError) as error:
            raise UnknownHookError("there is no such hook") from error
        hook.revoke(self._clock(), by)
        try:
            self.save(hook)
        except IntegrityError:
            self.revoke(hook_id, by)  # a concurrent call may have revoked it


def _check(terms: Terms, known: Known) -> dict[str, str]:
    """Raise BadFieldError for terms that can't be; return their labels as they are compared."""
    if not 1 <= terms.workspace_id <= MAX_ID:
        raise BadFieldError("workspace_id", f"expected a number from 1 to {MAX_ID}")
    if terms.provider not in known.signs:
        hint = did_you_mean(terms.provider, known.signs) or f", expected one of {', '.join(sorted(known.signs))}"
        raise BadFieldError("provider", f"{shown(terms.provider)} is not a tool that can be connected{hint}")
    if terms.prospects not in PROSPECTS:
        raise BadFieldError("prospects", f"expected one of {', '.join(PROSPECTS)}")
    if terms.secret and not (len(terms.secret) <= MAX_REFERENCE and _REFERENCE.fullmatch(terms.secret)):
        raise BadFieldError("secret", "expected a reference, env:NAME or file:/path, never the secret itself")
    if terms.secret and not known.signs[terms.provider]:
        raise BadFieldError("secret", f"{terms.provider} signs nothing, so there is nothing to check")
    labels = {label.strip().casefold(): meaning for label, meaning in terms.labels.items()}
    if len(terms.labels) > MAX_LABELS or not all(map(_LABEL.fullmatch, (*terms.labels, *labels))):
        raise BadFieldError("labels", f"expected at most {MAX_LABELS} labels of 1–{MAX_LABEL} characters")
    if not set(terms.labels.values()) <= set(known.meanings):
        raise BadFieldError("labels", f"expected each to mean one of {', '.join(known.meanings)}")
    if len(labels) < len(terms.labels):
        raise BadFieldError("labels", "expected each label once, in whatever case and with whatever blanks around it")
    return labels
