"""What a request's query says, checked strictly: a typo must not silently widen an answer."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

import falcon

from api.errors import BadRequestError
from domain.events import MAX_ID, shown
from projections.queries.caller import ALL, Asked

WORKSPACE = "workspace_id"
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class Parameters(NamedTuple):
    """A query's parameters: those that may be given once, and those that may be given several times."""

    one: dict[str, str]
    many: dict[str, list[str]]


def query(request: falcon.Request, allowed: Sequence[str]) -> dict[str, str]:
    """Return the query's parameters; raise BadRequestError where one is unknown, repeated or empty."""
    return parameters(request.query_string, allowed).one


def parameters(query_string: str, allowed: Sequence[str], repeatable: Sequence[str] = ()) -> Parameters:
    """Return a query's parameters, of which some may be repeated; raise BadRequestError as `query` does."""
    found = Parameters({}, {})
    faults = []
    for name, value in parse_qsl(query_string, keep_blank_values=True):
        if name not in allowed:
            expected = f"expected one of {', '.join(allowed)}" if allowed else "no parameter is expected"
            faults.append((shown(name), f"is not a parameter here, {expected}"))
        elif name in found.one:
            faults.append((name, "is given twice"))
        elif not value:
            faults.append((name, "is empty"))
        elif name in repeatable:
            found.many.setdefault(name, []).append(value)
        else:
            found.one[name] = value
    if faults:
        raise BadRequestError(*faults)
    return found


def chosen(given: dict[str, str], name: str, allowed: Sequence[str]) -> str:
    """Return which of a few words a parameter is, the first where it is not given; raise BadRequestError."""
    text = given.get(name, allowed[0])
    if text not in allowed:
        raise BadRequestError((name, f"expected {'one of ' if len(allowed) > 1 else ''}{' '.join(allowed)}"))
    return text


def asked(parameters: dict[str, str], *, every: bool) -> Asked:
    """Return which workspaces are asked for; `every` says whether `ALL` is among what may be."""
    text = parameters.get(WORKSPACE)
    if text is None:
        return Asked()
    if every and text == ALL:
        return Asked(every=True)
    allowed = f"expected a number from 1 to {MAX_ID}" + (f" or {ALL}" if every else "")
    return Asked(workspace_id=number(WORKSPACE, text, 1, allowed))


def position(parameters: dict[str, str], name: str) -> int | None:
    """Return a position of the log, None where it is not given."""
    text = parameters.get(name)
    return None if text is None else number(name, text, 0, f"expected a number from 0 to {MAX_ID}")


def number(name: str, text: str, least: int, expected: str) -> int:
    """Return a plain decimal from `least` to 2^63-1; raise BadRequestError, which says what is expected, for others."""
    if not _DECIMAL.fullmatch(text) or not least <= int(text) <= MAX_ID:
        raise BadRequestError((name, expected))
    return int(text)
