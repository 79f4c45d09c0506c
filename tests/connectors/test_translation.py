"""Shows that posts of the tools become the right events, each once, in whatever order and how often it comes."""

import json
from collections import Counter
from contextlib import suppress
from itertools import chain
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.connection import Connection
from connectors.payload import Event
from connectors.providers import PROVIDERS
from connectors.reading import find
from connectors.table import INTERESTED, MEETING, Provider
from connectors.translation import UNNAMED, translate
from domain.parsing import RejectedError
from tests.connectors.cases import (
    CONNECTION,
    EXAMPLES,
    HOUR_OF_RECEIPT,
    KEY,
    RECEIVED_AT,
    Example,
    checked,
    examples_of,
    hashed,
    sorted_events,
)
from tests.support import reference

ALL = {name: examples_of(name) for name in PROVIDERS}
EVERY = [example for examples in ALL.values() for example in examples]
MAPPED = [example for example in EVERY if example.events]
UNUSED = [example for example in EVERY if not example.events]


def label(example: Example) -> str:
    """Name an example in the list of tests."""
    payload = example.body[0] if isinstance(example.body, list) else example.body
    return f"{example.provider}-{find(payload, PROVIDERS[example.provider].event)}"


def test_every_provider_has_examples_and_every_file_a_provider() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.json")} == set(PROVIDERS)


@pytest.mark.parametrize("example", MAPPED, ids=label)
def test_a_delivery_becomes_its_events(example: Example) -> None:
    """The events are as they have been worked out by hand, ids too, and nothing is counted beside them."""
    translation = example.translated(PROVIDERS[example.provider])
    assert sorted_events(translation.events) == sorted_events(example.events)
    assert not translation.ignored
    assert not translation.malformed
    assert translation.received.total() == 1


@pytest.mark.parametrize("example", MAPPED, ids=label)
def test_every_event_is_one_of_the_domain(example: Example) -> None:
    for event in example.translated(PROVIDERS[example.provider]).events:
        assert "workspace_id" not in event
        assert ("campaign_id" in event) != ("campaign_key" in event)
        assert checked(event)["id"] == event["id"]


@pytest.mark.parametrize("example", UNUSED, ids=label)
def test_what_becomes_nothing_is_counted_by_name_and_reason(example: Example) -> None:
    translation = example.translated(PROVIDERS[example.provider])
    assert translation.events == []
    assert translation.ignored == Counter([example.ignored] if example.ignored else [])
    assert translation.malformed == Counter([example.malformed] if example.malformed else [])


@pytest.mark.parametrize("example", EVERY, ids=label)
def test_a_retry_and_a_second_hook_post_the_same_events(example: Example) -> None:
    """Volatile fields, the order of fields and unknown ones make no other event."""
    retried = example.retried()
    assert retried != example.body or example.malformed
    provider = PROVIDERS[example.provider]
    once, again = example.translated(provider), example.translated(provider, body=retried)
    assert (again.events, again.ignored, again.malformed) == (once.events, once.ignored, once.malformed)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_every_event_of_a_table_has_an_example_and_its_aliases_are_the_same(provider: Provider) -> None:
    """A name, in whatever case, is as good as its aliases: what comes twice under two names is one event."""
    shown: dict[str, Example] = {}
    for example in ALL[provider.name]:
        payload = example.body[0] if isinstance(example.body, list) else example.body
        name = find(
            json.loads(payload["Message"]) if "Message" in payload and example.events else payload, provider.event
        )
        if example.events and isinstance(name, str):
            shown.setdefault(name.casefold(), example)
    for names in provider.events:
        kind, *aliases = names.split(" | ")
        example = shown[kind.casefold()]
        once = example.translated(provider)
        for alias in (kind.swapcase(), *aliases):
            body = json.loads(json.dumps(example.body).replace(f'"{_written(example, provider)}"', f'"{alias}"'))
            assert body != example.body or "Message" in body
            assert example.translated(provider, body=body).events == once.events


def _written(example: Example, provider: Provider) -> str:
    payload = example.body[0] if isinstance(example.body, list) else example.body
    return str(find(payload, provider.event))


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_what_is_ignored_on_purpose_has_a_reason_and_no_rule(provider: Provider) -> None:
    assert all(provider.ignored.values())
    assert not {name.casefold() for name in provider.ignored} & provider.rules.keys()
    for name, why in provider.ignored.items():
        body = json.dumps(_damaged({}, provider.event.split(" | ")[0].split("."), name.replace("*", "xyz")))
        translation = translate(provider, body.encode(), CONNECTION, RECEIVED_AT)
        assert [*translation.ignored] == [(name.replace("*", "xyz"), why)]


