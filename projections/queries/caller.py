"""Who is calling, and which of the asked workspaces they may see: every statement of a request begins with this."""

from collections.abc import Collection
from typing import NamedTuple

from psycopg.sql import SQL

from domain.recorder import APPEND, LOCK, Condition, Database
from projections.pipeline import Statement

ALL = "ALL"

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
# That API keys may all write to the workspace now; an append asks for it and acts in one statement.
_MAY_WRITE = SQL("""(
        SELECT count(*)
        FROM unnest(%(prefixes)b::text[], %(secrets)b::text[]) AS given (prefix, secret_sha256)
        JOIN api_key AS k ON k.prefix = given.prefix AND k.secret_sha256 = given.secret_sha256
        JOIN workspace_link AS w ON w.user_id = k.user_id AND w.workspace_id = %(workspace_id)s
        WHERE 'write' = ANY (k.scopes) AND (k.expires_at IS NULL OR k.expires_at > %(now)s)
    ) = %(writers)s""")
_APPEND = APPEND.format(condition=_MAY_WRITE)
_HOLDS = SQL("SELECT {}").format(_MAY_WRITE)
APPEND_IF_ALLOWED = Statement("append", _APPEND.as_bytes(), behind=Statement("lock_head", LOCK.as_bytes()))


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
    return Condition(_APPEND, _HOLDS, keys)
