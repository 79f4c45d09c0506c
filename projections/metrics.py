"""Every metric, declared once: what is summed, from which events, and what is shown.

A new metric over known events is one row of `METRICS` and the next `FOLD_VERSION` (docs/recipes.md).
"""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

# The version of what the read models hold. Raise it with any change of what is summed, in which order, or how it is
# stored: here, in `journeys/` or in `building/batch.py`. The projector rebuilds rows of an older version; until then
# they are read by the names of what they hold.
FOLD_VERSION = 4

TOUCHES = ("EmailSent", "InviteSent", "LinkedInMessageSent")
REPLY = "ReplyReceived"
AUTOMATIC_REPLY = "ReplyReceived, automatic"
WAS_AUTOMATIC = "ReplyWasAutomatic"  # makes the latest reply not after it an automatic one
RETRACTION = "EventRetracted"  # is no part of any number, nor is what it names
RATINGS = ("ProspectInterested", "ProspectNotInterested", "ProspectNeutral")  # of one instant the last of these stands

# The kinds of event that a journey holds: every type of event about a prospect, and automatic replies. A kind's
# index is its code in stored rows: append at the end, never move or remove one.
KINDS = (
    "EmailSent",
    "InviteSent",
    "LinkedInMessageSent",
    "EmailBounced",
    "EmailClicked",
    "EmailOpened",
    "InviteAccepted",
    "MeetingBooked",
    "ProspectAdded",
    "ProspectInterested",
    "ProspectNotInterested",
    "ProspectRemoved",
    "ProspectUnsubscribed",
    REPLY,
    AUTOMATIC_REPLY,
    "ProspectNeutral",
    WAS_AUTOMATIC,
    RETRACTION,
    # A new kind goes above this line, whatever its name.
)


class Enrolled(NamedTuple):
    """Journeys whose latest membership event is no removal, dated by the latest addition, else the first event."""

    added: str = "ProspectAdded"
    removed: str = "ProspectRemoved"


class Each(NamedTuple):
    """Events of a kind, each dated by itself."""

    kind: str


class Once(NamedTuple):
    """Journeys with at least one event of these kinds, dated by the first."""

    kinds: tuple[str, ...]


class Rated(NamedTuple):
    """Journeys whose latest rating, one of `RATINGS`, is of this kind, dated by it."""

    kind: str


class Turns(NamedTuple):
    """Replies that close a turn, each dated by the reply."""


class TurnTime(NamedTuple):
    """How long the turns took, in ms, each dated by the reply."""


class Derived(NamedTuple):
    """Nothing summed of its own: a function of the sums of these metrics."""

    function: Callable[..., object]
    of: tuple[str, ...]


class Shown(Enum):
    """When an answer shows a metric: always, where more was asked for, or never."""

    ALWAYS = 1
    EXTENDED = 2
    NEVER = 3


class Metric(NamedTuple):
    """One row of the table: its name, what it is, and when the answer shows it."""

    name: str
    rule: Enrolled | Each | Once | Rated | Turns | TurnTime | Derived
    shown: Shown = Shown.ALWAYS


@lru_cache(maxsize=10_000)  # a dashboard is asked for much more often than its sums change
def reply_time_in_words(total: int, turns: int) -> str | None:
    """Return the mean of so many turns that took `total` ms together, in words; None where there is none.

    The exact mean is rounded half up, once, to the first unit in which it is small enough: seconds and minutes below
    60, hours below 24, else days.
    """
    if not turns:
        return None
    for unit, length, limit in (("second", 1_000, 60), ("minute", 60_000, 60), ("hour", 3_600_000, 24)):
        amount = _half_up(total, turns * length)
        if amount < limit:
            return _words(amount, unit)
    return _words(_half_up(total, turns * 86_400_000), "day")


def reply_time_in_seconds(total: int, turns: int) -> float | None:
    """Return the mean of so many turns that took `total` ms together, in seconds to three decimals, rounded half up."""
    return _half_up(total, turns) / 1_000 if turns else None


def rate(part: int, whole: int) -> float | None:
    """Return the share to four decimals, rounded half up; None where there is no whole."""
    return _half_up(10_000 * part, whole) / 10_000 if whole else None


_EXTENDED = Shown.EXTENDED
_TURNS = ("reply_time_ms", "amount_of_timed_replies")

