"""A workspace as an aggregate: its name, who was forgotten, its end; in log 0. Its names are storage format."""

from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event

MAX_WORKSPACE_NAME = 256


class Workspace(Aggregate):
    """One workspace. Every event carries `at` (ms, UTC) and `by` (`cli:<os user>` or `key:<prefix>`)."""

    class Event(Aggregate.Event):
        """A change of a workspace."""

        at: int
        by: str

    class Registered(Event, Aggregate.Created):
        """The workspace was changed for the first time."""

        workspace_id: int

    class Renamed(Event):
        """The workspace has this name from now on."""

        workspace_id: int
        name: str

    class ProspectForgotten(Event):
        """A prospect's id is this token from now on, in so many events; the id itself is nowhere."""

        workspace_id: int
        token: str
        events: int

    class Deleted(Event):
        """The workspace is gone, and no other one has its number again."""

        workspace_id: int

    @event(Registered)
    def __init__(self, workspace_id: int, at: int, by: str) -> None:
        """Begin without a name."""
        del at, by
        self.workspace_id = workspace_id
        self.name: str | None = None
        self.is_deleted = False

    @staticmethod
    def create_id(workspace_id: int) -> UUID:
        """Return the stream of a workspace."""
        return uuid5(NAMESPACE_URL, f"/workspaces/{workspace_id}")

    def rename(self, name: str, at: int, by: str) -> None:
        """Give the workspace a name, if it is another one."""
        if name != self.name:
            self._renamed(self.workspace_id, name, at=at, by=by)

    @event(Renamed)
    def _renamed(self, workspace_id: int, name: str, at: int, by: str) -> None:
        del workspace_id, at, by
        self.name = name

    def forget(self, token: str, events: int, at: int, by: str) -> None:
        """Note that a prospect was forgotten."""
        self._forgotten(self.workspace_id, token, events, at=at, by=by)

    def delete(self, at: int, by: str) -> None:
        """End the workspace, or leave it ended."""
        if not self.is_deleted:
            self._deleted(self.workspace_id, at=at, by=by)

    @event(ProspectForgotten)
    def _forgotten(self, workspace_id: int, token: str, events: int, at: int, by: str) -> None:
        del workspace_id, token, events, at, by

    @event(Deleted)
    def _deleted(self, workspace_id: int, at: int, by: str) -> None:
        del workspace_id, at, by
        self.is_deleted = True
