"""Users as aggregates of events: the workspaces they are linked to, the current one, and their API keys.

The events are in log 0, which no workspace has. The rows that say who may see what change in the same transaction
(`projections/access.py`), so that no request is ever answered by an older state. Class and field names are storage
format.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError

from domain.access_log import ACCESS_LOG, AccessApplication
from domain.api_keys import MAX_KEY_NAME, SCOPES, IssuedKey, Key, new_prefix_and_secret, secret_sha256
from domain.events import MAX_ID
from domain.recorder import Database, append, rows_of
from domain.refusals import BadFieldError, BusyError, DeletedWorkspaceError, NotLinkedError, UnknownKeyError
from domain.workspaces import MAX_WORKSPACE_NAME, Workspace

MAX_USER_ID = 255
_ATTEMPTS = 50  # each conflict means that another change succeeded, so this many in a row do not happen
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and what UTF-8 can't say

T = TypeVar("T")


class User(Aggregate):
    """One user. Every event carries `at` (ms, UTC) and `by` (`cli:<os user>` or `key:<prefix>`)."""

    class Event(Aggregate.Event):
        """A change of what a user may see."""

        at: int
        by: str

    class Registered(Event, Aggregate.Created):
        """The first event of a user."""

        user_id: str

    class WorkspaceLinked(Event):
        """The user sees this workspace from now on."""

        user_id: str
        workspace_id: int
        current: bool

    class WorkspaceUnlinked(Event):
        """The user no longer sees this workspace."""

        user_id: str
        workspace_id: int

    class WorkspaceSelected(Event):
        """The workspace that a request means which names none."""

        user_id: str
        workspace_id: int

    class KeyIssued(Event):
        """The user may call with this API key."""

        user_id: str
        prefix: str
        secret_sha256: str
        name: str
        scopes: list[str]
        expires_at: int | None

    class KeyRevoked(Event):
        """The API key no longer counts."""

        user_id: str
        prefix: str

    @event(Registered)
    def __init__(self, user_id: str, at: int, by: str) -> None:
        """Begin with nothing linked."""
        del at, by
        self.user_id = user_id
        self.linked_workspaces: list[int] = []
        self.current_workspace: int | None = None
        self.keys: dict[str, Key] = {}
        self.revoked_keys: set[str] = set()

    @staticmethod
    def create_id(user_id: str) -> UUID:
        """Return the stream of a user, the same for each call with the same user."""
        return uuid5(NAMESPACE_URL, f"/users/{user_id}")

    def link(self, workspace_id: int, at: int, by: str) -> None:
        """Link a workspace; the first one of a user without any becomes the current one."""
        if workspace_id not in self.linked_workspaces:
            self._linked(self.user_id, workspace_id, current=not self.linked_workspaces, at=at, by=by)

    def unlink(self, workspace_id: int, at: int, by: str) -> None:
        """Unlink a workspace; where it was the current one, none is."""
        if workspace_id in self.linked_workspaces:
            self._unlinked(self.user_id, workspace_id, at=at, by=by)

    def select(self, workspace_id: int, at: int, by: str) -> None:
        """Make a linked workspace the current one; raise NotLinkedError for any other."""
        if workspace_id not in self.linked_workspaces:
            raise NotLinkedError(f"workspace {workspace_id} is not linked to {self.user_id}")
        if workspace_id != self.current_workspace:
            self._selected(self.user_id, workspace_id, at=at, by=by)

    def revoke_key(self, prefix: str, at: int, by: str) -> None:
        """Revoke an API key, or leave it revoked; raise UnknownKeyError for one that the user never had."""
        if prefix in self.keys:
            self._key_revoked(self.user_id, prefix, at=at, by=by)
        elif prefix not in self.revoked_keys:
            raise UnknownKeyError(f"{self.user_id} has no such key")

    @event(WorkspaceLinked)
    def _linked(self, user_id: str, workspace_id: int, current: bool, at: int, by: str) -> None:  # noqa: FBT001
        del user_id, at, by
        self.linked_workspaces.append(workspace_id)
        if current:
            self.current_workspace = workspace_id

    @event(WorkspaceUnlinked)
    def _unlinked(self, user_id: str, workspace_id: int, at: int, by: str) -> None:
        del user_id, at, by
        self.linked_workspaces.remove(workspace_id)
        if self.current_workspace == workspace_id:
            self.current_workspace = None

    @event(WorkspaceSelected)
    def _selected(self, user_id: str, workspace_id: int, at: int, by: str) -> None:
        del user_id, at, by
        self.current_workspace = workspace_id

    @event(KeyIssued)
    def key_issued(  # noqa: PLR0913 (an event's fields)
        self,
        user_id: str,
        prefix: str,
        secret_sha256: str,
        name: str,
        scopes: list[str],
        expires_at: int | None,
        at: int,
        by: str,
    ) -> None:
        """Add an issued key."""
        del user_id, secret_sha256, by
        self.keys[prefix] = Key(prefix, name, tuple(scopes), at, expires_at)

    @event(KeyRevoked)
    def _key_revoked(self, user_id: str, prefix: str, at: int, by: str) -> None:
        del user_id, at, by
        del self.keys[prefix]
        self.revoked_keys.add(prefix)


class Access(AccessApplication):
    """The users, and what is known of workspaces."""

    name = "access"
    kinds = (User.Event, Workspace.Event)

    def link(self, user_id: str, workspace_id: int, by: str) -> None:
        """Link a workspace to a user, who need not be known before."""
        _check_workspace(workspace_id)
        self._change(user_id, by, lambda user, at: user.link(workspace_id, at, by))

    def unlink(self, user_id: str, workspace_id: int, by: str) -> None:
        """Unlink a workspace from a user."""
        _check_workspace(workspace_id)
        self._change(user_id, by, lambda user, at: user.unlink(workspace_id, at, by))

    def select(self, user_id: str, workspace_id: int, by: str) -> None:
        """Make a linked workspace the user's current one; raise NotLinkedError where it is not linked."""
        _check_workspace(workspace_id)
        self._change(user_id, by, lambda user, at: user.select(workspace_id, at, by))

    def issue_key(
        self, user_id: str, *, scopes: Sequence[str], name: str, expires_at: int | None, by: str
    ) -> IssuedKey:
        """Give the user an API key with these scopes until `expires_at` (ms, UTC; None: for ever)."""
        if not scopes or not set(scopes) <= set(SCOPES):
            raise BadFieldError("scopes", f"expected some of {', '.join(SCOPES)}")
        if len(name) > MAX_KEY_NAME or _CONTROL.search(name):
            raise BadFieldError("name", f"expected at most {MAX_KEY_NAME} characters without control characters")
        in_order = [scope for scope in SCOPES if scope in scopes]

        def issue(user: User, at: int) -> IssuedKey:
            prefix, secret = new_prefix_and_secret()
            user.key_issued(user_id, prefix, secret_sha256(secret), name, list[str](in_order), expires_at, at, by)
            return IssuedKey(user.keys[prefix], f"{prefix}.{secret}")

        return self._change(user_id, by, issue)

    def revoke_key(self, user_id: str, prefix: str, by: str) -> None:
        """Revoke one of the user's API keys; raise UnknownKeyError where they never had it."""
        self._change(user_id, by, lambda user, at: user.revoke_key(prefix, at, by))

    def rename_workspace(self, workspace_id: int, name: str, by: str) -> None:
        """Give a workspace a name; raise BadFieldError where it can't have it."""
        _check_workspace(workspace_id)
        if not 1 <= len(name) <= MAX_WORKSPACE_NAME or _CONTROL.search(name):
            raise BadFieldError("name", f"expected 1–{MAX_WORKSPACE_NAME} characters without control characters")

        def rename(workspace: Workspace, at: int) -> None:
            if workspace.is_deleted:
                raise DeletedWorkspaceError(f"workspace {workspace_id} was deleted")
            workspace.rename(name, at, by)

        self._change_workspace(workspace_id, by, rename)

    def delete_workspace(self, workspace_id: int, by: str) -> None:
        """Delete a workspace, or leave it deleted; it can't be linked any more from then on."""
        _check_workspace(workspace_id)
        self._change_workspace(workspace_id, by, lambda workspace, at: workspace.delete(at, by))

    def note_forgotten(self, database: Database, workspace_id: int, token: str, events: int, by: str) -> None:
        """Append that a prospect was forgotten, in the transaction that changes their events.

        Raises psycopg's UniqueViolation where the workspace was changed by somebody else meanwhile.
        """
        at = self._clock()
        workspace = self._workspace(workspace_id, at, by)
        workspace.forget(token, events, at, by)
        stored = [self.mapper.to_stored_event(each) for each in workspace.collect_events()]
        append(database, ACCESS_LOG, rows_of(stored))

    def _workspace(self, workspace_id: int, at: int, by: str) -> Workspace:
        try:
            workspace: Workspace = self.repository.get(Workspace.create_id(workspace_id))
        except AggregateNotFoundError:
            workspace = Workspace(workspace_id, at, by)
        return workspace

    def user(self, user_id: str) -> User | None:
        """Return the user as they are now, None where the user has no event."""
        try:
            return self.repository.get(User.create_id(check_user(user_id)))
        except AggregateNotFoundError:
            return None

    def history(self, user_id: str) -> list[User.Event]:
        """Return all events of the user, in order."""
        events = self.events.get(User.create_id(check_user(user_id)))
        return [each for each in events if isinstance(each, User.Event)]

    def _change(self, user_id: str, by: str, change: Callable[[User, int], T]) -> T:
        """Load, change and save the user; retry after a concurrent change."""
        check_user(user_id)

        def save() -> T:
            at = self._clock()
            user = self.user(user_id) or User(user_id, at, by)
            result = change(user, at)
            if not user.pending_events or not isinstance(user.pending_events[-1], User.Registered):
                self.save(user)  # else nothing was changed after all
            return result

        return self._retry(save)

    def _change_workspace(self, workspace_id: int, by: str, change: Callable[[Workspace, int], None]) -> None:
        """Load, change and save the workspace; retry after a concurrent change."""

        def save() -> None:
            at = self._clock()
            workspace = self._workspace(workspace_id, at, by)
            change(workspace, at)
            self.save(workspace)

        self._retry(save)

    def _retry(self, save: Callable[[], T]) -> T:
        for _ in range(_ATTEMPTS):
            try:
                return save()
            except IntegrityError:
                continue
        raise BusyError("This is being changed by somebody else all the time, please try again")


def is_user(text: str) -> bool:
    """Return whether this can be a user's id: 1–255 characters without `/`, control characters and lone surrogates."""
    return 1 <= len(text) <= MAX_USER_ID and "/" not in text and not _CONTROL.search(text)


def check_user(user_id: str) -> str:
    """Return the user id; raise AccessError where it can't be one."""
    if not is_user(user_id):
        raise BadFieldError("user", f"expected 1–{MAX_USER_ID} characters without / and control characters")
    return user_id


def _check_workspace(workspace_id: int) -> None:
    if not 1 <= workspace_id <= MAX_ID:
        raise BadFieldError("workspace", f"expected a number from 1 to {MAX_ID}")
