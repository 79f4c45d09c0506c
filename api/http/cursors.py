"""The cursor of a list that comes in pages: what a page ends with, as text that a reader passes back unread."""

import base64
import binascii
from typing import TypeVar

import msgspec

from api.http.parameters import ExpectedError, Parameter
from domain.texts import shown

_Place = TypeVar("_Place", bound=msgspec.Struct)

_encode = msgspec.json.Encoder().encode


def encode(place: msgspec.Struct) -> str:
    """Return the text of a cursor, in base64 for URLs (RFC 4648, section 5) without padding."""
    return base64.urlsafe_b64encode(_encode(place)).rstrip(b"=").decode()


def cursor_of(places: type[_Place]) -> Parameter[_Place | None]:
    """Return the parameter `cursor` of lists whose pages end at such places."""
    decode = msgspec.json.Decoder(places).decode

    def read(texts: list[str]) -> _Place:
        text = texts[0]
        try:
            return decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, binascii.Error, msgspec.DecodeError) as error:
            raise ExpectedError(f"{shown(text)} is none, expected the last answer's next") from error

    schema = {"type": "string", "minLength": 1}
    return Parameter("cursor", "`next` of the last page", schema, read, None)
