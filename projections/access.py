"""Who may see what, as rows: users' events change them in the transaction that appends the events."""

import secrets
from collections.abc import Iterable, Mapping

from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from domain.access import User
from domain.hooks import Hook
from domain.recorder import Database
from domain.refusals import DeletedWorkspaceError
from domain.workspaces import Workspace

_LINK = SQL("INSERT INTO workspace_link (user_id, workspace_id, current) VALUES (%s, %s, %s)")
_UNLINK = SQL("DELETE FROM workspace_link WHERE user_id = %s AND workspace_id = %s")
_SELECT = SQL("UPDATE workspace_link SET current = (workspace_id = %s) WHERE user_id = %s")
_ISSUE = SQL("INSERT INTO api_key (prefix, user_id, secret_sha256, scopes, expires_at) VALUES (%s, %s, %s, %s, %s)")
_REVOKE = SQL("DELETE FROM api_key WHERE prefix = %s")
_FORGET = SQL("DELETE FROM api_key_window WHERE prefix = %s")
_RENAME = SQL("""
INSERT INTO workspace (workspace_id, name) VALUES (%s, %s)
ON CONFLICT (workspace_id) DO UPDATE SET name = excluded.name
""")
_BURY = SQL("INSERT INTO deleted_workspace (workspace_id, deleted_at) VALUES (%s, %s) ON CONFLICT DO NOTHING")
_UNNAME = SQL("DELETE FROM workspace WHERE workspace_id = %s")
_IS_DELETED = SQL("SELECT EXISTS (SELECT FROM deleted_workspace WHERE workspace_id = %s)")
_OWNER = SQL("SELECT user_id FROM api_key WHERE prefix = %s")
_LINKED = SQL("SELECT EXISTS (SELECT FROM workspace_link WHERE workspace_id = %s)")
_KNOWN = SQL("SELECT DISTINCT workspace_id FROM workspace_link UNION SELECT workspace_id FROM hook")
_LAST_USED = SQL("SELECT prefix, last_used_at FROM api_key WHERE user_id = %s")
_USED = SQL("""
UPDATE api_key AS k SET last_used_at = u.at
FROM unnest(%(prefixes)s::text[], %(instants)s::bigint[]) AS u (prefix, at)
WHERE k.prefix = u.prefix AND (k.last_used_at IS NULL OR k.last_used_at <= u.at - %(pause)s)
""")
_ADD_HOOK = SQL("""
INSERT INTO hook (hook_id, workspace_id, provider, token_sha256, prospects, own_campaign_ids, secret, labels,
    created_at, created_by)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
""")
_REVOKE_HOOK = SQL("DELETE FROM hook WHERE hook_id = %s")
_FORGET_RECEIVED = SQL("DELETE FROM hook_received WHERE hook_id = %s")
_MAKE_PROSPECT_KEY = SQL("INSERT INTO prospect_key (workspace_id, key) VALUES (%s, %s) ON CONFLICT DO NOTHING")
_PROSPECT_KEY_BYTES = 32


def owner_of_key(database: Database, prefix: str) -> str | None:
    """Return the user to whom an API key belongs, None where it is unknown or revoked."""
    row = database.execute(_OWNER, (prefix,)).fetchone()
    return str(row[0]) if row else None


def is_linked(database: Database, workspace_id: int) -> bool:
    """Return whether the workspace is linked to anybody."""
    return database.execute(_LINKED, (workspace_id,)).fetchone() == (True,)


def known_workspaces(database: Database) -> set[int]:
    """Return the workspaces that anybody may see or a tool may post to; of these, every node of Citus knows."""
    return {workspace_id for (workspace_id,) in database.execute(_KNOWN)}


def require_alive(database: Database, workspace_id: int) -> None:
    """Raise DeletedWorkspaceError where the workspace was deleted."""
    if database.execute(_IS_DELETED, (workspace_id,)).fetchone() == (True,):
        raise DeletedWorkspaceError(f"workspace {workspace_id} was deleted")


def last_used(database: Database, user_id: str) -> dict[str, int | None]:
    """Return by prefix when each of the user's API keys was used last (ms, UTC; None: never)."""
    return dict(database.execute(_LAST_USED, (user_id,)).fetchall())


def used(database: Database, instants: Mapping[str, int], pause: int) -> None:
    """Note when API keys were used (by prefix; ms, UTC), unless that was noted less than `pause` ms before."""
    keys = {"prefixes": list(instants), "instants": list(instants.values()), "pause": pause}
    database.execute(_USED, keys)


def project(database: Database, events: Iterable[User.Event | Workspace.Event]) -> None:
    """Write what users' events change; called in the transaction that appends them."""
    for event in events:
        match event:
            case User.WorkspaceLinked():
                require_alive(database, event.workspace_id)  # whoever deletes it has the log locked until the commit
                database.execute(_LINK, (event.user_id, event.workspace_id, event.current))
            case User.WorkspaceUnlinked():
                database.execute(_UNLINK, (event.user_id, event.workspace_id))
            case User.WorkspaceSelected():
                database.execute(_SELECT, (event.workspace_id, event.user_id))
            case User.KeyIssued():
                key = (event.prefix, event.user_id, event.secret_sha256, event.scopes, event.expires_at)
                database.execute(_ISSUE, key)
            case Workspace.Renamed():
                database.execute(_RENAME, (event.workspace_id, event.name))
            case Workspace.Deleted():
                database.execute(_BURY, (event.workspace_id, event.at))
                database.execute(_UNNAME, (event.workspace_id,))
            case User.KeyRevoked():
                database.execute(_REVOKE, (event.prefix,))
                database.execute(_FORGET, (event.prefix,))


def project_hooks(database: Database, events: Iterable[Hook.Event]) -> None:
    """Write what hooks' events change; called in the transaction that appends them."""
    for event in events:
        match event:
            case Hook.Added():
                require_alive(database, event.workspace_id)
                make_prospect_key(database, event.workspace_id)
                how = (event.prospects, event.own_campaign_ids, event.secret, Jsonb(event.labels))
                what = (event.hook_id, event.workspace_id, event.provider, event.token_sha256)
                database.execute(_ADD_HOOK, (*what, *how, event.at, event.by))
            case Hook.Revoked():
                database.execute(_REVOKE_HOOK, (event.hook_id,))
                database.execute(_FORGET_RECEIVED, (event.hook_id,))


def make_prospect_key(database: Database, workspace_id: int) -> None:
    """Make the key by which a workspace's prospects are named, at random, unless there is one: it never changes."""
    database.execute(_MAKE_PROSPECT_KEY, (workspace_id, secrets.token_bytes(_PROSPECT_KEY_BYTES)))
