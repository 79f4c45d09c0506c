"""Events of plain JSON, decoded straight to the fields that their types have, in little more than half of the time.

Only bodies of which each event is valid are read so. What has anything odd is left to the parser (`domain.parsing`),
which says what is wrong; so this must take nothing that the parser refuses, and mean by it what the parser means.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, defstruct

from api.http import strict_json
from domain.events import BY_NAME, EVENTS, Event, EventRetracted
from domain.instants import parse_instant
from domain.parsing import FUTURE_TOLERANCE_MS

# What takes more than a look at its type: a key makes an id, a zone has a list. Retractions have a rule of their own.
_LEFT_TO_THE_PARSER = {"campaign_key", "timezone"}

Posted = msgspec.Struct  # an event as it was posted: the fields of its type, its instant as text


def _posted(kind: type[Event]) -> type[Posted]:
    """Return the class of an event as it is posted."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(kind):
        if field.name not in _LEFT_TO_THE_PARSER:
            of_type = str if field.name == "occurred_at" else field.type
            # Absent, not of the default value: what is written again must be what was read.
            fields.append((field.name, of_type) if field.required else (field.name, of_type | UnsetType, UNSET))
    return defstruct(
        kind.__name__,
        fields,
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field="type",
        tag=kind.__name__,
        gc=False,
    )


_ANY: Any = reduce(or_, (_posted(kind) for kind in EVENTS if kind is not EventRetracted))


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_ANY]


_decode = msgspec.json.Decoder(_Body | list[_ANY]).decode
_decode_one = msgspec.json.Decoder(_ANY).decode


def decode(body: bytes) -> list[Posted] | None:
    """Return the events of a body, an array of them or `{"events": [...]}`; None where it has anything odd."""
    values = _read([body], _decode)
    if values is None:
        return None
    (value,) = values
    return value.events if isinstance(value, _Body) else value


def decode_each(texts: Sequence[bytes]) -> list[Posted] | None:
    """Return the events of texts that have one each, None where any has anything odd."""
    return _read(texts, _decode_one)


def _read(texts: Sequence[bytes], read: Callable[[bytes], Any]) -> list[Any] | None:
    return None if strict_json.has_escape(b"".join(texts)) else strict_json.decode_each(texts, read)


def events_of(posted: Sequence[Posted], now: int) -> list[Event] | None:
    """Return the events; None where an instant is none, or lies out of range. `now` is in ms, UTC."""
    fields = msgspec.to_builtins(posted)
    try:
        instants = [parse_instant(each["occurred_at"]) for each in fields]
    except ValueError:
        return None
    if instants and not 0 <= min(instants) <= max(instants) <= now + FUTURE_TOLERANCE_MS:
        return None
    for each, instant in zip(fields, instants, strict=True):
        each["occurred_at"] = instant
    return [BY_NAME[each.pop("type")](**each) for each in fields]
