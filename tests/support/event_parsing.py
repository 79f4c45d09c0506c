"""An event of each kind as a worker writes it, and why the parser refuses others."""

from typing import Any

import pytest

from domain.parsing import RejectedError, parse

NOW = 1_793_527_200_000  # 2026-11-01T10:00:00Z


def event_of(kind: str = "EmailSent", **fields: Any) -> dict[str, Any]:
    """Return an event of a kind as a worker posts it, with only its required fields."""
    least: dict[str, dict[str, Any]] = {"CampaignCreated": {"name": "n"}, "CampaignRenamed": {"name": "n"}}
    least["CampaignStatusChanged"] = {"status": "DRAFT"}
    least["EventRetracted"] = {"retracts": {"id": "e-0"}}
    own = least.get(kind, {"prospect_id": "p"})
    return {"id": "e", "type": kind, "campaign_id": 1, "occurred_at": "2026-11-01T10:00:00Z", **own, **fields}


def refusal(fields: object, now: int = NOW) -> tuple[str, str]:
    """Return the code and the text with which an event is refused."""
    with pytest.raises(RejectedError) as caught:
        parse(fields, now)
    return caught.value.code, caught.value.error