def distinct(examples: list[Example]) -> list[Example]:
    """Return the examples whose events no other example contradicts: some show two spellings of one message."""
    events: dict[tuple[object, object], str] = {}
    chosen = []
    for example in examples:
        own = {(event["source"], event["id"]): json.dumps(event, sort_keys=True) for event in example.events}
        if all(events.get(identity, event) == event for identity, event in own.items()):
            events |= own
            chosen.append(example)
    return chosen


DISTINCT = distinct(MAPPED)
SOMETIMES = 0.4
ALL_EVENTS = {json.dumps(event, sort_keys=True) for example in DISTINCT for event in example.events}


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_deliveries_in_any_order_and_number_give_one_set_of_events(random: Random) -> None:
    """All of them at least once, some again, some by a second hook, some in one list, junk in between."""
    deliveries = [*DISTINCT, *random.choices([*DISTINCT, *UNUSED], k=random.randrange(60))]
    random.shuffle(deliveries)
    events: list[Event] = []
    for example in deliveries:
        body = example.retried() if random.random() < SOMETIMES else example.body
        if isinstance(body, list) and random.random() < SOMETIMES:
            body = [*body, "junk", *body]
        events += example.translated(PROVIDERS[example.provider], body=body).events
    assert {json.dumps(event, sort_keys=True) for event in events} == ALL_EVENTS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _damaged(value: Any, path: list[str], junk: Any) -> Any:
    """Return the value with junk at the path."""
    if not path:
        return junk
    place = value if isinstance(value, dict) else {}
    return {**place, path[0]: _damaged(place.get(path[0]), path[1:], junk)}


@given(st.sampled_from(MAPPED), JSON, st.data())
def test_junk_in_any_field_never_breaks_a_translation(example: Example, junk: Any, data: st.DataObject) -> None:
    """Whatever stands in a field: events that the domain takes or refuses with a reason, or a count of what is none."""
    payload = example.body[0] if isinstance(example.body, list) else example.body
    paths = [[name] for name in payload]
    paths += [[name, inner] for name, value in payload.items() if isinstance(value, dict) for inner in value]
    body = _damaged(payload, data.draw(st.sampled_from(paths)), junk)
    translation = example.translated(PROVIDERS[example.provider], body=body)
    assert translation.events or translation.ignored or translation.malformed
    for event in translation.events:
        with suppress(RejectedError):
            checked(event)


@given(st.sampled_from(list(PROVIDERS)), st.binary(max_size=200))
def test_a_body_that_is_no_json_is_counted(name: str, body: bytes) -> None:
    translation = translate(PROVIDERS[name], b"{!" + body, CONNECTION, RECEIVED_AT)
    assert translation.malformed == {(UNNAMED, "body: is no JSON"): 1}


@pytest.mark.parametrize("body", [b"", b"null", b"7", b'"x"', b"\xff", b'{"event_type": "\\ud800"}', b"[" * 100_000])
def test_odd_bodies_are_counted(body: bytes) -> None:
    translation = translate(PROVIDERS["smartlead"], body, CONNECTION, RECEIVED_AT)
    assert not translation.events
    assert translation.malformed.total() + translation.ignored.total() == 1


def test_a_list_in_one_body_is_many_deliveries_and_names_the_campaign_once() -> None:
    bodies = [example.body[0] for example in ALL["woodpecker"] if example.events]
    body = json.dumps(bodies * 2).encode()
    translation = translate(PROVIDERS["woodpecker"], body, CONNECTION, RECEIVED_AT)
    assert translation.received.total() == 2 * len(bodies)
    events = list(chain.from_iterable(example.events for example in ALL["woodpecker"]))
    assert {json.dumps(event, sort_keys=True) for event in events} == {
        json.dumps(event, sort_keys=True) for event in translation.events
    }
    assert sum(event["type"] == "CampaignRenamed" for event in translation.events) == 2  # two hours


def smartlead(**fields: Any) -> dict[str, Any]:
    """Return a payload of Smartlead."""
    return {"event_type": "EMAIL_SENT", "campaign_id": 4711, "to_email": "p@example.org", "stats_id": "s", **fields}


def events_of(provider: str, body: Any, connection: Connection = CONNECTION, at: int = RECEIVED_AT) -> list[Event]:
    """Return the events of a body."""
    return translate(PROVIDERS[provider], json.dumps(body).encode(), connection, at).events


STATUS = {
    "event_type": "CAMPAIGN_STATUS_CHANGED",
    "campaign_id": 4711,
    "campaign_name": "N",
    "current_status": "PAUSED",
}


