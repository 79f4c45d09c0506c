"""An answer settles events only where it accounts for each of them; whatever is in doubt is sent again."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from campaign_analytics_client import backoff
from campaign_analytics_client.answers import (
    MAX_RETRY_AFTER_SECONDS,
    Halt,
    Later,
    Meaning,
    Rejected,
    Settled,
    Split,
    understand,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)


def meaning(status: int, answer: Any, posted: int = 2, retry_after: str | None = None) -> Meaning:
    """Return what this answer to a post means."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return understand(status, retry_after, body, posted, NOW)


def rejected(index: Any = 0, **fields: Any) -> dict[str, Any]:
    """Return a rejection as in the server's answer."""
    return {"index": index, "id": "e-1", "code": "conflict", "error": "id: is known", **fields}


@pytest.mark.parametrize("status", [200, 207, 422])
def test_an_answer_that_accounts_for_each_event_settles_them(status: int) -> None:
    answer = {"workspace_id": 1, "accepted": 1, "duplicates": 2, "rejected": [rejected(3)], "position": 9}
    assert meaning(status, answer, posted=4) == Settled(1, 2, (Rejected(3, "conflict", "id: is known"),))


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>a proxy says hello</html>",
        b"",
        [],
        {},
        {"accepted": 1, "duplicates": 0, "rejected": []},
        {"accepted": 3, "duplicates": -1, "rejected": []},
        {"accepted": True, "duplicates": 1, "rejected": []},
        {"accepted": 2, "duplicates": 0},
        {"accepted": 2, "duplicates": 0, "rejected": [rejected(0)]},
        {"accepted": 0, "duplicates": 0, "rejected": [rejected(1), rejected(1)]},
        {"accepted": 1, "duplicates": 0, "rejected": [rejected(2)]},
        {"accepted": 1, "duplicates": 0, "rejected": [rejected(-1)]},
        {"accepted": 1, "duplicates": 0, "rejected": [rejected(None)]},
        {"accepted": 1, "duplicates": 0, "rejected": ["no"]},
        {"accepted": 0, "duplicates": 0, "rejected": [rejected(0)], "rejected_total": 2},
    ],
)
@pytest.mark.parametrize("status", [200, 207, 422])
def test_an_answer_that_leaves_a_doubt_settles_nothing(status: int, answer: Any) -> None:
    assert isinstance(meaning(status, answer), Later)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 400, 404, 405, 408, 415, 429, 500, 502, 503, 504])
def test_any_other_answer_means_to_send_the_same_later(status: int) -> None:
    assert isinstance(meaning(status, b"<html>"), Later)


def test_a_refused_body_is_split_until_one_event_is_to_blame() -> None:
    assert isinstance(meaning(413, b"<html>", posted=2), Split)
    assert isinstance(meaning(400, {"error": "body: is no JSON"}, posted=2), Split)
    assert meaning(413, {"error": "Too large"}, posted=1) == Settled(
        0, 0, (Rejected(0, "too_large", "the server answers 413: Too large"),)
    )
    assert meaning(400, {"error": "Bad", "details": [{"field": "body"}]}, posted=1) == Settled(
        0, 0, (Rejected(0, "malformed", 'the server answers 400: Bad [{"field": "body"}]'),)
    )


def test_who_may_not_write_stops() -> None:
    assert meaning(401, {"error": "Invalid API key"}) == Halt("the server answers 401: Invalid API key")
    missing = {"error": "Access denied", "details": [{"field": "scope", "error": "write is missing"}]}
    assert "write is missing" in meaning(403, missing).reason  # type: ignore[union-attr]
    assert isinstance(meaning(403, b""), Halt)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("999999999", MAX_RETRY_AFTER_SECONDS),
        ("9" * 400, MAX_RETRY_AFTER_SECONDS),
        ("9" * 5_000, None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Sun, 01 Nov 2026 10:00:30 GMT", 30.0),
        ("Sun, 01 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("1e400", None),
    ],
)
def test_retry_after_is_understood_as_seconds_or_an_instant(retry_after: str | None, seconds: float | None) -> None:
    for status in (429, 503):
        assert meaning(status, b"", retry_after=retry_after) == Later(f"the server answers {status}", seconds)


def test_what_a_server_says_can_be_stored_whatever_it_is() -> None:
    """JSON may have lone surrogates, which no file takes."""
    assert meaning(503, {"error": "\ud800"}) == Later("the server answers 503: ?", None)
    answer = {"accepted": 0, "duplicates": 0, "rejected": [rejected(0, code="\ud800", error="\ud800x")]}
    assert meaning(422, answer, posted=1) == Settled(0, 0, (Rejected(0, "?", "?x"),))


COUNTS = st.integers(-1, 4) | st.booleans() | st.none()
LISTED = st.lists(st.fixed_dictionaries({"index": COUNTS}) | st.none(), max_size=4)


@given(
    status=st.sampled_from([200, 207, 422]),
    answer=st.fixed_dictionaries({"accepted": COUNTS, "duplicates": COUNTS, "rejected": LISTED}),
    posted=st.integers(1, 4),
)
def test_whatever_is_settled_adds_up(status: int, answer: dict[str, Any], posted: int) -> None:
    understood = meaning(status, answer, posted)
    if isinstance(understood, Settled):
        places = [each.place for each in understood.rejected]
        assert understood.accepted + understood.duplicates + len(places) == posted
        assert sorted(set(places)) == sorted(places)
        assert all(0 <= place < posted for place in places)


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_waits_grow_to_a_bound_and_are_spread(failures: int, chance: float) -> None:
    seconds = backoff.delay(failures, None, lambda: chance)
    assert backoff.FIRST_SECONDS / 2 <= seconds <= backoff.MAX_SECONDS
    assert backoff.delay(failures + 1, None, lambda: chance) >= seconds
    assert backoff.delay(failures, None, lambda: 0.0) <= seconds


@given(failures=st.integers(1, 100), least=st.floats(0, MAX_RETRY_AFTER_SECONDS), chance=st.floats(0, 0.999))
def test_what_the_server_asks_for_is_waited_out(failures: int, least: float, chance: float) -> None:
    assert least <= backoff.delay(failures, least, lambda: chance) <= least * 1.1 + backoff.FIRST_SECONDS
