"""A workspace as an aggregate: what it is called. Class and field names are storage format, in log 0 like users'."""

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

    @event(Registered)
    def __init__(self, workspace_id: int, at: int, by: str) -> None:
        """Begin without a name."""
        del at, by
        self.workspace_id = workspace_id
        self.name: str | None = None

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