def test_a_status_without_a_time_has_the_time_of_receipt_and_one_id_an_hour() -> None:
    """A repeat within the hour is a conflict, so that the first stands; a name is not taken from it."""
    first, repeat, later = (
        events_of("smartlead", STATUS, at=at) for at in (RECEIVED_AT, RECEIVED_AT + 60_000, RECEIVED_AT + 3_600_000)
    )
    assert [event["type"] for event in first] == ["CampaignStatusChanged"]
    assert first[0]["occurred_at"] == "2026-03-06T10:30:00.000Z"
    assert repeat[0]["id"] == first[0]["id"]
    assert later[0]["id"] != first[0]["id"]


def test_a_status_with_a_time_keeps_it() -> None:
    events = events_of("smartlead", {**STATUS, "event_timestamp": "2026-03-03T09:00:00Z"})
    assert {event["occurred_at"] for event in events} == {"2026-03-03T09:00:00.000Z"}
    assert (
        events_of("smartlead", {**STATUS, "event_timestamp": "2026-03-03T09:00:00Z"}, at=HOUR_OF_RECEIPT - 1) == events
    )


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-02T08:00:00.123Z",
        "2026-03-02T08:00:00.1239999Z",
        "2026-03-02t09:00:00.123+01:00",
        "2026-03-02T09:00:00.123+0100",
        "2026-03-02 08:00:00.123456+00:00",
        "2026-03-02 08:00:00.123+00",
        1772438400.123,
        1772438400123,
        "1772438400.1239",
        "1772438400123",
        " 2026-03-02T08:00:00.123Z ",
    ],
)
def test_every_form_of_a_time_is_the_same_instant(time: object) -> None:
    event = events_of("smartlead", smartlead(event_timestamp=time))[0]
    assert event["occurred_at"] == "2026-03-02T08:00:00.123Z"


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-02T08:00:00",
        "2026-03-02",
        "noon",
        "9" * 500,
        "2026-13-02T08:00:00Z",
        True,
        [],
        {},
        1e300,
        10**40,
        "0000-",
    ],
)
def test_a_time_that_names_no_instant_is_malformed_and_never_guessed(time: object) -> None:
    translation = translate(
        PROVIDERS["smartlead"], json.dumps(smartlead(event_timestamp=time)).encode(), CONNECTION, RECEIVED_AT
    )
    assert not translation.events
    assert [name for name, _ in translation.malformed] == ["EMAIL_SENT"]


def test_names_of_a_campaign_have_one_id_an_hour() -> None:
    """Every payload carries it: within an hour it is a duplicate, another name or hour is another event."""
    minutes = ("09:00", "09:59", "10:00")
    bodies = [smartlead(campaign_name="N", event_timestamp=f"2026-03-02T{at}:00Z", stats_id=at) for at in minutes]
    named = [event for body in bodies for event in events_of("smartlead", body) if event["type"] == "CampaignRenamed"]
    assert named[0] == named[1]
    assert [event["occurred_at"] for event in named[1:]] == ["2026-03-02T09:00:00.000Z", "2026-03-02T10:00:00.000Z"]
    assert len({event["id"] for event in named}) == 2
    long = events_of("smartlead", smartlead(campaign_name="x" * 300, event_timestamp="2026-03-02T09:00:00Z"))
    assert checked(long[1])["name"] == "x" * 256


def test_campaigns_of_two_tools_are_two_and_a_connection_may_keep_the_tools_own_numbers() -> None:
    body = smartlead(event_timestamp="2026-03-02T09:00:00Z")
    own = Connection(prospect_key=KEY, own_campaign_ids=True)
    assert events_of("smartlead", body)[0]["campaign_key"] == "smartlead:4711"
    event = events_of("smartlead", body, own)[0]
    assert event["campaign_id"] == 4711
    assert "campaign_key" not in event
    assert event["id"] == events_of("smartlead", body)[0]["id"]
    uuid = {"event_type": "campaign_completed", "campaign_id": "u-1", "timestamp": "2026-03-02T09:00:00Z"}
    assert events_of("instantly", uuid, own)[0]["campaign_key"] == "instantly:u-1"
    for none in (-1, 2**63):
        assert "campaign_key" in events_of("smartlead", {**body, "campaign_id": none}, own)[0]


def test_prospects_are_plain_where_a_team_wants_that() -> None:
    """An address that is longer than an id may be is hashed all the same; its id needs no address either way."""
    plain = Connection(prospect_key=KEY, plain_prospects=True)
    at = "2026-03-02T09:00:00Z"
    assert (
        events_of("smartlead", smartlead(to_email=" P@Example.ORG", event_timestamp=at), plain)[0]["prospect_id"]
        == "p@example.org"
    )
    long = f"{'x' * 130}@example.org"
    assert events_of("smartlead", smartlead(to_email=long, event_timestamp=at), plain)[0]["prospect_id"] == hashed(long)


