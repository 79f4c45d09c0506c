"""A stretch of the log, sorted by journey and by campaign: what the fold works on, live and in a replay alike."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import compress, pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from domain.events import UndecodableError, decode
from projections.journeys import campaign
from projections.journeys.campaign import About, CampaignEvent
from projections.journeys.columns import FACT_BYTES, KIND, KIND_BITS, KIND_OF_TOPIC, STORED, Integers, details_of
from projections.metrics import AUTOMATIC_REPLY, REPLY

JourneyKey = tuple[int, str]  # campaign, prospect

_REPLY, _AUTOMATIC_REPLY = KIND[REPLY], KIND[AUTOMATIC_REPLY]


class FoldError(Exception):
    """A fact can't be folded: it, or the journey that it belongs to, is not understood. Nothing was written."""

    def __init__(self, position: int, reason: str) -> None:
        """Take the fact's position in the log and what is wrong, in words for an operator."""
        super().__init__(position, reason)  # as given, so that it can come from another process
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        """Say both."""
        return f"position {self.position}: {self.reason}"


class Journeys(NamedTuple):
    """Facts by journey: how many each has, and their columns, those of one journey together and in order of the log."""

    keys: Sequence[JourneyKey]
    counts: Integers
    facts: Integers
    details: Sequence[bytes]

    def part(self, first: int, end: int) -> "Journeys":
        """Return some of the journeys."""
        start, stop = int(self.counts[:first].sum()), int(self.counts[:end].sum())
        return Journeys(self.keys[first:end], self.counts[first:end], self.facts[start:stop], self.details[first:end])

    def chosen(self, which: NDArray[np.bool_]) -> "Journeys":
        """Return those of the journeys for which it is true."""
        return Journeys(
            list(compress(self.keys, which)),
            self.counts[which],
            self.facts[np.repeat(which, self.counts)],
            list(compress(self.details, which)),
        )

    def pieces(self, size: int) -> Iterator["Journeys"]:
        """Yield all of them, so many journeys at a time."""
        return (self.part(first, first + size) for first in range(0, len(self.keys), size))

    def stored(self) -> list[bytes]:
        """Return of each journey its facts as they are stored."""
        data = self.facts.astype(STORED).tobytes()
        return [data[start:end] for start, end in pairwise([0, *(np.cumsum(self.counts) * FACT_BYTES).tolist()])]


class Unsorted(NamedTuple):
    """Facts in order of the log, by columns: whose each is, and what is kept of it."""

    keys: Sequence[JourneyKey]
    of: Sequence[int]  # places in `keys`
    facts: Integers
    details: Sequence[bytes]

    def by_journey(self) -> Journeys:
        """Put the facts of each journey together, the journeys in order of their keys."""
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        owners = places[np.array(self.of, np.int64)]
        counts = np.bincount(owners, minlength=len(order))
        sorted_facts = np.argsort(owners, kind="stable")
        details = [self.details[fact] for fact in sorted_facts.tolist()]
        joined = [b"".join(details[start:end]) for start, end in pairwise([0, *np.cumsum(counts).tolist()])]
        return Journeys([self.keys[place] for place in order], counts, self.facts[sorted_facts], joined)


_Sorting = TypeVar("_Sorting", Unsorted, Journeys)


class Gathered(NamedTuple, Generic[_Sorting]):
    """What a stretch of the log says of prospects and of campaigns; positions are 0 where it is empty."""

    first: int
    last: int
    facts: _Sorting
    campaigns: dict[int, About]


def sort(log: Iterable[tuple[int, str, bytes]], aside: Collection[int | None]) -> Gathered[Journeys]:
    """Sort a stretch of the log by journey and by campaign; takes and raises what `gather` does."""
    first, last, facts, campaigns = gather(log, aside)
    return Gathered(first, last, facts.by_journey(), campaigns)


def gather(log: Iterable[tuple[int, str, bytes]], aside: Collection[int | None]) -> Gathered[Unsorted]:
    """Return what a stretch of the log says; positions in `aside` are passed over.

    Raises FoldError for the first fact that can't be folded.
    """
    numbers: dict[JourneyKey, int] = {}
    of: list[int] = []
    facts: list[int] = []
    details: list[bytes] = []
    campaigns: dict[int, About] = {}
    first = position = 0
    event: Any
    for position, topic, state in log:  # the hottest loop: what a fact's columns are is worked out right here
        first = first or position
        if position in aside:
            continue
        try:
            event = decode(topic, state)
        except UndecodableError as error:
            raise FoldError(position, str(error)) from error
        kind = KIND_OF_TOPIC.get(topic)
        if kind is not None:
            channel = None
            if kind == _REPLY:
                channel = event.channel
                kind = _AUTOMATIC_REPLY if event.automatic else kind
            of.append(numbers.setdefault((event.campaign_id, event.prospect_id), len(numbers)))
            facts.append(event.occurred_at << KIND_BITS | kind)
            details.append(details_of((position, event.step, event.sender_id, event.variant, channel)))
        elif isinstance(event, CampaignEvent):
            about = campaigns.get(event.campaign_id, About())
            campaigns[event.campaign_id] = campaign.told(about, event)
        else:
            raise FoldError(position, f"nothing folds {topic}")
    return Gathered(first, position, Unsorted(list(numbers), of, np.array(facts, np.int64), details), campaigns)


def fault(row: tuple[int, str, bytes]) -> str | None:
    """Return why this fact can't be folded whatever its journey is; None where it can be."""
    try:
        gather([row], ())
    except FoldError as error:
        return error.reason
    return None
