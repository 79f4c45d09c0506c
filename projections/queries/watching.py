"""How far the workspaces of many callers are projected, in one statement: what open streams ask again and again."""

from collections.abc import Sequence
from typing import NamedTuple

from psycopg.sql import SQL

from projections.pipeline import Pipeline, Statement
from projections.queries.caller import CALLER, Asked, Credentials, Sealed
from projections.queries.standing import JOINED, STANDING, STANDS, Standing, sealed_standings

# What `SEEN` and `ASKED` say of one caller, of each of many; an empty text and 0 stand for what a caller does not show.
_LOOK = SQL("""
WITH asking AS (
    SELECT * FROM unnest(%(prefixes)b::text[], %(secrets)b::text[], %(users)b::text[], %(workspaces)b::bigint[],
        %(every)b::bigint[]) WITH ORDINALITY AS given (prefix, secret_sha256, user_id, workspace_id, every, place)
), c AS (
    SELECT g.place, g.workspace_id, g.every, g.secret_sha256 AS shown_sha256, k.user_id, k.secret_sha256, k.scopes,
        k.expires_at
    FROM asking AS g JOIN api_key AS k ON k.prefix = g.prefix
    UNION ALL
    SELECT g.place, g.workspace_id, g.every, '', g.user_id, NULL, NULL, NULL
    FROM asking AS g WHERE g.user_id <> ''
)
SELECT c.place, {caller}, {standing}
FROM c
LEFT JOIN LATERAL (
    SELECT {stands} FROM workspace_link AS s {joined}
    WHERE s.user_id = c.user_id AND coalesce(c.secret_sha256, '') = c.shown_sha256
        AND CASE WHEN c.workspace_id > 0 THEN s.workspace_id = c.workspace_id ELSE c.every = 1 OR s.current END
) AS a ON true
ORDER BY c.place, a.workspace_id
""").format(caller=CALLER, standing=STANDING, stands=STANDS, joined=JOINED)
_SENT = Statement("watching", _LOOK.as_bytes())


class Watched(NamedTuple):
    """The workspaces that a caller watches."""

    credentials: Credentials
    asked: Asked


async def ask_all(pipeline: Pipeline, watched: Sequence[Watched]) -> list[Sealed[list[Standing]]]:
    """Return for each of them what `standing.look` returns, in one snapshot; raises what `Pipeline.rows` raises."""
    rows = await pipeline.rows(
        _SENT,
        {
            "prefixes": [each.credentials.prefix or "" for each in watched],
            "secrets": [each.credentials.secret_sha256 or "" for each in watched],
            "users": [each.credentials.session_user or "" for each in watched],
            "workspaces": [each.asked.workspace_id or 0 for each in watched],
            "every": [int(each.asked.every) for each in watched],
        },
    )
    of_each: list[list[Sequence[object]]] = [[] for _ in watched]
    for place, *row in rows:
        of_each[place - 1].append(row)
    return [sealed_standings(own, each.asked) for own, each in zip(of_each, watched, strict=True)]
