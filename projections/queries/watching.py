"""How far the workspaces of many callers are projected, in one statement: what open streams ask again and again."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg.sql import SQL

from projections.pipeline import Pipeline
from projections.queries.caller import CALLER, Asked, Credentials, Sealed
from projections.queries.standing import STANDING, STANDS, Standing, joined, sealed_standings
from projections.statements import Statement

logger = logging.getLogger(__name__)

# What `SEEN` and `ASKED` say of one caller, of each of many; an empty text and 0 stand for what a caller does not show.
_CALLERS = SQL("""
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
SELECT c.place, {caller}, {columns}
FROM c
LEFT JOIN LATERAL (
    SELECT {workspace} FROM workspace_link AS s {joined}
    WHERE s.user_id = c.user_id AND coalesce(c.secret_sha256, '') = c.shown_sha256
        AND CASE WHEN c.workspace_id > 0 THEN s.workspace_id = c.workspace_id ELSE c.every = 1 OR s.current END
) AS a ON true
ORDER BY c.place, a.workspace_id
""")
_LOOK = _CALLERS.format(caller=CALLER, columns=STANDING, workspace=STANDS, joined=joined(lambda _: SQL("")))
_SENT = Statement("watching", _LOOK.as_bytes())
# The same for Citus: who sees what, of which every node knows all, and then how far each of these workspaces is.
_SEE = _CALLERS.format(caller=CALLER, columns=SQL("a.workspace_id"), workspace=SQL("s.workspace_id"), joined=SQL(""))
_SEEN = Statement("watching_whom", _SEE.as_bytes())
_STAND = SQL("""
SELECT {standing} FROM (
    SELECT {stands} FROM (SELECT %(workspace_id)s::bigint AS workspace_id) AS s {joined}
) AS a
""").format(
    standing=STANDING, stands=STANDS, joined=joined(lambda alias: SQL(f"AND {alias}.workspace_id = %(workspace_id)s"))
)
_STANDING = Statement("standing", _STAND.as_bytes())


class Watched(NamedTuple):
    """The workspaces that a caller watches."""

    credentials: Credentials
    asked: Asked


async def ask_all(pipeline: Pipeline, watched: Sequence[Watched]) -> list[Sealed[list[Standing]] | None]:
    """Return for each of them what `standing.look` returns, in one snapshot; raises what `Pipeline.rows` raises.

    Where Citus distributes the database, each workspace has a snapshot of its own, and None stands for those who watch
    one that can't be asked.
    """
    values = {
        "prefixes": [each.credentials.prefix or "" for each in watched],
        "secrets": [each.credentials.secret_sha256 or "" for each in watched],
        "users": [each.credentials.session_user or "" for each in watched],
        "workspaces": [each.asked.workspace_id or 0 for each in watched],
        "every": [int(each.asked.every) for each in watched],
    }
    if await pipeline.is_distributed():
        return await _ask_each(pipeline, watched, values)
    rows = await pipeline.rows(_SENT, values)
    of_each: list[list[Sequence[object]]] = [[] for _ in watched]
    for place, *row in rows:
        of_each[place - 1].append(row)
    return [sealed_standings(own, each.asked) for own, each in zip(of_each, watched, strict=True)]


async def _ask_each(
    pipeline: Pipeline, watched: Sequence[Watched], values: Mapping[str, object]
) -> list[Sealed[list[Standing]] | None]:
    rows = await pipeline.rows(_SEEN, values)
    ids = sorted({row[5] for row in rows if row[5] is not None})
    asked = (pipeline.rows(_STANDING, {"workspace_id": each}) for each in ids)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    standings: dict[int, Sequence[object]] = {}
    for workspace_id, answer in zip(ids, answers, strict=True):
        if isinstance(answer, psycopg.Error):
            logger.warning("workspace %s can't be asked: %s", workspace_id, answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            [standings[workspace_id]] = answer
    of_each: list[list[Sequence[object]] | None] = [[] for _ in watched]
    for place, *caller, workspace_id in rows:
        own = of_each[place - 1]
        if workspace_id is None:
            standing: Sequence[object] | None = (None,) * len(Standing._fields)
        else:
            standing = standings.get(workspace_id)
        if standing is None or own is None:
            of_each[place - 1] = None
        else:
            own.append((*caller, *standing))
    return [
        None if own is None else sealed_standings(own, each.asked) for own, each in zip(of_each, watched, strict=True)
    ]
