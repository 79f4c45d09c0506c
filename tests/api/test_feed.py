"""Shows that the event feed gives the whole log, in order, each event once, while it grows."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from falcon import testing

from domain import ledger
from domain.access import Access
from domain.events import canonical
from domain.recorder import Pool
from tests.support.examples import api_key, email_sent, parsed

FEED = "/api/v1/events/"
WRITERS, BATCHES = 8, 25


def page(client: testing.TestClient, key: dict[str, str], after: int, **query: Any) -> Any:
    """Return what comes behind a position."""
    answer = client.simulate_get(FEED, headers=key, params={"workspace_id": 340, "after": after, **query})
    assert answer.status_code == 200, answer.text
    return answer.json


def test_pages_that_are_read_while_eight_write_give_every_event_once_in_order(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    """Positions have no gap, whenever a page is read."""
    key = api_key(users, 340)

    def write(writer: int) -> None:
        for batch in range(BATCHES):
            events = [email_sent(n, id=f"{writer}-{batch}-{n}") for n in range(1, 5)]
            with pool.connection() as database:
                ledger.record(database, 340, parsed(*events))

    seen: list[dict[str, Any]] = []
    with ThreadPoolExecutor(WRITERS) as writers:
        writing = [writers.submit(write, writer) for writer in range(WRITERS)]
        while True:
            done = all(each.done() for each in writing)
            answer = page(client, key, len(seen), limit=7)
            seen += answer["events"]
            assert answer["position"] == len(seen) <= answer["head"]
            if done and not answer["events"]:
                break
        for each in writing:
            each.result()
    assert [each["position"] for each in seen] == list(range(1, WRITERS * BATCHES * 4 + 1))
    assert len({each["id"] for each in seen}) == len(seen)


def test_the_feed_has_events_in_canonical_form(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """In UTC with milliseconds, what is absent or as by default left out; so it can be posted again."""
    key = api_key(users, 340)
    posted = email_sent(1, source="crm", step=2, occurred_at="2026-11-01T11:00:00.5+01:00", sender_id=None)
    with pool.connection() as database:
        ledger.record(database, 340, parsed(posted))
    [event] = page(client, key, 0)["events"]
    recorded_at = event.pop("recorded_at")
    assert recorded_at.endswith("Z")
    assert len(recorded_at) == len("2026-11-01T10:00:00.000Z")
    assert event.pop("position") == 1
    assert event == {
        "id": "e-1",
        "source": "crm",
        "type": "EmailSent",
        "campaign_id": 123,
        "prospect_id": "p-1",
        "occurred_at": "2026-11-01T10:00:00.500Z",
        "step": 2,
    }
    assert canonical(parsed(event)[0]) == event


def test_beyond_the_head_there_is_nothing(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """The position stays where the reader is; the tag is the head's."""
    key = api_key(users, 340)
    assert page(client, key, 0) == {"events": [], "position": 0, "head": 0, "epoch": None}
    with pool.connection() as database:
        ledger.record(database, 340, parsed(email_sent(1)))
    beyond = page(client, key, 7)
    assert beyond == {"events": [], "position": 7, "head": 1, "epoch": beyond["epoch"]}
    query = {"workspace_id": 340}
    tag = client.simulate_get(FEED, headers=key, params=query).headers["etag"]
    has = {**key, "If-None-Match": tag}
    assert client.simulate_get(FEED, headers=has, params=query).status_code == 304
    with pool.connection() as database:
        ledger.record(database, 340, parsed(email_sent(2)))
    assert client.simulate_get(FEED, headers=has, params=query).status_code == 200


def test_an_event_that_cant_be_read_leaves_no_gap(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """An event of a newer version, or a damaged one, has an `error` in its place."""
    with pool.connection() as database:
        ledger.record(database, 340, parsed(email_sent(1), email_sent(2)))
        database.execute(
            "UPDATE stored_events SET topic = 'domain.events:Later' WHERE position = 1 AND workspace_id = 340"
        )
    answer = page(client, api_key(users, 340), 0)
    assert [each["position"] for each in answer["events"]] == [1, 2]
    assert answer["events"][0]["error"] == "unknown topic domain.events:Later"
    assert "error" not in answer["events"][1]
