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
from projections.journeys.groups import Integers, group_of_each, is_first, lengths_of, offsets_of
from projections.metrics import AUTOMATIC_REPLY, KINDS, REPLY, RETRACTION, TOUCHES, WAS_AUTOMATIC

# A journey is stored as two columns, which grow at their ends. `facts` (as the database calls it) has 8 bytes for each
# event, what decides the numbers: the instant (ms) and, in the lower bits, the code of the kind. `details` has a list
# in msgpack for each: the position in the log, step, sender, variant and channel, which only say where a number
# belongs and what made it, and a key: the beginning of the event's key in the log, or, of a retraction, of the key of
# what it takes back. Only a journey with a retraction or a reply that turned out to be automatic needs its details
# before its numbers are known. Stored, so a change needs a new FOLD_VERSION.
_KIND_BITS = 5
_KIND_MASK = (1 << _KIND_BITS) - 1
MOST_KINDS = 1 << _KIND_BITS
_EVENT_BITS = INSTANT_BITS + _KIND_BITS
_EVENT_MASK = (1 << _EVENT_BITS) - 1
_STORED = np.dtype("<i8")
MOST_SORTED = 1 << 63 - _EVENT_BITS - 1  # journeys: the journey's number, the event and a flag share 63 bits

CODE = {kind: code for code, kind in enumerate(KINDS)}  # the code that is stored is the kind's index
CODE_OF_TOPIC = {topic: CODE[event.__name__] for event, topic in TOPICS.items() if event.__name__ in CODE}
TOUCH_CHANNELS = {"EmailSent": "email", "InviteSent": "linkedin", "LinkedInMessageSent": "linkedin"}
_EXPECTED = {AUTOMATIC_REPLY, RETRACTION} | {event.__name__ for event in EVENTS if issubclass(event, ProspectEvent)}
assert set(KINDS) >= _EXPECTED, f"append {_EXPECTED - set(KINDS)} at the end of KINDS in projections/metrics.py"
assert len(KINDS) == len(_EXPECTED), f"KINDS in projections/metrics.py names more than the types of event: {KINDS}"
assert len(KINDS) <= MOST_KINDS, (
    f"{len(KINDS)} kinds do not fit in {_KIND_BITS} bits: raise _KIND_BITS and FOLD_VERSION, and lower"
    " _JOURNEYS_AT_ONCE in building/increments.py to MOST_SORTED"
)

# The order of events at the same instant: touches first, then by name. An automatic reply comes right behind a reply.
_ORDER = sorted(KINDS, key=lambda kind: (kind not in TOUCHES, kind))
_RANK_OF_CODE = np.arange(MOST_KINDS)  # a code that is not in use is its own rank
_RANK_OF_CODE[: len(KINDS)] = [_ORDER.index(kind) for kind in KINDS]
_CODE_OF_RANK = np.argsort(_RANK_OF_CODE)
# By `^` with these, found by the lower bits, a code becomes its rank and a rank its code.
_TO_RANK = np.arange(MOST_KINDS) ^ _RANK_OF_CODE
_TO_CODE = np.arange(MOST_KINDS) ^ _CODE_OF_RANK
# What is automatic decides no order: by this one both replies have the same rank.
_TO_SHARED_RANK = _TO_RANK.copy()
_TO_SHARED_RANK[CODE[AUTOMATIC_REPLY]] = CODE[AUTOMATIC_REPLY] ^ _RANK_OF_CODE[CODE[REPLY]]

_WORD_BITS = 31  # of the step, and of places among the words
KEY_BYTES = 8  # of an event's key, so many from its beginning
_KEY = np.dtype("<i8")
_Details = tuple[
    Annotated[int, Meta(ge=1, le=(1 << 63) - 1)],
    Annotated[int, Meta(ge=0, lt=(1 << _WORD_BITS) - 1)] | None,
    str | None,
    str | None,
    str | None,
    Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)],
]
details_of: Callable[[_Details], bytes] = msgspec.msgpack.Encoder().encode  # as they are stored
_decode: Callable[[bytes], list[_Details]] = msgspec.msgpack.Decoder(list[_Details]).decode


def by_code(holds: Callable[[int], bool]) -> NDArray[np.bool_]:
    """Return for each code, those that are not in use too, whether this holds of it: shape (32,), bool."""
    return np.array([holds(code) for code in range(MOST_KINDS)])


def is_one_of(*kinds: str) -> NDArray[np.bool_]:
    """Return for each code whether it is that of one of these kinds: shape (32,), bool."""
    return by_code(lambda code: code < len(KINDS) and KINDS[code] in kinds)


_IS_IN_USE = by_code(lambda code: code < len(KINDS))
IS_TOUCH = is_one_of(*TOUCHES)
_IS_ANY_REPLY = is_one_of(REPLY, AUTOMATIC_REPLY)
_NEEDS_DETAILS = is_one_of(RETRACTION, WAS_AUTOMATIC)