@pytest.mark.parametrize("example", MAPPED, ids=label)
def test_no_address_and_no_text_reaches_an_event(example: Example) -> None:
    events = json.dumps(example.translated(PROVIDERS[example.provider]).events).lower()
    assert "example.org" not in events
    assert "private" not in events
    assert "ada" not in events


def test_settings_map_a_teams_own_labels() -> None:
    """In place of ours, too; a label that means nothing is counted as that."""
    own = Connection(prospect_key=KEY, categories={"booked": (MEETING, INTERESTED), "interested": ()})
    body = {
        "event_type": "LEAD_CATEGORY_UPDATED",
        "campaign_id": 1,
        "lead_email": "p@x.org",
        "event_timestamp": "2026-03-02T09:00:00Z",
    }
    booked = events_of("smartlead", {**body, "lead_category": {"new_id": 7, "new_name": " Booked"}}, own)
    assert [event["type"] for event in booked] == ["MeetingBooked", "ProspectInterested"]
    assert booked[1]["id"] == f"{booked[0]['id']}/2"
    assert not events_of("smartlead", {**body, "lead_category": {"new_id": 1, "new_name": "Interested"}}, own)
    label_event = {
        "event_type": "Booked",
        "campaign_id": "u",
        "lead_email": "p@x.org",
        "timestamp": "2026-03-02T09:00:00Z",
    }
    assert [event["type"] for event in events_of("instantly", label_event, own)] == [
        "MeetingBooked",
        "ProspectInterested",
    ]


def test_a_name_that_is_counted_is_cut() -> None:
    """Whoever knows the URL can send any name, so it is shown as errors show values."""
    translation = translate(
        PROVIDERS["smartlead"], json.dumps({"event_type": "x" * 500}).encode(), CONNECTION, RECEIVED_AT
    )
    assert [len(name) for name, _ in translation.ignored] == [64]


def test_the_numbers_equal_those_of_a_worker_that_posts_the_same_events() -> None:
    """Three journeys, posted by Reply.io in disorder and twice, and once by a worker."""
    journeys: list[tuple[str, int, str, dict[str, Any]]] = [
        ("email_sent", 1, "2026-11-01T10:00:00Z", {"type": "EmailSent"}),
        ("email_sent", 1, "2026-11-03T10:00:00Z", {"type": "EmailSent"}),
        ("email_replied", 1, "2026-11-05T10:00:00Z", {"type": "ReplyReceived"}),
        ("email_replied", 1, "2026-11-05T11:00:00Z", {"type": "ReplyReceived"}),
        ("reply_categorized", 1, "2026-11-05T12:00:00Z", {"type": "ProspectInterested"}),
        ("linkedin_connection_request_sent", 2, "2026-11-01T10:00:00Z", {"type": "InviteSent"}),
        ("linkedin_connection_request_accepted", 2, "2026-11-02T10:00:00Z", {"type": "InviteAccepted"}),
        ("linkedin_message_sent", 2, "2026-11-02T11:00:00Z", {"type": "LinkedInMessageSent"}),
        ("linkedin_message_replied", 2, "2026-11-04T11:00:00Z", {"type": "ReplyReceived"}),
        ("email_sent", 3, "2026-11-01T10:00:00Z", {"type": "EmailSent"}),
        ("email_auto_reply", 3, "2026-11-01T10:01:00Z", {"type": "ReplyReceived", "automatic": True}),
    ]
    posted = [
        {
            "event": {"id": str(number), "type": kind, "date": at, "team_id": 8},
            "contact_fields": {"id": prospect},
            "sequence_fields": {"id": 123},
            "category_name": "Interested",
        }
        for number, (kind, prospect, at, _) in enumerate([*reversed(journeys), *journeys[::2]])
    ]
    own = Connection(prospect_key=KEY, own_campaign_ids=True)
    worker = [
        {"id": str(number), "campaign_id": 123, "prospect_id": str(prospect), "occurred_at": at, **fields}
        for number, (_, prospect, at, fields) in enumerate(journeys)
    ]
    hooked = reference.campaigns([event for body in posted for event in events_of("reply.io", body, own)])
    assert hooked == reference.campaigns(worker)
    assert hooked[0]["analytics"]["average_reply_time"] == "2 days"
    assert hooked[0]["analytics"]["amount_of_replies"] == 3