METRICS = (
    Metric("amount_of_prospects", Enrolled()),
    Metric("amount_of_emails_sent", Each("EmailSent")),
    Metric("amount_of_invites_sent", Each("InviteSent")),
    Metric("amount_of_invites_accepted", Each("InviteAccepted")),
    Metric("amount_of_linkedin_messages_sent", Each("LinkedInMessageSent")),
    Metric("amount_of_prospects_contacted", Once(TOUCHES)),
    Metric("amount_of_replies", Each(REPLY)),
    Metric("amount_of_interested", Rated("ProspectInterested")),
    Metric("average_reply_time", Derived(reply_time_in_words, _TURNS)),
    Metric("amount_of_emails_opened", Each("EmailOpened"), _EXTENDED),
    Metric("amount_of_emails_clicked", Each("EmailClicked"), _EXTENDED),
    Metric("amount_of_emails_bounced", Each("EmailBounced"), _EXTENDED),
    Metric("amount_of_meetings_booked", Each("MeetingBooked"), _EXTENDED),
    Metric("amount_of_automatic_replies", Each(AUTOMATIC_REPLY), _EXTENDED),
    Metric("amount_of_prospects_replied", Once((REPLY,)), _EXTENDED),
    Metric("amount_of_prospects_accepted", Once(("InviteAccepted",)), _EXTENDED),
    Metric("amount_of_prospects_opened", Once(("EmailOpened",)), _EXTENDED),
    Metric("amount_of_prospects_clicked", Once(("EmailClicked",)), _EXTENDED),
    Metric("amount_of_prospects_unsubscribed", Once(("ProspectUnsubscribed",)), _EXTENDED),
    Metric("amount_of_not_interested", Rated("ProspectNotInterested"), _EXTENDED),
    Metric("amount_of_timed_replies", Turns(), _EXTENDED),
    Metric("average_reply_time_seconds", Derived(reply_time_in_seconds, _TURNS), _EXTENDED),
    Metric("acceptance_rate", Derived(rate, ("amount_of_invites_accepted", "amount_of_invites_sent")), _EXTENDED),
    Metric("reply_rate", Derived(rate, ("amount_of_prospects_replied", "amount_of_prospects_contacted")), _EXTENDED),
    Metric("interested_rate", Derived(rate, ("amount_of_interested", "amount_of_prospects_replied")), _EXTENDED),
    Metric("open_rate", Derived(rate, ("amount_of_prospects_opened", "amount_of_prospects_contacted")), _EXTENDED),
    Metric("bounce_rate", Derived(rate, ("amount_of_emails_bounced", "amount_of_emails_sent")), _EXTENDED),
    Metric("reply_time_ms", TurnTime(), Shown.NEVER),
)

# What is summed, in the order in which it is stored.
MEASURES = tuple(metric for metric in METRICS if not isinstance(metric.rule, Derived))
PLACES = {measure.name: place for place, measure in enumerate(MEASURES)}  # by name


def _reader(metric: Metric) -> Callable[[Sequence[Any]], object]:
    if not isinstance(metric.rule, Derived):
        return itemgetter(PLACES[metric.name])
    function, places = metric.rule.function, [PLACES[name] for name in metric.rule.of]

    def read(totals: Sequence[Any]) -> object:
        values = [totals[place] for place in places]
        return None if None in values else function(*values)

    return read


_ALWAYS = [(metric.name, _reader(metric)) for metric in METRICS if metric.shown == Shown.ALWAYS]
_MORE = [(metric.name, _reader(metric)) for metric in METRICS if metric.shown == Shown.EXTENDED]


def analytics(totals: Sequence[Any], *, extended: bool = False) -> dict[str, object]:
    """Return what is shown of a campaign, in order of the keys.

    `totals` are its sums in the order of `MEASURES`, None where one is not known yet, which then is shown as None.
    """
    return {name: read(totals) for name, read in (_ALWAYS + _MORE if extended else _ALWAYS)}


def in_place(totals: Sequence[int | None], measures: Sequence[str]) -> list[int | None]:
    """Return sums that another version stored in this one's order; None where that version knows nothing of one."""
    known = dict(zip(measures, totals, strict=True))
    return [known.get(measure.name) for measure in MEASURES]


def _half_up(dividend: int, divisor: int) -> int:
    return (2 * dividend + divisor) // (2 * divisor)


def _words(amount: int, unit: str) -> str:
    return f"{amount} {unit}" if amount == 1 else f"{amount} {unit}s"
