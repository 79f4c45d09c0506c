"""The registry of campaigns' keys: a derived id of a workspace belongs to the key registered first, for ever."""

from collections.abc import Iterable, Sequence

from psycopg.sql import SQL

from domain.campaign_keys import campaign_id_of_key
from domain.events import Event
from domain.recorder import Database

MOST_KNOWN = 100_000  # keys that one process remembers; then it asks anew

_REGISTER = SQL("""
INSERT INTO campaign_key AS c (workspace_id, campaign_id, campaign_key)
SELECT %(workspace_id)s::bigint, k.campaign_id, k.campaign_key
FROM unnest(%(ids)s::bigint[], %(keys)s::text[]) AS k (campaign_id, campaign_key)
ORDER BY k.campaign_id
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
    ids: dict[int, str] = {}
    for key in keys:
        ids.setdefault(campaign_id_of_key(key), key)
    parameters = {"workspace_id": workspace_id, "ids": list(ids), "keys": list(ids.values())}
    database.execute(_REGISTER, parameters)
    return keys_of(database, workspace_id, ids)


def keys_of(database: Database, workspace_id: int, ids: Iterable[int]) -> dict[int, str]:
    """Return the keys of those of the campaigns that have one."""
    parameters = {"workspace_id": workspace_id, "ids": list(ids)}
    return dict(database.execute(_KEYS, parameters).fetchall())


class KnownKeys:
    """A cache of registered keys: a registered key never changes, so each is read once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._standing: dict[tuple[int, int], str] = {}

    def forget(self) -> None:
        """Forget all of them: the database may be another one from now on, that lacks the latest."""
        self._standing = {}

    def others(self, workspace_id: int, events: Iterable[Event]) -> dict[int, str] | None:
        """Return, by an event's place, the registered key where it is another one; None where some are not cached.

        It queries no database.
        """
        others: dict[int, str] = {}
        for place, each in enumerate(events):
            if each.campaign_key is not None:
                standing = self._standing.get((workspace_id, each.campaign_id))
                if standing is None:
                    return None
                if standing != each.campaign_key:
                    others[place] = standing
        return others

    def register(self, database: Database, workspace_id: int, events: Sequence[Event]) -> dict[int, str]:
        """Register the keys of events, in their order, as far as they are not known; return what `others` does."""
        while (others := self.others(workspace_id, events)) is None:
            known = self._standing
            keys = dict.fromkeys(
                each.campaign_key
                for each in events
                if each.campaign_key is not None and (workspace_id, each.campaign_id) not in known
            )
            if len(known) + len(keys) > MOST_KNOWN:
                known.clear()
            standing = register(database, workspace_id, keys)
            known.update({(workspace_id, campaign_id): key for campaign_id, key in standing.items()})
        return others
