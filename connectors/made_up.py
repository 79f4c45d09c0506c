"""Makes up a delivery of a provider by its own table: what it posts when a mail or an invitation was sent.

It shows that table, connection and way in understand each other; not that the provider posts what the table says.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from connectors.table import Provider
from domain.instants import format_instant

_HEADER = "header"


class MadeUp(NamedTuple):
    """A body as the provider posts it, and headers in lower case."""

    body: bytes
    headers: Mapping[str, str]


def made_up(provider: Provider, at: int) -> MadeUp:
    """Return a delivery of the first event of the provider's table, at an instant (ms, UTC)."""
    names, rule = next(iter(provider.events.items()))
    recipe = (rule.identity or provider.identity or ((),))[0]
    values: dict[str, object] = {path.removesuffix("?"): "test" for path in recipe if not path.startswith("@")}
    values |= {only.path: only.values[0] if only.values else "test" for only in rule.only}
    values |= {
        provider.own_id: "test",
        provider.tenant: "test",
        provider.campaign_name: "A test",
        provider.step: "1" if provider.tags else 1,
        rule.sender or provider.sender: "sender@example.com",
        provider.campaign: "test",
        rule.prospect or provider.prospect: "prospect@example.com",
        rule.time or provider.time: format_instant(at),
        provider.event: names.split(" | ")[0],
    }
    payload: dict[str, object] = {}
    for path, value in values.items():
        if path:
            _put(payload, path.split("|")[0].strip().split("."), value)
    headers = payload.pop(_HEADER, {})
    assert isinstance(headers, dict)
    if provider.envelope:
        payload = {provider.envelope: json.dumps(payload)}
    return MadeUp(json.dumps(payload).encode(), headers)


def _put(inside: dict[str, object], steps: list[str], value: object) -> None:
    """Put a value where a path names it; the first of a list is all that a path asks for."""
    first, *rest = steps
    if rest == ["0"]:
        inside[first] = [value]
    elif rest:
        deeper = inside.setdefault(first, {})
        assert isinstance(deeper, dict)
        _put(deeper, rest, value)
    else:
        inside[first] = value