class PackedEvents:
    """Events of which each is one integer: the instant (ms, UTC) and, in the lower bits, the code of the kind.

    `data` has shape (n,) and dtype int64. This class is the only place that knows the bits.
    """

    __slots__ = ("data",)
    BYTES = 8  # that one event takes where it is stored

    def __init__(self, data: Integers) -> None:
        """Take the packed integers."""
        self.data = data

    @classmethod
    def of(cls, instants: Integers, codes: Integers) -> "PackedEvents":
        """Pack instants (ms, UTC; from 0 on and below 2^45) and codes of kinds, both of shape (n,)."""
        return cls(instants << _KIND_BITS | codes)

    @classmethod
    def read(cls, stored: Sequence[bytes]) -> "PackedEvents":
        """Return the events of stored columns, one after the other; each length is a multiple of `BYTES`."""
        return cls(np.frombuffer(b"".join(stored), _STORED))

    def stored(self) -> bytes:
        """Return the events as they are stored, `BYTES` for each."""
        return self.data.astype(_STORED).tobytes()

    def __len__(self) -> int:
        """Return the number of events."""
        return self.data.size

    def __getitem__(self, which: "slice | NDArray[np.intp] | NDArray[np.bool_]") -> "PackedEvents":
        """Return some of the events, chosen as numpy chooses."""
        return PackedEvents(self.data[which])

    @property
    def instants(self) -> Integers:
        """Return when each event was (ms, UTC): shape (n,), int64."""
        return self.data >> _KIND_BITS

    @property
    def codes(self) -> Integers:
        """Return the code of each event's kind, its index in `KINDS`: shape (n,), int64."""
        return self.data & _KIND_MASK

    @property
    def are_possible(self) -> NDArray[np.bool_]:
        """Return for each event whether its code is in use and its instant in range: shape (n,), bool."""
        possible: NDArray[np.bool_] = _IS_IN_USE[self.codes] & (self.data >> _EVENT_BITS == 0)
        return possible

    @property
    def need_details(self) -> NDArray[np.bool_]:
        """Return for each event whether what its journey's others count as depends on details: shape (n,), bool."""
        needed: NDArray[np.bool_] = _NEEDS_DETAILS[self.codes]
        return needed

    @property
    def order(self) -> Integers:
        """Return integers that sort as the events do, by instant, touches first, then by name: shape (n,), int64."""
        return self.data ^ _TO_SHARED_RANK[self.codes]


