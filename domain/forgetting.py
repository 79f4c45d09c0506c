"""What a stored event becomes when its prospect is forgotten: the id gives way to a token, and nothing else changes.

An event keeps its key, by which a late resend is known. A retraction finds what it takes back by a key as well, which
is made of names; so where these change, the key is kept with them.
"""

import base64
import re
from typing import Any

import msgspec

from domain.events import MAX_EVENT_ID, MAX_SOURCE, Retracted
from domain.ledger import event_key
from domain.texts import SHOWN_CHARACTERS

_DISTINCTIVE = 8  # characters: a shorter id may be part of any word, which is then none of it


class Forgetting:
    """The replacement of a prospect's id in what is stored."""

    def __init__(self, prospect_id: str, token: str) -> None:
        """Take the id, and what stands for it from now on."""
        self.prospect_id = prospect_id
        self._token = token
        self.stored = msgspec.json.encode(prospect_id)[1:-1]  # the id within a stored state
        ids = {prospect_id, prospect_id[: SHOWN_CHARACTERS - 1]}  # an error repeats no more of it
        either = "|".join(re.escape(each) for each in sorted(ids, key=len, reverse=True))
        word = either if len(prospect_id) >= _DISTINCTIVE else rf"(?<![^\W_])(?:{either})(?![^\W_])"
        self._in_text = re.compile(word)

    def is_theirs(self, state: bytes) -> bool:
        """Return whether an event is the prospect's; one that can't be read is, where the id is in it."""
        fields = _fields(state)
        return self.stored in state if fields is None else fields.get("prospect_id") == self.prospect_id

    def campaign_of(self, state: bytes) -> int | None:
        """Return the campaign of an event; None of one that can't be read."""
        campaign_id = (_fields(state) or {}).get("campaign_id")
        return campaign_id if isinstance(campaign_id, int) else None

    def retracted(self, state: bytes) -> bytes | None:
        """Return the key of the event that a retraction which names no prospect takes back; None for other events."""
        fields = _fields(state)
        if fields is None or fields.get("prospect_id") is not None or not isinstance(fields.get("retracts"), dict):
            return None
        return _key_of(fields["retracts"])

    def state(self, state: bytes, key: bytes) -> bytes:
        """Return the state of an event with this key without the id; a state that can't be read is taken as bytes."""
        fields = _fields(state)
        if fields is None:
            return state.replace(self.stored, self._token.encode())
        if fields.get("prospect_id") == self.prospect_id:
            fields["prospect_id"] = self._token
        self._rename(fields, key)
        retracts = fields.get("retracts")
        if isinstance(retracts, dict):
            retracted = _key_of(retracts)
            if self._rename(retracts, retracted):
                retracts["key"] = retracted
        return msgspec.json.encode(fields)

    def text(self, text: str | None) -> str | None:
        """Return a text for people without the id; a short id is replaced only where it is a word of its own."""
        return text and self._in_text.sub(self._token, text)

    def _rename(self, names: dict[str, Any], key: bytes) -> bool:
        """Replace the id in the names of the event with this key; return whether it is in them."""
        renamed = False
        for name, most in (("id", MAX_EVENT_ID), ("source", MAX_SOURCE)):
            text = names.get(name)
            if isinstance(text, str) and self.prospect_id in text:
                longer = text.replace(self.prospect_id, self._token)
                names[name] = longer if len(longer) <= most else f"{self._token}-{key.hex()}"
                renamed = True
        return renamed


def _fields(state: bytes) -> dict[str, Any] | None:
    """Return the fields of a stored state of any version; None where it is damaged."""
    try:
        fields = msgspec.json.decode(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _key_of(retracts: dict[str, Any]) -> bytes:
    key = retracts.get("key")
    if isinstance(key, str):
        return base64.b64decode(key)
    return event_key(Retracted(id=str(retracts.get("id")), source=str(retracts.get("source") or "")))
