"""Shows that the id of a campaign with a key is the same wherever it is derived."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.campaign_keys import campaign_id_of_key

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
