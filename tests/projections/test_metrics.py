"""Shows what each metric means, and that the meaning does not change without its version."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import Event
from projections.building.batch import EventsByJourney, sort
from projections.journeys import campaign, columns, quarter_hours
from projections.journeys.columns import EventColumns, PackedEvents
from projections.journeys.contributions import contributions
from projections.metrics import FOLD_VERSION, KINDS, MEASURES, TOUCHES, analytics, reply_time_in_words
from tests.support import reference
from tests.support.catalogue import PINNED
from tests.support.examples import parsed
from tests.support.stored_events import log_of

CORPUS = Path(__file__).parents[2] / "examples" / "activity.json"


@given(total=st.integers(0, 10**13), turns=st.integers(0, 10**5))
def test_words_are_those_of_exact_fractions(total: int, turns: int) -> None:
    """Integers alone give what exact fractions give."""
    assert reply_time_in_words(total, turns) == reference.reply_time_in_words(total, turns)


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        (0, "0 seconds"),
        (499, "0 seconds"),
        (500, "1 second"),
        (45_000, "45 seconds"),
        (59_499, "59 seconds"),
        (59_500, "1 minute"),
        (89_999, "1 minute"),
        (90_000, "2 minutes"),
        (59 * 60_000 + 36_000, "1 hour"),
        (5 * 3_600_000, "5 hours"),
        (23 * 3_600_000 + 42 * 60_000, "1 day"),
        (36 * 3_600_000 - 1, "1 day"),
        (36 * 3_600_000, "2 days"),
    ],
)
def test_a_reply_time_is_rounded_half_up_once(mean: int, words: str) -> None:
    """Each unit is rounded from the exact mean; what rounds up to the next unit is shown in it."""
    assert reply_time_in_words(mean * 3, 3) == words


def test_no_turn_has_no_reply_time() -> None:
    """An average over nothing is null, not zero."""
    assert reply_time_in_words(0, 0) is None


def test_the_answer_has_its_nine_keys_in_order() -> None:
    """Callers may rely on the order of the keys."""
    assert list(analytics([0] * len(MEASURES))) == [
        "amount_of_prospects",
        "amount_of_emails_sent",
        "amount_of_invites_sent",
        "amount_of_invites_accepted",
        "amount_of_linkedin_messages_sent",
        "amount_of_prospects_contacted",
        "amount_of_replies",
        "amount_of_interested",
        "average_reply_time",
    ]


# A journey and a campaign beside the corpus, of which something is set right.
SET_RIGHT: list[dict[str, Any]] = [
    {"id": str(number), "occurred_at": f"2026-11-01T{number:02}:00:00Z", "campaign_id": 7, **event}  # type: ignore[dict-item]
    for number, event in enumerate(
        [
            {"type": "EmailSent", "prospect_id": "a", "step": 1},
            {"type": "ReplyReceived", "prospect_id": "a"},
            {"type": "ReplyWasAutomatic", "prospect_id": "a"},
            {"type": "ReplyReceived", "prospect_id": "a"},
            {"type": "ProspectInterested", "prospect_id": "a"},
            {"type": "ProspectNeutral", "prospect_id": "a"},
            {"type": "EventRetracted", "prospect_id": "a", "retracts": {"id": "3"}},
            {"type": "CampaignCreated", "name": "A", "timezone": "Europe/Berlin"},
            {"type": "CampaignRenamed", "name": "B"},
            {"type": "EventRetracted", "retracts": {"id": "8"}},
        ]
    )
]


def columns_of(*events: Event) -> EventColumns:
    """Return events as columns, journey by journey; an event's position is its place among the arguments, from 1 on."""
    return columns.unpack(stored_of(sort(log_of(*events), ()).events))


def stored_of(journeys: EventsByJourney) -> list[tuple[bytes, bytes]]:
    """Return the columns of journeys as they are stored."""
    return list(zip(journeys.stored(), journeys.details, strict=True))


