"""Statements of the event loop's connections: their parameters, in the form in which PostgreSQL reads them."""

import re
from collections.abc import Mapping, Sequence
from struct import Struct

from psycopg import DataError

_PARAMETER = re.compile(rb"%\((\w+)\)([sb])")
_ARRAY = Struct(">iiiii")  # dimensions, whether there are nulls, the elements' type, how many, the first one's index
TEXT, BINARY = 0, 1  # the formats of values
_BYTEA_OID, _INT8_OID, _TEXT_OID = 17, 20, 25


class Statement:
    """A statement that each connection prepares once, under its name; `%(name)b` is sent in binary.

    One that is `preceded_by` another is sent right after it, in one transaction and with the same parameters; where the
    other one fails, its error is the answer. `routed` is the form for a database that Citus distributes, where it has
    another.
    """

    def __init__(
        self, name: str, statement: bytes, preceded_by: "Statement | None" = None, routed: bytes | None = None
    ) -> None:
        """Take the name, which no other statement has, and the statement."""
        self.name = name.encode()
        self.preceded_by = preceded_by
        self.routed = self if routed is None else Statement(f"{name}_routed", routed)
        marked = {match[1].decode(): match[2] == b"b" for match in _PARAMETER.finditer(statement)}
        self._parameters = list(marked)
        self.formats = [BINARY if binary else TEXT for binary in marked.values()]
        places = {each.encode(): b"$%d" % place for place, each in enumerate(marked, 1)}
        self.text = _PARAMETER.sub(lambda match: places[match[1]], statement)

    def values(self, parameters: Mapping[str, object]) -> list[bytes | None]:
        """Return the parameters as PostgreSQL reads them; raise DataError for text that it can't hold."""
        return [_value(parameters[name]) for name in self._parameters]


def _value(value: object) -> bytes | None:
    if isinstance(value, str):
        if "\0" in value:  # PostgreSQL would leave out what follows it
            raise DataError("PostgreSQL text can't hold NUL")
        return value.encode()
    if value is None:
        return None
    if isinstance(value, list):
        return _array(value)
    return b"t" if value is True else b"f" if value is False else str(value).encode()


def _array(items: Sequence[bytes | str | int]) -> bytes:
    """Return a list in the binary form of an array of bytea, text or bigint (PostgreSQL's `array_recv`)."""
    kind = type(items[0]) if items else bytes
    oid = _BYTEA_OID if kind is bytes else _TEXT_OID if kind is str else _INT8_OID
    parts = [_ARRAY.pack(1, 0, oid, len(items), 1)]
    for item in items:
        data = (
            item.encode()
            if isinstance(item, str)
            else item.to_bytes(8, "big", signed=True)
            if isinstance(item, int)
            else item
        )
        parts += (len(data).to_bytes(4, "big"), data)
    return b"".join(parts)
