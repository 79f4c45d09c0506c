"""Shows that the numbers are a function of the set of events: no order, repeat, cut or replay changes one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain import ledger
from domain.recorder import Pool
from projections.building import replay, verification
from projections.building.batch import sort
from projections.building.projector import Projector
from projections.journeys import campaign
from tests.support import reference
from tests.support.examples import WORKED_EXAMPLE_ANALYTICS, parsed, worked_example
from tests.support.histories import deliveries, histories, workspaces
from tests.support.properties import on_the_database
from tests.support.read_models import live_rows, project_all, shown
from tests.support.stored_events import log_of


@on_the_database()
@given(delivery=deliveries(), batch=st.sampled_from([1, 3, 7, 1000]))
def test_any_delivery_gives_the_numbers_of_the_naive_reference_live_and_replayed(
    pool: Pool, delivery: tuple[list[dict[str, Any]], list[list[dict[str, Any]]]], batch: int
) -> None:
    """Whatever the order, the repeats and the cuts of requests and of projected batches."""
    history, batches = delivery
    workspace_id = next(workspaces)
    with pool.connection() as database:
        for events in batches:
            ledger.record(database, workspace_id, parsed(*events))
            Projector(pool, batch=batch).step()
    project_all(pool, batch)
    assert shown(pool, workspace_id) == reference.campaigns(history)
    with pool.connection() as database:
        live = live_rows(database, workspace_id)
        assert verification.verify(pool, workspace_id, lambda _: None) == []
        replay.replay(pool, workspace_id, lambda _: None)
        # Positions differ between deliveries, but not between live and replay of the same log: byte for byte.
        assert live_rows(database, workspace_id) == live


@on_the_database()
@given(one=histories, other=histories)
def test_two_workspaces_with_the_same_ids_never_touch_each_other(
    pool: Pool, one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    """The same campaigns, prospects, event ids and positions in two workspaces stay two things."""
    first, second = next(workspaces), next(workspaces)
    with pool.connection() as database:
        for place in range(0, max(len(one), len(other)), 5):
            for workspace_id, history in ((first, one), (second, other)):
                ledger.record(database, workspace_id, parsed(*history[place : place + 5]))
    project_all(pool)
    assert shown(pool, first) == reference.campaigns(one)
    assert shown(pool, second) == reference.campaigns(other)
    if one:
        replay.replay(pool, first, lambda _: None)
    assert shown(pool, first) == reference.campaigns(one)
    assert shown(pool, second) == reference.campaigns(other)


def test_the_worked_example_gives_its_numbers(pool: Pool) -> None:
    """Three prospects, thirteen events, as the domain's page lists them."""
    with pool.connection() as database:
        ledger.record(database, 340, parsed(*worked_example()))
    project_all(pool)
    [campaign] = shown(pool, 340)
    assert campaign == {"id": 123, "name": "Campaign 123", "status": "UNKNOWN", "analytics": WORKED_EXAMPLE_ANALYTICS}
    assert list(campaign["analytics"]) == list(WORKED_EXAMPLE_ANALYTICS)


def test_a_late_touch_moves_the_start_of_a_turn(pool: Pool) -> None:
    """A touch that arrives after the reply it precedes still shortens the turn."""
    first, reply, late = (
        {"id": str(number), "type": kind, "campaign_id": 1, "prospect_id": "a", "occurred_at": f"2026-11-01T{at}:00Z"}
        for number, (kind, at) in enumerate(
            [("EmailSent", "09:00"), ("ReplyReceived", "13:00"), ("EmailSent", "11:00")]
        )
    )
    with pool.connection() as database:
        ledger.record(database, 1, parsed(first, reply))
        project_all(pool)
        assert shown(pool, 1)[0]["analytics"]["average_reply_time"] == "4 hours"
        ledger.record(database, 1, parsed(late))
    project_all(pool)
    assert shown(pool, 1)[0]["analytics"]["average_reply_time"] == "2 hours"


def test_the_changed_then_the_greater_of_simultaneous_names_counts() -> None:
    """A change stands over a creation, whatever its name; of two changes the greater by code points stands."""
    at = {"campaign_id": 1, "occurred_at": "2026-11-01T09:00:00Z"}
    created, z, e_acute = parsed(
        {"id": "1", "type": "CampaignCreated", "name": "ü", **at},
        {"id": "2", "type": "CampaignRenamed", "name": "z", **at},
        {"id": "3", "type": "CampaignRenamed", "name": "é", **at},
    )
    for order in ((created, z, e_acute), (e_acute, z, created), (z, created, e_acute)):
        about = campaign.about(sort(log_of(*order), ()).campaigns[1])
        assert about.name is not None
        assert about.name[2] == "é"
        assert about.status is not None
        assert about.status[2] == "DRAFT"
