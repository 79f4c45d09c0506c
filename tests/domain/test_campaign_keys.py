"""Shows that the id of a campaign with a key is the same wherever it is derived."""

import hashlib

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

from domain import ledger
from domain.access import Access
from domain.campaign_keys import campaign_id_of_key
from domain.events import EmailSent, canonical, decode, encode
from domain.parsing import RejectedError, parse
from domain.recorder import Pool
from tests.support.examples import api_key, email_sent, parsed
from tests.support.read_models import project_all

# For ever: numbers that are stored and shown depend on them.
PINNED = {
    "smartlead:4711": 6_840_832_276_660_393,
    "instantly:9f1c2d3e-0000-4000-8000-00000000a001": 6_040_186_280_267_870,
    "crm:Frühling 😀": 5_757_956_043_075_357,
}


@pytest.mark.parametrize(("key", "campaign_id"), PINNED.items())
def test_an_id_never_changes(key: str, campaign_id: int) -> None:
    assert campaign_id_of_key(key) == campaign_id


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256))
def test_an_id_is_above_every_own_one_and_safe_in_javascript(key: str) -> None:
    """It is 2^52 and the first 13 hexadecimal digits of the digest, which are 52 bits."""
    campaign_id = campaign_id_of_key(key)
    assert 2**52 <= campaign_id < 2**53
    assert f"{campaign_id - 2**52:013x}" == hashlib.sha256(b"campaign:1\n" + key.encode()).hexdigest()[:13]


def keyed(number: int, key: object = "tool:a", **more: object) -> dict[str, object]:
    """Return an event of a campaign that its tool names by a string."""
    event = {**email_sent(number), "campaign_key": key, **more}
    if "campaign_id" not in more:
        del event["campaign_id"]
    return event


def test_an_event_names_its_campaign_by_id_or_by_key() -> None:
    """The id is derived and stored beside the key; whoever reads the canonical form can post it again."""
    event = parse(keyed(1), 2**44)
    assert isinstance(event, EmailSent)
    assert (event.campaign_id, event.campaign_key) == (campaign_id_of_key("tool:a"), "tool:a")
    assert decode("domain.events:EmailSent", encode(event)) == event
    assert "campaign_id" not in canonical(event)
    assert parse(canonical(event), 2**44) == event


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (keyed(1, campaign_id=5), "campaign_key: expected campaign_id or campaign_key, not both"),
        (keyed(1, None), "campaign_id: is missing, or campaign_key in its place"),
        (keyed(1, ""), "campaign_key: expected 1 to 256 characters"),
        (keyed(1, "x" * 257), "campaign_key: expected 1 to 256 characters"),
        (keyed(1, 5), "campaign_key: expected a string, got an integer"),
        (keyed(1, "a\0"), "campaign_key: must not contain NUL or a lone surrogate"),
        (keyed(1, "\ud800"), "campaign_key: must not contain NUL or a lone surrogate"),
    ],
)
def test_a_wrong_key_is_named(fields: dict[str, object], error: str) -> None:
    with pytest.raises(RejectedError) as refused:
        parse(fields, 2**44)
    assert (refused.value.code, refused.value.errors) == ("invalid_field", (error,))


def test_a_campaign_with_a_key_is_shown_and_filtered_by_it(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    """Beside those that are asked for by id; the feed has both, the main answer the id alone."""
    key = api_key(users, 340)
    with pool.connection() as database:
        ledger.record(database, 340, parsed(keyed(1), keyed(2, "tool:b"), email_sent(3, campaign_id=7)))
    project_all(pool)

    def ask(path: str, **query: object) -> list[int]:
        answer = client.simulate_get(f"/api/v1/{path}", headers=key, params=query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json["campaigns"]]

    main = "dashboard/campaign-analytics/"
    a, b = (campaign_id_of_key(f"tool:{name}") for name in "ab")
    assert ask(main, campaign_key="tool:a") == [a]
    assert ask(main, campaign_key=["tool:b", "tool:a"], campaign_id=7) == sorted([7, a, b])
    assert ask("campaigns/", campaign_key="tool:c") == []
    feed = client.simulate_get("/api/v1/events/", headers=key).json["events"]
    assert [(each["campaign_id"], each.get("campaign_key")) for each in feed] == [
        (a, "tool:a"),
        (b, "tool:b"),
        (7, None),
    ]
