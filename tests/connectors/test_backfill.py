"""Shows that what a tool's API lists of the past becomes the very events that its hook has posted."""

import json
from typing import Any

import pytest

from connectors.backfill import ExportError, backfill
from connectors.connection import Connection
from connectors.payload import Event
from connectors.providers import PROVIDERS
from tests.connectors.cases import CONNECTION, KEY, examples_of, sorted_events

WITH_EXPORT = [name for name, provider in PROVIDERS.items() if provider.export]


def listed(name: str, body: Any) -> Any:
    """Return a payload as the tool's API lists it."""
    if name == "instantly":
        return {"id": "w-1", "organization_id": "ws-1", "success": False, "retry_count": 2, "payload": body}
    return body


def page(name: str, rows: list[Any]) -> Any:
    """Return a page of the tool's API."""
    return {"items": rows, "next_starting_after": "w-1"} if name == "instantly" else rows


def hooked(name: str) -> list[Event]:
    """Return the events of all of a hook's examples."""
    return [event for example in examples_of(name) for event in example.translated(PROVIDERS[name]).events]


def unique(events: list[Event]) -> list[Event]:
    """Return each event once, in an order of its own."""
    return sorted_events([json.loads(one) for one in {json.dumps(event, sort_keys=True) for event in events}])


def test_these_have_an_export_of_a_known_format() -> None:
    assert WITH_EXPORT == ["instantly", "lemlist", "reply.io"]


@pytest.mark.parametrize("name", WITH_EXPORT)
def test_hook_and_export_give_the_same_events_with_the_same_ids(name: str) -> None:
    """One page, several pages a line each, and a retried delivery that is listed twice."""
    bodies = [example.body for example in examples_of(name)]
    rows = [listed(name, body) for body in bodies if isinstance(body, dict)]
    whole = json.dumps(page(name, [*rows, *rows[:5]]), indent=1).encode()
    lines = b"\n".join(json.dumps(page(name, rows[start : start + 4])).encode() for start in range(0, len(rows), 4))
    single = b"\n\n".join(json.dumps(row).encode() for row in rows)
    tenant = {"instantly": "ws-1", "lemlist": "tea_1", "reply.io": "8"}[name]
    connection = Connection(prospect_key=KEY, tenant=tenant)
    for file in (whole, lines, *([single] if name != "instantly" else [])):
        assert unique(backfill(PROVIDERS[name], file, connection).events) == unique(hooked(name))


def test_the_log_of_reply_io_has_names_of_its_own() -> None:
    """Its rows name no team, so the team is handed in; the time is the event's."""
    posted = {
        "event": {"id": "1", "type": "email_replied", "date": "2024-03-08T12:00:00.000Z", "team_id": 8},
        "contact_fields": {"id": 12345},
        "sequence_fields": {"id": 67890, "step": 1},
        "data": {"emailAccountId": 22222},
    }
    row = {
        "event": {"id": "550e", "type": "email_replied", "timestamp": "2024-03-08T12:00:00Z"},
        "subscription": {"id": "550f", "workspaceId": "78f2b6"},
        "payload": {
            "contact": {"id": 12345, "email": "p@example.org"},
            "sequence": {"id": 67890, "stepNumber": 1},
            "data": {"replyMessageId": "m", "emailAccountId": 22222},
        },
        "attempt": 1,
    }
    own = Connection(prospect_key=KEY, tenant="8")
    assert backfill(PROVIDERS["reply.io"], json.dumps([row]).encode(), own).events == (
        backfill(PROVIDERS["reply.io"], json.dumps([posted]).encode(), CONNECTION).events
    )
    with pytest.raises(ExportError, match=r"event\.team_id"):
        backfill(PROVIDERS["reply.io"], json.dumps([row]).encode(), CONNECTION)


def test_an_exported_row_without_a_time_is_ignored() -> None:
    row = {"payload": {"event_type": "campaign_completed", "campaign_id": "u", "workspace": "w"}}
    translation = backfill(PROVIDERS["instantly"], json.dumps({"items": [row]}).encode(), CONNECTION)
    assert not translation.events
    assert translation.ignored == {("campaign_completed", "without a time"): 1}


@pytest.mark.parametrize("file", [b"", b"id,date\n1,2", b"{]", b"\xff"])
def test_a_file_that_is_no_json_is_an_error(file: bytes) -> None:
    with pytest.raises(ExportError, match="expected JSON"):
        backfill(PROVIDERS["lemlist"], file, Connection(prospect_key=KEY, tenant="t"))


def test_a_provider_without_a_known_export_is_an_error() -> None:
    with pytest.raises(ExportError, match="smartlead has no export"):
        backfill(PROVIDERS["smartlead"], b"[]", CONNECTION)
