"""The hooks as requests need them: by their token, with what has come in, and the key of a workspace's prospects."""

from collections.abc import Mapping
from typing import NamedTuple

from psycopg.sql import SQL, Literal

from domain.citus import is_distributed
from domain.recorder import MUST_HOLD, Condition, Database
from projections.queries.caller import CALLER, SEEN, Asked, Credentials, Sealed, parameters

MOST_NAMES = 200  # different things that are counted of one hook; the others are counted together
OTHERS = "(others)"

_COLUMNS = SQL("h.hook_id, h.workspace_id, h.provider, h.prospects, h.own_campaign_ids, h.secret, h.labels, p.key")
_BY_TOKEN = SQL("""
SELECT {} FROM hook AS h JOIN prospect_key AS p USING (workspace_id)
WHERE h.token_sha256 = %s AND h.provider = %s
""").format(_COLUMNS)
_BY_ID = SQL("SELECT {} FROM hook AS h JOIN prospect_key AS p USING (workspace_id) WHERE h.hook_id = %s").format(
    _COLUMNS
)
_OF_WORKSPACE = SQL("""
SELECT {} FROM hook AS h JOIN prospect_key AS p USING (workspace_id)
WHERE h.workspace_id = %s AND h.provider = %s ORDER BY h.created_at, h.hook_id
""").format(_COLUMNS)
# That the hook still counts; an append asks for it under the lock of the head.
_MUST_BE_THERE = MUST_HOLD.format(
    condition=SQL("EXISTS (SELECT FROM hook AS h WHERE h.hook_id = %(hook_id)s AND h.workspace_id = %(workspace_id)s)")
)
_COUNT = SQL("""
WITH counted AS (SELECT count(*) AS names FROM hook_received WHERE hook_id = %(hook_id)s), given AS (
    SELECT g.*, g.place + counted.names <= {most} OR EXISTS (
        SELECT FROM hook_received AS r
        WHERE (r.hook_id, r.name, r.outcome, r.reason) = (%(hook_id)s, g.name, g.outcome, g.reason)
    ) AS own
    FROM counted, unnest(%(names)s::text[], %(outcomes)s::text[], %(reasons)s::text[], %(numbers)s::bigint[])
        WITH ORDINALITY AS g (name, outcome, reason, number, place)
), summed AS (
    SELECT CASE WHEN own THEN name ELSE {others} END AS name, outcome,
        CASE WHEN own THEN reason ELSE '' END AS reason, sum(number)::bigint AS number
    FROM given GROUP BY 1, 2, 3
)
INSERT INTO hook_received AS r (hook_id, name, outcome, reason, number, first_at, latest_at)
SELECT h.hook_id, s.name, s.outcome, s.reason, s.number, %(at)s, %(at)s
FROM summed AS s, {hook}, set_config('synchronous_commit', 'off', true)
WHERE h.hook_id = %(hook_id)s
ORDER BY s.name, s.outcome, s.reason
ON CONFLICT (hook_id, name, outcome, reason) DO UPDATE
SET number = r.number + excluded.number, latest_at = greatest(r.latest_at, excluded.latest_at)
""")
_COUNT_PLAIN, _COUNT_DISTRIBUTED = (
    _COUNT.format(most=Literal(MOST_NAMES), others=Literal(OTHERS), hook=hook)
    # With Citus the counts are on the coordinator alone, and aren't written by what reads other tables.
    for hook in (SQL("hook AS h"), SQL("(SELECT %(hook_id)s::text AS hook_id) AS h"))
)
_IS_THERE = SQL("SELECT EXISTS (SELECT FROM hook WHERE hook_id = %s)")
_CONFIRM = SQL("UPDATE hook SET confirm_url = %s WHERE hook_id = %s")
_LIST = SQL("""
SELECT h.hook_id, h.workspace_id, h.provider, h.prospects, h.own_campaign_ids, h.secret, h.labels, h.created_at,
    h.created_by, h.confirm_url
FROM hook AS h ORDER BY h.workspace_id, h.created_at, h.hook_id
""")
_RECEIVED = SQL("""
SELECT hook_id, name, outcome, reason, number, first_at, latest_at FROM hook_received
ORDER BY hook_id, name, outcome, reason
""")
_PROSPECT_KEY = SQL("SELECT key FROM prospect_key WHERE workspace_id = %s")
_PROSPECT_KEY_FOR = SQL("""
{seen}
SELECT {caller}, s.workspace_id, p.key
FROM caller AS c
LEFT JOIN seen AS s ON true
LEFT JOIN prospect_key AS p USING (workspace_id)
""").format(seen=SEEN, caller=CALLER)


