"""Who may see what, as every request asks it: the rows that the users' events keep, and the questions put to them."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from psycopg.sql import SQL

from domain.access import User
from domain.recorder import APPEND, Condition, Database
from projections.pipeline import Statement

ALL = "ALL"

_LINK = SQL("INSERT INTO workspace_link (user_id, workspace_id, current) VALUES (%s, %s, %s)")
_UNLINK = SQL("DELETE FROM workspace_link WHERE user_id = %s AND workspace_id = %s")
_SELECT = SQL("UPDATE workspace_link SET current = (workspace_id = %s) WHERE user_id = %s")
_ISSUE = SQL("INSERT INTO api_key (prefix, user_id, secret_sha256, scopes, expires_at) VALUES (%s, %s, %s, %s, %s)")
_REVOKE = SQL("DELETE FROM api_key WHERE prefix = %s")
_FORGET = SQL("DELETE FROM api_key_window WHERE prefix = %s")
_OWNER = SQL("SELECT user_id FROM api_key WHERE prefix = %s")
_LAST_USED = SQL("SELECT prefix, last_used_at FROM api_key WHERE user_id = %s")
_USED = SQL("""
UPDATE api_key AS k SET last_used_at = u.at
FROM unnest(%(prefixes)s::text[], %(instants)s::bigint[]) AS u (prefix, at)
WHERE k.prefix = u.prefix AND (k.last_used_at IS NULL OR k.last_used_at <= u.at - %(pause)s)
""")

# The beginning of every statement that answers a request: `caller` is at most one row, `seen` the workspaces that it
# asks for and may see. A foreign workspace and an absent one are the same: no row; and a key with another secret sees
# none, so that guessing at a known prefix costs no more than at an unknown one. It is not what decides: the hashes are
# compared again, in constant time, before anything of an answer is shown.
SEEN = SQL("""
WITH caller AS (
    SELECT user_id, secret_sha256, scopes, expires_at FROM api_key WHERE prefix = %(prefix)s
    UNION ALL
    SELECT %(session_user)s, NULL, NULL, NULL WHERE %(session_user)s::text IS NOT NULL
), seen AS (
    SELECT l.workspace_id FROM caller AS c JOIN workspace_link AS l USING (user_id)
    WHERE c.secret_sha256 IS NOT DISTINCT FROM %(secret_sha256)s
        AND CASE WHEN %(workspace_id)s::bigint IS NOT NULL THEN l.workspace_id = %(workspace_id)s
            ELSE %(all)s OR l.current END
)
""")
_CHECK = SQL("""
{seen}
SELECT c.user_id, c.secret_sha256, c.scopes, c.expires_at, s.workspace_id
FROM caller AS c LEFT JOIN seen AS s ON true
""").format(seen=SEEN)
# An append by API keys that may all write to the workspace now; here too, one statement asks and acts.
_APPEND = APPEND.format(
    condition=SQL("""(
        SELECT count(*)
        FROM unnest(%(prefixes)b::text[], %(secrets)b::text[]) AS given (prefix, secret_sha256)
        JOIN api_key AS k ON k.prefix = given.prefix AND k.secret_sha256 = given.secret_sha256
        JOIN workspace_link AS w ON w.user_id = k.user_id AND w.workspace_id = %(workspace_id)s
        WHERE 'write' = ANY (k.scopes) AND (k.expires_at IS NULL OR k.expires_at > %(now)s)
    ) = %(writers)s""")
)
APPEND_IF_ALLOWED = Statement("append", _APPEND.as_bytes())


class Credentials(NamedTuple):
    """Who somebody says they are: the user of a verified session, or an API key yet to be compared."""

    session_user: str | None = None
    prefix: str | None = None
    secret_sha256: str | None = None


class Caller(NamedTuple):
    """Who is calling, as the database knows them. A session has no secret, scopes or expiry."""

    user_id: str
    secret_sha256: str | None
    scopes: list[str] | None
    expires_at: int | None


class Asked(NamedTuple):
    """Which workspaces a request is about: one, all that are linked, or (neither) the current one."""

    workspace_id: int | None = None
    every: bool = False


def parameters(credentials: Credentials, asked: Asked) -> dict[str, object]:
    """Return the parameters of a statement that begins with `SEEN`."""
    return {
        "prefix": credentials.prefix,
        "secret_sha256": credentials.secret_sha256,
        "session_user": credentials.session_user,
        "workspace_id": asked.workspace_id,
        "all": asked.every,
    }


def check(database: Database, credentials: Credentials, asked: Asked) -> tuple[Caller | None, list[int]]:
    """Return who is calling, None where no such key is known, and the asked workspaces that they may see."""
    rows = database.execute(_CHECK, parameters(credentials, asked)).fetchall()
    if not rows:
        return None, []
    return Caller(*rows[0][:4]), [row[4] for row in rows if row[4] is not None]


def may_write(writers: Collection[Credentials], now: int) -> Condition:
    """Return the condition that all these API keys may write to the workspace at this time (ms, UTC)."""
    keys = {
        "prefixes": [writer.prefix for writer in writers],
        "secrets": [writer.secret_sha256 for writer in writers],
        "now": now,
        "writers": len(writers),
    }
    return Condition(_APPEND, keys)


def owner_of_key(database: Database, prefix: str) -> str | None:
    """Return the user to whom an API key belongs, None where it is unknown or revoked."""
    row = database.execute(_OWNER, (prefix,)).fetchone()
    return str(row[0]) if row else None


def last_used(database: Database, user_id: str) -> dict[str, int | None]:
    """Return by prefix when each of the user's API keys was used last (ms, UTC; None: never)."""
    return dict(database.execute(_LAST_USED, (user_id,)).fetchall())


def used(database: Database, instants: Mapping[str, int], pause: int) -> None:
    """Note when API keys were used (by prefix; ms, UTC), unless that was noted less than `pause` ms before."""
    keys = {"prefixes": list(instants), "instants": list(instants.values()), "pause": pause}
    database.execute(_USED, keys)


def project(database: Database, events: Iterable[User.Event]) -> None:
    """Write what users' events change; called in the transaction that appends them."""
    for event in events:
        match event:
            case User.WorkspaceLinked():
                database.execute(_LINK, (event.user_id, event.workspace_id, event.current))
            case User.WorkspaceUnlinked():
                database.execute(_UNLINK, (event.user_id, event.workspace_id))
            case User.WorkspaceSelected():
                database.execute(_SELECT, (event.workspace_id, event.user_id))
            case User.KeyIssued():
                key = (event.prefix, event.user_id, event.secret_sha256, event.scopes, event.expires_at)
                database.execute(_ISSUE, key)
            case User.KeyRevoked():
                database.execute(_REVOKE, (event.prefix,))
                database.execute(_FORGET, (event.prefix,))
