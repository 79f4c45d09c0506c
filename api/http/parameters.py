"""Query parameters, one object each: it names, describes, parses and refuses its values. An unknown one is a 400.

A typo must not silently widen an answer, so a resource takes just the parameters that it declares.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import falcon

from api.errors import BadRequestError
from domain.events import MAX_ID
from domain.parsing import MAX_ERRORS
from domain.suggestions import did_you_mean
from domain.texts import shown
from projections.queries.caller import ALL, Asked

Json = dict[str, Any]
T = TypeVar("T")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of other bytes
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class ExpectedError(ValueError):
    """A parameter's text is not a value of it; the error's text says what is expected."""


@dataclass(frozen=True, eq=False)
class Parameter(Generic[T]):
    """A parameter: its name, a schema and a text for the OpenAPI document, and how its values are read.

    `read` takes the texts in the order of the query, one unless the parameter is `repeatable`, and raises
    ExpectedError. `default` is its value where the query does not name it.
    """

    name: str
    text: str
    schema: Json
    read: Callable[[list[str]], T]
    default: T
    repeatable: bool = False
    required: bool = False

    def described(self) -> Json:
        """Return the parameter as the OpenAPI document has it."""
        schema = {"type": "array", "items": self.schema, "minItems": 1} if self.repeatable else self.schema
        text = f"{self.text}; may be repeated" if self.repeatable else self.text
        return {"name": self.name, "in": "query", "description": text, "schema": schema, "required": self.required}


class Values:
    """The values of a query's parameters; of those that the query does not name, the defaults."""

    def __init__(self, values: Mapping[str, object]) -> None:
        """Take the values by the parameters' names, without those that are defaults."""
        self._values = values

    def __getitem__(self, parameter: Parameter[T]) -> T:
        """Return the value of a parameter."""
        value: T = self._values.get(parameter.name, parameter.default)  # type: ignore[assignment]  # as it was read
        return value

    def with_value(self, parameter: Parameter[T], value: T) -> "Values":
        """Return the same values with another one of a parameter."""
        return Values({**self._values, parameter.name: value})

    def normal(self, *, without: Sequence[Parameter[Any]] = ()) -> str:
        """Return the query in its one normal form: queries with the same meaning have the same one."""
        left_out = {parameter.name for parameter in without}
        return "&".join(f"{name}={self._values[name]!r}" for name in sorted(self._values) if name not in left_out)


class Query:
    """The parameters that a resource takes."""

    def __init__(self, *parameters: Parameter[Any]) -> None:
        """Take the parameters, in the order in which the document lists them."""
        self.parameters = parameters
        self._by_name = {parameter.name: parameter for parameter in parameters}

    def read(self, query_string: str) -> Values:
        """Return the values that a query string gives; raise BadRequestError, which names each fault."""
        texts, faults = self._texts(query_string)
        values = {}
        for parameter in self.parameters:
            if parameter.name in texts:
                try:
                    value = parameter.read(texts[parameter.name])
                except ExpectedError as error:
                    faults.append((parameter.name, str(error)))
                else:
                    if value != parameter.default:
                        values[parameter.name] = value
            elif parameter.required and not faults:
                faults.append((parameter.name, f"is missing: {parameter.text}"))
        if faults:
            raise BadRequestError(*faults)
        return Values(values)

    def _texts(self, query_string: str) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
        """Return the texts of a query's parameters, and the faults of its form."""
        texts: dict[str, list[str]] = {}
        faults = list[tuple[str, str]]()
        for name, text in parse_qsl(query_string, keep_blank_values=True, errors="surrogateescape"):
            parameter = self._by_name.get(name)
            if len(faults) == MAX_ERRORS:
                break
            if parameter is None:
                faults.append((shown(name), f"is not a parameter here, {self._expected(name)}"))
            elif name in texts and not parameter.repeatable:
                faults.append((name, "is given twice"))
            elif not text:
                faults.append((name, "is empty"))
            elif _NOT_UTF8.search(text):
                faults.append((name, "expected UTF-8"))
            else:
                texts.setdefault(name, []).append(text)
        return texts, faults

    def _expected(self, name: str) -> str:
        if not self._by_name:
            return "no parameter is expected"
        return f"expected one of {', '.join(self._by_name)}{did_you_mean(name, self._by_name)}"


NOTHING = Query()


def no_parameters(request: falcon.Request) -> None:
    """Raise BadRequestError where a request has a query."""
    if request.query_string:
        NOTHING.read(request.query_string)


def one_of(name: str, text: str, words: Sequence[str], default: str | None = None) -> Parameter[Any]:
    """Return a parameter that is one of a few words; without a default it is None where it is absent."""

    def read(texts: list[str]) -> str:
        if texts[0] not in words:
            raise ExpectedError(f"expected {'one of ' if len(words) > 1 else ''}{' '.join(words)}")
        return texts[0]

    return Parameter(name, text, _words(words, default), read, default)


def number(name: str, text: str, least: int, most: int, default: int | None = None) -> Parameter[Any]:
    """Return a parameter that is a plain decimal integer from `least` to `most`."""
    schema = {"type": "integer", "minimum": least, "maximum": most} | ({} if default is None else {"default": default})
    return Parameter(name, text, schema, lambda texts: read_number(texts[0], least, most), default)


def read_number(text: str, least: int = 1, most: int = MAX_ID, more: str = "") -> int:
    """Return a plain decimal from `least` to `most`; raise ExpectedError, with `more` behind its text, for others."""
    if not _DECIMAL.fullmatch(text) or not least <= int(text) <= most:
        raise ExpectedError(f"expected a number from {least} to {most}{more}")
    return int(text)


def in_path(name: str, text: str) -> int:
    """Return the id that a part of the path is; raise BadRequestError, which names it, where it is none."""
    try:
        return read_number(text)
    except ExpectedError as error:
        raise BadRequestError((name, str(error))) from error


def path_is_utf8(request: falcon.Request) -> bool:
    """Return whether a path is UTF-8 behind its percent signs; else Falcon shows replacement characters instead."""
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode()  # type: ignore[attr-defined]
    except UnicodeDecodeError:
        return False
    return True


def _words(words: Sequence[str], default: str | None) -> Json:
    return {"type": "string", "enum": list(words)} | ({"default": default} if default else {})


def _read_workspace(texts: list[str], *, every: bool) -> Asked:
    if every and texts[0] == ALL:
        return Asked(every=True)
    return Asked(workspace_id=read_number(texts[0], more=f" or {ALL}" if every else ""))


ID: Json = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
WORKSPACE = Parameter(
    "workspace_id",
    "the workspace, or ALL that the user is linked to; without it, the user's current one",
    {"anyOf": [ID, {"const": ALL}]},
    partial(_read_workspace, every=True),
    Asked(),
)
ONE_WORKSPACE = Parameter(
    "workspace_id",
    "the workspace; without it, the user's current one",
    ID,
    partial(_read_workspace, every=False),
    Asked(),
)
