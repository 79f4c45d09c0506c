"""Makes up histories for the properties: small worlds in which everything collides with everything."""

from itertools import count
from typing import Any

from hypothesis import strategies as st

from tests.support.reference import TOUCHES

_INSTANTS = [
    f"2026-11-0{day}T{hour:02}:00:00{fraction}Z" for day in (1, 2) for hour in (9, 10) for fraction in ("", ".001")
]
_PROSPECT_EVENTS = (
    *TOUCHES,
    "ProspectAdded",
    "ProspectRemoved",
    "InviteAccepted",
    "ReplyReceived",
    "ProspectInterested",
    "ProspectNotInterested",
    "ProspectNeutral",
    "ReplyWasAutomatic",
    "EmailOpened",
)
workspaces = count(1_000)  # each example gets a workspace of its own, so they need not share a fresh database


def _number(drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**event, "id": f"e-{number}"} for number, event in enumerate(drawn)]


_prospect_event = st.fixed_dictionaries(
    {
        "type": st.sampled_from(_PROSPECT_EVENTS),
        "campaign_id": st.sampled_from([1, 1, 2]),
        "prospect_id": st.sampled_from(["a", "a", "b", "é"]),
        "occurred_at": st.sampled_from(_INSTANTS),
    },
    optional={
        "step": st.sampled_from([0, 1, 2]),
        "sender_id": st.sampled_from(["s", "t"]),
        "variant": st.sampled_from(["A", "B"]),
    },
)
_automatic_reply = _prospect_event.map(lambda event: {**event, "type": "ReplyReceived", "automatic": True})
_status = st.sampled_from(["DRAFT", "ACTIVE", "PAUSED"])
_campaign_event = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("CampaignCreated"), "name": st.sampled_from(["A", "é"])}, optional={"status": _status}
    ),
    st.fixed_dictionaries({"type": st.just("CampaignRenamed"), "name": st.sampled_from(["B", "z"])}),
    st.fixed_dictionaries({"type": st.just("CampaignStatusChanged"), "status": _status}),
).flatmap(
    lambda event: st.fixed_dictionaries(
        {"campaign_id": st.sampled_from([1, 2, 3]), "occurred_at": st.sampled_from(_INSTANTS)}
    ).map(lambda about: {**event, **about})
)
_reply = st.builds(
    lambda event, kind: {**event, "type": kind},
    _prospect_event,
    st.sampled_from(["ReplyReceived", "ReplyWasAutomatic"]),
)
_event = st.one_of(_prospect_event, _prospect_event, _automatic_reply, _reply, _campaign_event)
# Hypothesis makes short lists, of five on the average, unless it has to make longer ones.
_events = st.sampled_from([0, 8, 20]).flatmap(lambda least: st.lists(_event, min_size=least, max_size=40))


@st.composite
def with_retractions(draw: st.DrawFn, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events with some retracted: before or after they come, once or twice.

    Others are named in vain: retractions, events of another journey or source, and some that never come.
    """
    history = list(events)
    for number in range(draw(st.integers(0, 6)) if history else 0):
        named = draw(st.sampled_from(history))
        retraction = {
            **{name: named[name] for name in ("campaign_id", "prospect_id", "occurred_at") if name in named},
            "id": f"r-{number}",
            "type": "EventRetracted",
            "retracts": {"id": named["id"]},
        }
        retraction |= draw(
            st.sampled_from(
                [
                    *[{}] * 5,
                    {"prospect_id": "b"},
                    {"prospect_id": None},
                    {"campaign_id": 2},
                    {"retracts": {"id": named["id"], "source": "another"}},
                    {"retracts": {"id": "it never comes", "source": ""}},
                ]
            )
        )
        history.insert(draw(st.integers(0, len(history))), retraction)
    return history


histories = _events.map(_number).flatmap(with_retractions)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Return a history, and how it arrives: in any order, with repeats, cut into batches anywhere."""
    history = draw(histories)
    repeats = draw(st.lists(st.sampled_from(history), max_size=10)) if history else []
    arriving = draw(st.permutations([*history, *repeats]))
    cuts = sorted(draw(st.lists(st.integers(0, len(arriving)), max_size=5)))
    return history, [arriving[a:b] for a, b in zip([0, *cuts], [*cuts, len(arriving)], strict=True)]
