"""Journeys as columns of integers, many at a time: what of each event decides the numbers, and how that is stored.

Any number of journeys are one set of columns, in an order that does not depend on how the events arrived.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from domain.events import EVENTS, INSTANT_BITS, TOPICS, ProspectEvent
from projections.metrics import AUTOMATIC_REPLY, REPLY, TOUCHES

Integers = NDArray[np.int64]

# In the domain's order of facts at the same instant: touches first, then by name. Automatic replies are told apart.
KINDS = (
    *TOUCHES,
    *sorted(event.__name__ for event in EVENTS if issubclass(event, ProspectEvent) and event.__name__ not in TOUCHES),
    AUTOMATIC_REPLY,
)
KIND = {name: kind for kind, name in enumerate(KINDS)}
KIND_OF_TOPIC = {topic: KIND[event.__name__] for event, topic in TOPICS.items() if event.__name__ in KIND}
LAST_TOUCH = len(TOUCHES) - 1
TOUCH_CHANNELS = {"EmailSent": "email", "InviteSent": "linkedin", "LinkedInMessageSent": "linkedin"}

# A journey is stored as two columns, which grow at their ends. `facts` is an integer of eight bytes for each fact:
# what decides the numbers, the instant (ms) and, in the lower bits, the kind. `details` is a list in msgpack for each:
# the position in the log, step, sender, variant and channel, which only say where a number belongs and what made it.
# Stored, so a change wants a new FOLD_VERSION.
KIND_BITS = 5
KIND_MASK = (1 << KIND_BITS) - 1
FACT_BITS = INSTANT_BITS + KIND_BITS
FACT_MASK = (1 << FACT_BITS) - 1
FACT_BYTES = 8
STORED = np.dtype("<i8")
assert len(KINDS) <= 1 << KIND_BITS

_CODE_BITS = 31  # of the step, and of places among the words
_Details = tuple[
    Annotated[int, Meta(ge=1, le=(1 << 63) - 1)],
    Annotated[int, Meta(ge=0, lt=(1 << _CODE_BITS) - 1)] | None,
    str | None,
    str | None,
    str | None,
]
details_of: Callable[[_Details], bytes] = msgspec.msgpack.Encoder().encode  # as they are stored
_decode: Callable[[bytes], list[_Details]] = msgspec.msgpack.Decoder(list[_Details]).decode


def by_kind(holds: Callable[[int], bool]) -> NDArray[np.bool_]:
    """Return of each number that a kind may have whether this holds of it."""
    return np.array([holds(kind) for kind in range(1 << KIND_BITS)])


def is_one_of(*kinds: str) -> NDArray[np.bool_]:
    """Return of each number that a kind may have whether it is one of these."""
    return by_kind(lambda kind: kind < len(KINDS) and KINDS[kind] in kinds)


_IS_KNOWN = by_kind(lambda kind: kind < len(KINDS))
IS_TOUCH = is_one_of(*TOUCHES)


class Facts(NamedTuple):
    """Facts by columns, journey by journey and in the domain's order; the values are codes, 0: none.

    `journeys` says of which journey each is, and ascends. A step's code is one more than the step; those of the others
    are places in `words`, in order of code points, one more; all channels are among these.
    """

    journeys: Integers
    facts: Integers
    positions: Integers
    steps: Integers
    senders: Integers
    variants: Integers
    channels: Integers
    words: Sequence[str]

    @property
    def instants(self) -> Integers:
        """Return when each fact was (ms, UTC)."""
        return self.facts >> KIND_BITS

    @property
    def kinds(self) -> Integers:
        """Return which of `KINDS` each fact is of."""
        return self.facts & KIND_MASK

    def upto(self, position: int) -> "Facts":
        """Return the facts that the log holds up to a position."""
        return self.chosen(np.flatnonzero(self.positions <= position))

    def chosen(self, which: NDArray[np.intp]) -> "Facts":
        """Return some of the facts, in the order given."""
        columns = [column[which] for column in self[:-1] if isinstance(column, np.ndarray)]
        return Facts(*columns, self.words)  # type: ignore[call-arg, arg-type]  # all columns are given


def first_position(details: bytes, facts: int) -> int:
    """Return the position of the first of so many facts of which the details are given, as they are stored."""
    return _decode(_list_of(facts) + details)[0][0]


def is_first(of: Integers) -> NDArray[np.bool_]:
    """Return of each number whether it differs from the one before."""
    found = np.ones(of.size, np.bool_)
    np.not_equal(of[1:], of[:-1], out=found[1:])  # `diff` takes five times as long where they are few
    return found


def _list_of(number: int) -> bytes:
    """Return how a list of so many items begins in msgpack."""
    return b"\xdd" + number.to_bytes(4, "big")


def are_whole(stored: Sequence[bytes]) -> NDArray[np.bool_]:
    """Return of each journey's stored facts whether they can be read."""
    lengths = np.fromiter(map(len, stored), np.int64, len(stored))
    whole: NDArray[np.bool_] = lengths % FACT_BYTES == 0
    facts = np.frombuffer(b"".join([each for each, good in zip(stored, whole, strict=True) if good]), STORED)
    known = _IS_KNOWN[facts & KIND_MASK] & (facts >> FACT_BITS == 0)
    of = np.repeat(np.flatnonzero(whole), lengths[whole] // FACT_BYTES)
    whole[of[~known]] = False
    return whole


def unpack(stored: Sequence[tuple[bytes, bytes]]) -> Facts:
    """Return the facts of stored journeys, each given by its columns `facts` and `details`.

    Raises msgspec.DecodeError where they are damaged.
    """
    of_facts, of_details = [each[0] for each in stored], b"".join([each[1] for each in stored])
    if not are_whole(of_facts).all():
        raise msgspec.DecodeError("a journey's facts are damaged")
    facts = np.frombuffer(b"".join(of_facts), STORED).astype(np.int64)
    try:
        details = _decode(_list_of(facts.size) + of_details)
    except UnicodeDecodeError as error:  # the one that msgspec does not make its own
        raise msgspec.DecodeError(str(error)) from error
    journeys = np.repeat(np.arange(len(stored)), [len(each) // FACT_BYTES for each in of_facts])
    positions, steps, *texts = zip(*details, strict=True) if details else ((), (), (), (), ())
    words = sorted({word for column in texts for word in column if word is not None} | {*TOUCH_CHANNELS.values()})
    code: dict[str | None, int] = {None: 0, **{word: place for place, word in enumerate(words, 1)}}
    sender, variant, channel = (np.array([code[word] for word in column], np.int64) for column in texts)
    step = np.array([0 if each is None else each + 1 for each in steps], np.int64)
    # What is automatic decides no order; and of facts alike, the lower position comes first, as it does already.
    ordered = np.where(facts & KIND_MASK == KIND[AUTOMATIC_REPLY], facts - KIND[AUTOMATIC_REPLY] + KIND[REPLY], facts)
    order = np.lexsort((variant << _CODE_BITS | channel, step << _CODE_BITS | sender, ordered, journeys))
    return Facts(journeys, facts, np.array(positions, np.int64), step, sender, variant, channel, words).chosen(order)


def first_touches(facts: Facts) -> NDArray[np.intp]:
    """Return by a journey's number which fact is its first outbound touch; -1: there is none."""
    touches = np.flatnonzero(IS_TOUCH[facts.kinds])
    firsts = touches[is_first(facts.journeys[touches])]
    found = np.full(int(facts.journeys[-1]) + 1 if facts.journeys.size else 0, -1)
    found[facts.journeys[firsts]] = firsts
    return found


def latest(among: NDArray[np.bool_], journeys: Integers) -> NDArray[np.intp]:
    """Return for each fact the latest one of its journey, not after it, that is `among` some; -1: there is none."""
    places = np.arange(among.size)
    found = np.maximum.accumulate(np.where(among, places, -1))
    begins = np.maximum.accumulate(np.where(is_first(journeys), places, 0))
    return np.where(found >= begins, found, -1)
