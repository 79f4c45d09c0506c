"""The log, for its readers: in order, a page at a time, without gaps."""

from collections.abc import Callable
from typing import NamedTuple

from psycopg.sql import SQL, Composed

from domain.citus import Here, forms
from domain.ledger import LogRow
from domain.recorder import Database
from projections import marks
from projections.marks import MARK
from projections.queries.caller import CALLER, SEEN, Asked, Credentials, Sealed, rows_of

# One snapshot: positions are assigned under a lock that lasts until the commit, so a page has no gap.
_PAGE = SQL("""
{seen}
SELECT {caller}, s.workspace_id, coalesce(h.head, 0), h.epoch, coalesce(m.mark, 0) # coalesce(p.forgotten, 0),
    e.position, e.topic, e.state, floor(extract(epoch FROM e.recorded_at) * 1000)::bigint
FROM caller AS c
LEFT JOIN seen AS s ON true
LEFT JOIN log_head AS h ON h.workspace_id = s.workspace_id {h}
LEFT JOIN projection AS p ON p.workspace_id = s.workspace_id {p}
LEFT JOIN LATERAL (
    SELECT {mark} AS mark FROM stored_events AS e
    WHERE e.workspace_id = s.workspace_id {e} AND e.position = h.head LIMIT 1
) AS m ON true
LEFT JOIN LATERAL (
    SELECT position, topic, state, recorded_at FROM stored_events AS e
    WHERE e.workspace_id = s.workspace_id {e} AND position > %(after)s ORDER BY position LIMIT %(limit)s
) AS e ON true
ORDER BY e.position
""")
_ROWS = SQL("""
SELECT position, topic, state, floor(extract(epoch FROM recorded_at) * 1000)::bigint FROM stored_events
WHERE workspace_id = %(workspace_id)s AND position > %(after)s ORDER BY position LIMIT %(limit)s
""")

Row = tuple[LogRow, int]


def _page(here: Here) -> Composed:
    return _PAGE.format(seen=SEEN, caller=CALLER, mark=MARK, h=here("h"), p=here("p"), e=here("e"))


_FORMS = forms(_page)


class Page(NamedTuple):
    """A stretch of a workspace's log, with the times of recording (ms, UTC), and the log's head.

    There is no epoch before the first event. The mark is that of the event at the head, another one after a
    prospect was forgotten.
    """

    workspace_id: int
    head: int
    epoch: int | None
    mark: int
    rows: list[Row]


def page(database: Database, credentials: Credentials, asked: Asked, after: int, limit: int) -> Sealed[Page]:
    """Return the events after a position of the asked log, at most `limit`."""
    rows = rows_of(database, _FORMS, credentials, asked, {"after": after, "limit": limit})
    if not rows or rows[0][4] is None:
        return Sealed(rows[0] if rows else None, None)
    events = [(LogRow(*row[8:11]), row[11]) for row in rows if row[8] is not None]
    return Sealed(rows[0], Page(rows[0][4], rows[0][5], rows[0][6], rows[0][7], events))


def rows_of_copy(
    copy: Database, mark_at: Callable[[int, int], int], page: Page, after: int, limit: int
) -> list[Row] | None:
    """Return the events after a position of a page's log, at most `limit`, as a copy of the database has them.

    None where the copy lacks some, has those of another past, or does not know yet that somebody was forgotten:
    `mark_at` takes a workspace and a position, and returns the mark there of the database itself.
    """
    number = min(limit, page.head - after)
    if number <= 0:
        return []
    mark = marks.at(copy, page.workspace_id, after + number)  # before the rows, which may only be newer
    values = {"workspace_id": page.workspace_id, "after": after, "limit": number}
    with copy.cursor(binary=True) as cursor:
        rows = cursor.execute(_ROWS, values).fetchall()
    if len(rows) < number or mark != mark_at(page.workspace_id, after + number):
        return None
    return [(LogRow(*row[:3]), row[3]) for row in rows]
