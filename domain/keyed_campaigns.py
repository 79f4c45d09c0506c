"""The registry of campaigns' keys: which key stands for a derived id in a workspace, for ever the first one."""

from collections.abc import Iterable

from psycopg.sql import SQL

from domain.campaign_keys import campaign_id_of_key
from domain.recorder import Database

_REGISTER = SQL("""
INSERT INTO campaign_key (workspace_id, campaign_id, campaign_key)
SELECT %(workspace_id)s, k.campaign_id, k.campaign_key
FROM unnest(%(ids)s::bigint[], %(keys)s::text[]) AS k (campaign_id, campaign_key)
ON CONFLICT (workspace_id, campaign_id) DO NOTHING
""")
_KEYS = SQL("""
SELECT campaign_id, campaign_key FROM campaign_key
WHERE workspace_id = %(workspace_id)s AND campaign_id = ANY (%(ids)s::bigint[])
""")


def register(database: Database, workspace_id: int, keys: Iterable[str]) -> dict[int, str]:
    """Register the keys of campaigns of a workspace, each once, and return by id the key that stands for it.

    Of two keys with the same id the one that came first stands for ever; events with the other are conflicts.
    """
    ids = {campaign_id_of_key(key): key for key in keys}
    parameters = {"workspace_id": workspace_id, "ids": list(ids), "keys": list(ids.values())}
    database.execute(_REGISTER, parameters)
    return keys_of(database, workspace_id, ids)


def keys_of(database: Database, workspace_id: int, ids: Iterable[int]) -> dict[int, str]:
    """Return the keys of those of the campaigns that have one."""
    parameters = {"workspace_id": workspace_id, "ids": list(ids)}
    return dict(database.execute(_KEYS, parameters).fetchall())
