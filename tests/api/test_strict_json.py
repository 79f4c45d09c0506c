"""Shows that repeated names are noticed wherever they stand and however they are spelt, and that nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http import strict_json
from api.http.strict_json import NotJSONError, decode, decode_each

TEXTS = st.text(st.sampled_from('ab"\\:,{}[]\n\u00e9\U0001f600\0'), max_size=4)
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, width=16) | TEXTS
SCALARS = SCALARS.filter(lambda value: value not in (float("inf"), float("-inf")))


class Pairs(list[tuple[str, Any]]):
    """An object by its pairs, of which several may have the same name."""


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXTS, inner), max_size=3).map(Pairs),
    max_leaves=12,
)


def written(value: Any, *, ascii_only: bool) -> str:
    """Return this as JSON."""
    if isinstance(value, Pairs):
        pairs = (
            f"{json.dumps(name, ensure_ascii=ascii_only)}: {written(of, ascii_only=ascii_only)}" for name, of in value
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + " ,".join(written(each, ascii_only=ascii_only) for each in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def repeats(value: Any) -> bool:
    """Return whether a name stands twice in an object of a value."""
    if isinstance(value, Pairs):
        return len({name for name, _ in value}) < len(value) or any(repeats(of) for _, of in value)
    return isinstance(value, list) and any(map(repeats, value))


@pytest.mark.parametrize("long", [1, 2**60])
@given(values=st.lists(VALUES, max_size=3), ascii_only=st.booleans())
def test_a_text_is_refused_exactly_where_a_name_stands_twice(values: list[Any], long: int, ascii_only: bool) -> None:  # noqa: FBT001
    """One by one and several together, by either way of counting."""
    texts = [written(value, ascii_only=ascii_only).encode() for value in values]
    before, strict_json._LONG = strict_json._LONG, long
    try:
        for value, text in zip(values, texts, strict=True):
            if repeats(value):
                with pytest.raises(NotJSONError, match="twice in one object"):
                    decode(text)
            else:
                assert decode(text) == json.loads(text)
        expected = None if any(map(repeats, values)) else [json.loads(text) for text in texts]
        assert decode_each(texts) == expected
    finally:
        strict_json._LONG = before


@pytest.mark.parametrize("deep", [100, 500, 990, 2_000])
def test_a_deep_text_is_read_or_refused(deep: int) -> None:
    """Also where a name stands twice at its bottom."""
    decode(b"[" * 90 + b"]" * 90)
    for inner in (b"1", b'{"a":1,"a":2}'):
        text = b"[" * deep + inner + b"]" * deep
        if deep < 300 and inner == b"1":
            decode(text)
        elif inner != b"1" or deep > 1_000:
            with pytest.raises(NotJSONError):
                decode(text)