def test_the_fold_of_a_fixed_corpus_is_that_of_its_version() -> None:
    """Where this fails, the meaning of stored rows has changed: raise FOLD_VERSION, then pin the new digest."""
    batch = sort(log_of(*parsed(*json.loads(CORPUS.read_text(encoding="utf-8"))["events"], *SET_RIGHT)), ())
    stored = stored_of(batch.events)
    abouts = [(campaign_id, campaign.pack(history)) for campaign_id, history in batch.campaigns.items()]
    journeys, packed, *others, words = unpacked = columns.unpack(stored)
    arrays = [column.tolist() for column in (journeys, packed.data, *others)]
    places, values, dating = contributions(journeys, packed)
    contributed = sorted(zip(places.tolist(), values.tolist(), dating.tolist(), strict=True))
    quarters = unpacked.instants[dating] // quarter_hours.QUARTER_MS
    days = quarter_hours.packed(quarter_hours.summed([quarter_hours.cells(journeys[dating], quarters, places, values)]))
    digest = hashlib.sha256(repr((stored, abouts, arrays, words, contributed, days)).encode()).hexdigest()
    assert (FOLD_VERSION, digest) == PINNED, f"raise FOLD_VERSION, and pin {digest}"


def test_a_contribution_names_the_event_that_dates_it() -> None:
    """Counted events date themselves, prospects their latest addition, a contact the first touch, a turn its reply."""
    history = [
        ("EmailSent", "10:00"),
        ("ProspectAdded", "09:00"),
        ("ProspectAdded", "11:00"),
        ("EmailSent", "12:00"),
        ("ReplyReceived", "13:00"),
        ("ProspectInterested", "14:00"),
    ]
    events = parsed(
        *(
            {"id": at, "type": kind, "campaign_id": 1, "prospect_id": "a", "occurred_at": f"2026-11-01T{at}:00Z"}
            for kind, at in history
        )
    )
    unpacked = columns_of(*events)
    parts = zip(*contributions(unpacked.journeys, unpacked.events), strict=True)
    dated = {(MEASURES[place].name, history[unpacked.positions[event] - 1][1], value) for place, value, event in parts}
    assert dated == {
        ("amount_of_emails_sent", "10:00", 1),
        ("amount_of_emails_sent", "12:00", 1),
        ("amount_of_prospects", "11:00", 1),
        ("amount_of_prospects_contacted", "10:00", 1),
        ("amount_of_replies", "13:00", 1),
        ("amount_of_prospects_replied", "13:00", 1),
        ("amount_of_interested", "14:00", 1),
        ("amount_of_timed_replies", "13:00", 1),
        ("reply_time_ms", "13:00", 3_600_000),
    }


def test_events_of_a_journey_are_in_the_domains_order() -> None:
    """At the same instant touches come first, then types by name, then values with none first, then the position.

    But of replies alike an automatic one comes before one that may still turn out to be.
    """
    at = {"campaign_id": 1, "prospect_id": "a", "occurred_at": "2026-11-01T09:00:00Z"}
    in_order: list[dict[str, Any]] = [
        {"type": "EmailSent"},
        {"type": "EmailSent", "step": 0},
        {"type": "EmailSent", "step": 0, "sender_id": "s"},
        {"type": "EmailSent", "step": 0, "sender_id": "s", "variant": "A"},
        {"type": "LinkedInMessageSent"},
        {"type": "InviteAccepted"},
        {"type": "ReplyReceived", "automatic": True},
        {"type": "ReplyReceived"},
        {"type": "ReplyReceived", "channel": "email"},
    ]
    events = parsed(*({"id": str(number), **at, **event} for number, event in enumerate(in_order)))
    assert columns_of(*events).positions.tolist() == list(range(1, 10))
    assert columns_of(*events[:6], *reversed(events[6:8]), *events[8:]).codes[6:8].tolist() == [14, 13]
    assert columns_of(*reversed(events)).positions.tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert columns_of(*events, events[0], events[7]).positions.tolist() == [1, 10, 2, 3, 4, 5, 6, 7, 8, 11, 9]


def test_the_fold_sorts_as_the_journeys_are_read() -> None:
    """At the same instant touches come first, then kinds by name, whatever their codes; flags go with their events."""
    codes = np.arange(len(KINDS))[::-1]
    journeys, events, new = columns.in_order(codes * 0, PackedEvents.of(codes * 0 + 7, codes), codes == 0)
    assert [KINDS[code] for code in events.codes] == sorted(KINDS, key=lambda kind: (kind not in TOUCHES, kind))
    assert (set(journeys.tolist()), set(events.instants.tolist())) == ({0}, {7})
    assert events.codes[new].tolist() == [0]