class KnownHook(NamedTuple):
    """A hook that counts, and the key of its workspace's prospects."""

    hook_id: str
    workspace_id: int
    provider: str
    prospects: str
    own_campaign_ids: bool
    secret: str
    labels: dict[str, str]
    prospect_key: bytes


class Received(NamedTuple):
    """How often something came in, what became of it and why, when first and when last (ms, UTC)."""

    name: str
    outcome: str
    reason: str
    number: int
    first_at: int
    latest_at: int


class ListedHook(NamedTuple):
    """A hook as it is shown; `confirm_url` is to be opened once where the tool waits for that."""

    hook_id: str
    workspace_id: int
    provider: str
    prospects: str
    own_campaign_ids: bool
    secret: str
    labels: dict[str, str]
    created_at: int
    created_by: str
    confirm_url: str | None
    received: list[Received]


Counts = Mapping[tuple[str, str, str], int]  # by name, outcome and reason


def by_token(database: Database, token_sha256: str, provider: str) -> KnownHook | None:
    """Return the provider's hook whose token has this hash, None where there is none."""
    row = database.execute(_BY_TOKEN, (token_sha256, provider)).fetchone()
    return KnownHook(*row) if row else None


def by_id(database: Database, hook_id: str) -> KnownHook | None:
    """Return a hook by its id, None where there is none."""
    row = database.execute(_BY_ID, (hook_id,)).fetchone()
    return KnownHook(*row) if row else None


def of_workspace(database: Database, workspace_id: int, provider: str) -> list[KnownHook]:
    """Return a workspace's hooks of a provider, in the order in which they were added."""
    return [KnownHook(*row) for row in database.execute(_OF_WORKSPACE, (workspace_id, provider)).fetchall()]


def still_there(hook: KnownHook) -> Condition:
    """Return the condition of an append that the hook was not revoked meanwhile."""
    return Condition(_MUST_BE_THERE, {"hook_id": hook.hook_id})


def count(database: Database, hook_id: str, at: int, counts: Counts) -> None:
    """Count what came in at a time (ms, UTC)."""
    names, outcomes, reasons = zip(*counts, strict=True) if counts else ((), (), ())
    columns = {"names": list(names), "outcomes": list(outcomes), "reasons": list(reasons)}
    statement = _COUNT_PLAIN
    if is_distributed(database):
        if database.execute(_IS_THERE, (hook_id,)).fetchone() != (True,):
            return
        statement = _COUNT_DISTRIBUTED
    database.execute(statement, {"hook_id": hook_id, "at": at, **columns, "numbers": list(counts.values())})


def keep_confirmation(database: Database, hook_id: str, url: str) -> None:
    """Store the URL that an operator opens once so that the tool begins to post."""
    database.execute(_CONFIRM, (url, hook_id))


def listed(database: Database) -> list[ListedHook]:
    """Return all hooks, by workspace and age, with what has come in."""
    hooks = {row[0]: ListedHook._make((*row, [])) for row in database.execute(_LIST)}
    for hook_id, *received in database.execute(_RECEIVED):
        if hook_id in hooks:  # else it was added or revoked in between
            hooks[hook_id].received.append(Received(*received))
    return list(hooks.values())


def prospect_key(database: Database, workspace_id: int) -> bytes | None:
    """Return the key of a workspace's prospects, None where it was never connected to a tool."""
    row = database.execute(_PROSPECT_KEY, (workspace_id,)).fetchone()
    return bytes(row[0]) if row else None


def prospect_key_for(database: Database, credentials: Credentials, asked: Asked) -> Sealed[tuple[int, bytes | None]]:
    """Return the asked workspace and the key of its prospects, which is None where it was never connected to a tool."""
    row = database.execute(_PROSPECT_KEY_FOR, parameters(credentials, asked)).fetchone()
    return Sealed(row, None if row is None or row[4] is None else (row[4], row[5]))
