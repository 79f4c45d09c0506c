"""`explain`: why a number is what it is, worked out from the log itself, so that it also checks the read model."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from psycopg.sql import SQL

from domain import ledger
from domain.events import Event, UndecodableError, decode
from domain.recorder import Database
from projections.building import set_aside
from projections.building.batch import sort
from projections.building.verification import one_snapshot
from projections.journeys import columns
from projections.journeys.columns import EventColumns
from projections.journeys.explanation import AVERAGE, EXPLAINED, amount_retracted, as_json, explain
from projections.metrics import FOLD_VERSION
from service import database
from service.commands.terminal import DONE, FAILED, Add, identifier, print_json, say, show, words
from service.connect import chosen_pool
from service.settings import Settings

_EVER = 2**62
_LIVE = SQL("""
SELECT p.position, p.fold_version, c.totals FROM projection AS p
LEFT JOIN campaign AS c ON c.workspace_id = p.workspace_id AND c.generation = p.generation AND c.campaign_id = %s
WHERE p.workspace_id = %s
""")


class _Log(NamedTuple):
    """A campaign's part of a log: its journeys, those who made them, and the events by position."""

    prospect_ids: list[str]
    columns: EventColumns
    events: dict[int, Event]
    retracted: int


def add_commands(add: Add) -> None:
    """Teach the parser this command."""
    added = add("explain", _explain, "tell why a campaign's numbers are what they are, from the log")
    added.add_argument("--workspace", metavar="ID", type=identifier, required=True, help="whose log")
    added.add_argument("--campaign", metavar="ID", type=identifier, required=True, help="which campaign")
    added.add_argument("--metric", metavar="NAME", choices=list(EXPLAINED), help="only this one: %(choices)s")
    added.add_argument("--prospect", metavar="ID", type=words, help="only what this one contributes")
    added.add_argument("--json", action="store_true", help="as JSON")


def _explain(arguments: argparse.Namespace, chosen: Settings) -> int:
    """Print what makes up a campaign's numbers up to the position that is projected; fail where they differ."""
    with (
        chosen_pool(chosen, database.BATCH_TIMEOUT) as pool,
        pool.connection() as connection,
        one_snapshot(connection),
    ):
        live = connection.execute(_LIVE, (arguments.campaign, arguments.workspace)).fetchone()
        if live is None:
            return say(f"workspace {arguments.workspace} is not projected yet", FAILED)
        position, version, totals = live
        try:
            log = _read(connection, arguments.workspace, arguments.campaign, position)
        except UndecodableError as error:
            return say(f"the log can't be read: {error}", FAILED)
    if not log.events and totals is None:
        return say(f"workspace {arguments.workspace} has no campaign {arguments.campaign}", FAILED)
    differing = []
    parts = []
    for metric in [arguments.metric] if arguments.metric else EXPLAINED:
        contributions = explain(log.prospect_ids, log.columns, metric, -_EVER, _EVER, at_first_touch=False)
        value = contributions.total
        if version == FOLD_VERSION and totals is not None and totals[EXPLAINED[metric]] != value:
            differing.append(f"{metric}: the read model says {totals[EXPLAINED[metric]]}, the log {value}")
        mine = [
            each for each in contributions.part(0, len(contributions)) if arguments.prospect in (None, each.prospect_id)
        ]
        parts.append({"metric": metric, "value": value, "contributions": [as_json(each, log.events) for each in mine]})
    if arguments.json:
        print_json({"position": position, "metrics": parts, "retracted": log.retracted})
    else:
        _print(parts)
        if log.retracted:
            events = "1 event" if log.retracted == 1 else f"{log.retracted} events"
            say(f"retracted, and so no part of it: {events}", DONE)
    for difference in differing:
        say(f"{difference}; `replay --workspace {arguments.workspace}` rebuilds it", FAILED)
    return FAILED if differing else DONE


def _read(connection: Database, workspace_id: int, campaign_id: int, upto: int) -> _Log:
    aside = set_aside.positions(connection, workspace_id)
    events: dict[int, Event] = {}
    rows = []
    for position, topic, state, key in ledger.scan(connection, workspace_id, after=0, upto=upto):
        if position in aside:
            continue
        event = decode(topic, state)
        if event.campaign_id == campaign_id:
            events[position] = event
            rows.append((position, topic, state, key))
    journeys = sort(rows, ()).events
    stored = list(zip(journeys.stored(), journeys.details, strict=True))
    prospect_ids = [prospect_id for _, prospect_id in journeys.keys]
    return _Log(prospect_ids, columns.unpack(stored), events, amount_retracted(stored))


def _print(parts: Sequence[dict[str, object]]) -> None:
    for each in parts:
        unit = " ms in all turns" if each["metric"] == AVERAGE else ""
        show(f"{each['metric']}: {each['value']}{unit}")
        for part in each["contributions"]:  # type: ignore[attr-defined]
            events = ", ".join(f"{event['type']} {event['id']} at {event['position']}" for event in part["events"])
            show(f"  {part['at']}  {part['value']:>12}  {part['prospect_id']}  {events}")