class EventColumns(NamedTuple):
    """Events by columns of shape (n,) and int64, journey by journey.

    `journeys` is the number of each event's journey, and ascends. The other columns are the positions in the log, and
    codes, of which 0 is none: a step's code is one more than the step; those of the others are places in `words`, in
    order of code points, one more; all channels are among these. `keys` are the details' keys as integers.
    """

    journeys: Integers
    events: PackedEvents
    positions: Integers
    steps: Integers
    senders: Integers
    variants: Integers
    channels: Integers
    keys: Integers
    words: Sequence[str]

    @property
    def instants(self) -> Integers:
        """Return when each event was (ms, UTC): shape (n,), int64."""
        return self.events.instants

    @property
    def codes(self) -> Integers:
        """Return the code of each event's kind, its index in `KINDS`: shape (n,), int64."""
        return self.events.codes

    def chosen(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> "EventColumns":
        """Return some of the events, chosen as numpy chooses."""
        *columns, words = self
        return EventColumns(*(column[which] for column in columns), words)  # type: ignore[call-arg, index]


def first_position(details: bytes, events: int) -> int:
    """Return the position of the first of so many events of which these are the stored details."""
    return _decode(_list_of(events) + details)[0][0]


def are_intact(stored: Sequence[bytes]) -> NDArray[np.bool_]:
    """Return for each journey whether its stored events can be read: shape (number of journeys,), bool."""
    lengths = lengths_of(stored)
    intact: NDArray[np.bool_] = lengths % PackedEvents.BYTES == 0
    events = PackedEvents.read([each for each, good in zip(stored, intact, strict=True) if good])
    journeys = np.repeat(np.flatnonzero(intact), lengths[intact] // PackedEvents.BYTES)
    intact[journeys[~events.are_possible]] = False
    return intact


def unpack(stored: Sequence[tuple[bytes, bytes]], upto: int | None = None) -> EventColumns:
    """Return what counts of stored journeys, each given as its columns `facts` and `details`, in the domain's order.

    With `upto` it is what counted when the log went up to and with that position. Raises msgspec.DecodeError where
    they are damaged.
    """
    events = read(stored)
    return counting(events if upto is None else events.chosen(events.positions <= upto))


def read(stored: Sequence[tuple[bytes, bytes]]) -> EventColumns:
    """Return all events of stored journeys, those of a journey in order of the log; takes and raises as `unpack`."""
    of_journeys, details = [each[0] for each in stored], b"".join([each[1] for each in stored])
    if not are_intact(of_journeys).all():
        raise msgspec.DecodeError("a journey's events are damaged")
    events = PackedEvents.read(of_journeys)
    try:
        decoded = _decode(_list_of(len(events)) + details)
    except UnicodeDecodeError as error:  # the one that msgspec does not make its own
        raise msgspec.DecodeError(str(error)) from error
    journeys = group_of_each(offsets_of(lengths_of(of_journeys) // PackedEvents.BYTES))
    positions, steps, *texts, keys = zip(*decoded, strict=True) if decoded else ((), (), (), (), (), ())
    words = sorted({word for column in texts for word in column if word is not None} | {*TOUCH_CHANNELS.values()})
    code: dict[str | None, int] = {None: 0, **{word: place for place, word in enumerate(words, 1)}}
    sender, variant, channel = (np.array([code[word] for word in column], np.int64) for column in texts)
    step = np.array([0 if each is None else each + 1 for each in steps], np.int64)
    key = np.frombuffer(b"".join(keys), _KEY)
    return EventColumns(journeys, events, np.array(positions, np.int64), step, sender, variant, channel, key, words)


def counting(columns: EventColumns) -> EventColumns:
    """Return what counts of journeys, in the domain's order.

    That is: without what is retracted and without the retractions, and replies as automatic that turned out to be. All
    events of each journey are needed, in order of the log.
    """
    if (columns.codes == CODE[RETRACTION]).any():
        columns = columns.chosen(_counted(columns))
    journeys, events, _, steps, senders, variants, channels, _, _ = columns
    # Of replies that are alike an automatic one comes first, so that it is the other that may turn out to be automatic.
    # Of other events alike the lower position comes first, as it does already.
    is_reply = events.codes == CODE[REPLY]
    values = (variants << _WORD_BITS | channels) << 1 | is_reply, steps << _WORD_BITS | senders
    columns = columns.chosen(np.lexsort((*values, events.order, journeys)))
    return columns._replace(events=_found_automatic(columns))


def _counted(columns: EventColumns) -> NDArray[np.intp]:
    """Return the indices of the events that are neither a retraction nor named by one of the same journey."""
    retracting = columns.codes == CODE[RETRACTION]
    named = set(zip(columns.journeys[retracting].tolist(), columns.keys[retracting].tolist(), strict=True))
    suspects = np.flatnonzero(~retracting & np.isin(columns.keys, columns.keys[retracting]))
    keys = zip(columns.journeys[suspects].tolist(), columns.keys[suspects].tolist(), strict=True)
    retracted = suspects[np.fromiter((key in named for key in keys), np.bool_, suspects.size)]
    return np.delete(np.arange(retracting.size), [*np.flatnonzero(retracting), *retracted])


def _found_automatic(columns: EventColumns) -> PackedEvents:
    """Return the events, with each reply that turned out to be automatic as an automatic one."""
    telling = np.flatnonzero(columns.codes == CODE[WAS_AUTOMATIC])
    if not telling.size:
        return columns.events
    replies = latest(_IS_ANY_REPLY[columns.codes], columns.journeys)[telling]
    replies = replies[replies >= 0]
    codes = columns.codes
    codes[replies] = CODE[AUTOMATIC_REPLY]
    return PackedEvents.of(columns.instants, codes)


def in_order(
    journeys: Integers, events: PackedEvents, new: NDArray[np.bool_]
) -> tuple[Integers, PackedEvents, NDArray[np.bool_]]:
    """Sort events by journey and in the domain's order; return the same three columns, each of shape (n,).

    `journeys` are below `MOST_SORTED`; `new` is a flag of each event.
    """
    # Plain integers are sorted fastest: the journey, the instant, the rank of the kind, and in the lowest bit the flag.
    keys = (journeys << _EVENT_BITS | events.data ^ _TO_RANK[events.codes]) << 1 | new
    keys.sort()
    ranked = keys >> 1 & _EVENT_MASK
    return keys >> _EVENT_BITS + 1, PackedEvents(ranked ^ _TO_CODE[ranked & _KIND_MASK]), keys & 1 == 1


def first_touches(columns: EventColumns) -> NDArray[np.intp]:
    """Return the index of each journey's first outbound touch, -1 without one: shape (highest journey + 1,), intp."""
    touches = np.flatnonzero(IS_TOUCH[columns.codes])
    firsts = touches[is_first(columns.journeys[touches])]
    by_journey = np.full(int(columns.journeys[-1]) + 1 if columns.journeys.size else 0, -1)
    by_journey[columns.journeys[firsts]] = firsts
    return by_journey


def latest(among: NDArray[np.bool_], journeys: Integers) -> NDArray[np.intp]:
    """Return for each event the index of the latest one of its journey, not after it, for which `among` is true.

    -1 without one. All are of shape (n,), the result intp.
    """
    indices = np.arange(among.size)
    before = np.maximum.accumulate(np.where(among, indices, -1))
    begins = np.maximum.accumulate(np.where(is_first(journeys), indices, 0))
    return np.where(before >= begins, before, -1)


def _list_of(number: int) -> bytes:
    """Return how a list of so many items begins in msgpack (https://github.com/msgpack/msgpack, "array 32")."""
    return b"\xdd" + number.to_bytes(4, "big")
