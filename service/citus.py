"""Distributes a database's tables by workspace, where the Citus extension is there: one more step of each `migrate`.

It is no numbered migration: a database may get the extension, or move to one that has it, at any time.
"""

from psycopg.sql import SQL, Composed, Literal

from domain.citus import is_distributed
from domain.recorder import Database

# Rows of a workspace, all on the node that has it; log 0, which no workspace has, lies among them.
DISTRIBUTED = (
    *("log_head", "stored_events", "projection", "spare_generation", "journey", "campaign", "campaign_activity"),
    *("rejected_event", "set_aside", "campaign_key"),
)
_FIRST = DISTRIBUTED[0]
# On every node: who may see what, which is read with a workspace's rows, and small.
REFERENCE = ("workspace_link", "api_key", "workspace", "deleted_workspace", "hook", "prospect_key", "fold_version")
# On the coordinator alone, and why.
LOCAL = {
    "migration": "is read before anything else is known of the database",
    "database_identity": "says which database the coordinator is",
    "api_key_window": "is written by every request, by functions of the time that Citus takes for no shared table",
    "hook_received": "is written by every delivery, and only shown to operators",
}

_ALREADY = SQL("""
SELECT c.relname FROM pg_dist_partition AS p JOIN pg_class AS c ON c.oid = p.logicalrelid
WHERE p.partmethod = 'h' OR p.repmodel = 't'
""")
_DISTRIBUTE = SQL("SELECT create_distributed_table({table}, 'workspace_id', colocate_with => {together_with})")
_COPY_TO_ALL = SQL("SELECT create_reference_table({table})")
_EMPTY_HERE = SQL("SELECT truncate_local_data_after_distributing_table({table}::regclass)")


def distribute(database: Database) -> list[str]:
    """Distribute the tables that are not yet, where Citus is there, within a transaction; return their names.

    Their rows move along. What is left of them on the coordinator is for `empty_here`, after the commit.
    """
    if not is_distributed(database):
        return []
    already = {name for (name,) in database.execute(_ALREADY)}
    lacking = [table for table in (*DISTRIBUTED, *REFERENCE) if table not in already]
    for table in lacking:
        database.execute(_statement(table))
    return lacking


def empty_here(database: Database, tables: list[str]) -> None:
    """Delete the rows that distributing these tables has left on the coordinator, where nobody sees them any more."""
    for table in tables:
        database.execute(_EMPTY_HERE.format(table=Literal(table)))


def _statement(table: str) -> Composed:
    if table in REFERENCE:
        return _COPY_TO_ALL.format(table=Literal(table))
    return _DISTRIBUTE.format(table=Literal(table), together_with=Literal("none" if table == _FIRST else _FIRST))
