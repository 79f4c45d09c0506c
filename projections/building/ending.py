"""End a workspace: its links and hooks first, so that nobody comes any more, then its rows, in pieces.

Begun again after an interruption, it goes on where it was.
"""

from collections.abc import Callable

from psycopg.sql import SQL, Literal

from domain.access import Access
from domain.hooks import Hooks
from domain.recorder import Database

_AT_ONCE = 10_000  # rows

# In this order: without a head and a projection nobody projects or replays what is still there.
TABLES = (
    *("projection", "log_head", "stored_events", "journey", "campaign_activity", "campaign", "spare_generation"),
    *("rejected_event", "set_aside", "campaign_key"),
)
_DELETE_SOME = {
    table: SQL("""
DELETE FROM {table} WHERE workspace_id = %(workspace_id)s AND ctid = ANY (ARRAY(
    SELECT ctid FROM {table} WHERE workspace_id = %(workspace_id)s LIMIT {limit}
))
""").format(table=SQL(table), limit=Literal(_AT_ONCE))
    for table in TABLES
}
# One row each.
_DELETE_ONE = (
    SQL("DELETE FROM prospect_key WHERE workspace_id = %s"),
    SQL("DELETE FROM workspace WHERE workspace_id = %s"),
)
_LINKED = SQL("SELECT user_id FROM workspace_link WHERE workspace_id = %s")
_HOOKS = SQL("SELECT hook_id FROM hook WHERE workspace_id = %s")
# In the order in which everybody takes both.
_LOCK = (
    SQL("SELECT FROM projection WHERE workspace_id = %s FOR UPDATE"),
    SQL("SELECT FROM log_head WHERE workspace_id = %s FOR UPDATE"),
)


def delete(  # noqa: PLR0913 (a workspace, by whom, and what it is known to)
    database: Database, users: Access, hooks: Hooks, workspace_id: int, by: str, progress: Callable[[int], object]
) -> None:
    """Delete a workspace for good; what stays is that it was deleted. `progress` is called with rows that are gone.

    `database` must not be inside a transaction.
    """
    users.delete_workspace(workspace_id, by)  # from here on nobody can be linked to it, and no tool connected
    for (user_id,) in database.execute(_LINKED, (workspace_id,)).fetchall():
        users.unlink(user_id, workspace_id, by)
    for (hook_id,) in database.execute(_HOOKS, (workspace_id,)).fetchall():
        hooks.revoke(hook_id, by)
    while _delete_all(database, workspace_id, progress):
        pass  # an append or a replay that was under way may have left something


def _delete_all(database: Database, workspace_id: int, progress: Callable[[int], object]) -> bool:
    """Delete what there is; return whether there was anything."""
    first, second, *others = TABLES
    with database.transaction():
        for lock in _LOCK:
            database.execute(lock, (workspace_id,))
        gone = sum(_delete_some(database, workspace_id, table) for table in (first, second))
    for table in others:
        while deleted := _delete_some(database, workspace_id, table):
            gone += deleted
            progress(deleted)
    for delete in _DELETE_ONE:
        gone += database.execute(delete, (workspace_id,)).rowcount
    return gone > 0


def _delete_some(database: Database, workspace_id: int, table: str) -> int:
    return database.execute(_DELETE_SOME[table], {"workspace_id": workspace_id}).rowcount
