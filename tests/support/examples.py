"""One canonical example of everything that tests hand in: events, keys and tokens."""

from datetime import UTC, datetime
from typing import Any

import jwt

from domain.access import Access
from domain.events import Event
from domain.parsing import parse

JWT_SECRET = "a secret of the tests, long enough to be taken"
WORKED_EXAMPLE = [  # DOMAIN: three prospects of one campaign, thirteen events
    ("a", "ProspectAdded", "2026-11-01T09:00:00Z"),
    ("a", "EmailSent", "2026-11-01T10:00:00Z"),
    ("a", "EmailSent", "2026-11-03T10:00:00Z"),
    ("a", "ReplyReceived", "2026-11-05T10:00:00Z"),
    ("a", "ReplyReceived", "2026-11-05T11:00:00Z"),
    ("a", "ProspectInterested", "2026-11-05T12:00:00Z"),
    ("b", "InviteSent", "2026-11-01T10:00:00Z"),
    ("b", "InviteAccepted", "2026-11-02T10:00:00Z"),
    ("b", "LinkedInMessageSent", "2026-11-02T11:00:00Z"),
    ("b", "ReplyReceived", "2026-11-04T11:00:00Z"),
    ("c", "EmailSent", "2026-11-01T10:00:00Z"),
    ("c", "ReplyReceived", "2026-11-01T10:01:00Z"),
    ("c", "ProspectRemoved", "2026-11-02T09:00:00Z"),
]
WORKED_EXAMPLE_ANALYTICS = {
    "amount_of_prospects": 2,
    "amount_of_emails_sent": 3,
    "amount_of_invites_sent": 1,
    "amount_of_invites_accepted": 1,
    "amount_of_linkedin_messages_sent": 1,
    "amount_of_prospects_contacted": 3,
    "amount_of_replies": 3,
    "amount_of_interested": 1,
    "average_reply_time": "2 days",
}
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def email_sent(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an e-mail that was sent, as a worker posts it."""
    return {
        "id": f"e-{number}",
        "type": "EmailSent",
        "campaign_id": 123,
        "prospect_id": f"p-{number}",
        "occurred_at": "2026-11-01T10:00:00Z",
        **fields,
    }


def worked_example(campaign_id: int = 123) -> list[dict[str, Any]]:
    """Return the worked example's events as a worker posts them."""
    return [
        {
            "id": f"{campaign_id}-{number}",
            "type": kind,
            "campaign_id": campaign_id,
            "prospect_id": prospect,
            "occurred_at": at,
            **({"automatic": True} if prospect == "c" and kind == "ReplyReceived" else {}),
        }
        for number, (prospect, kind, at) in enumerate(WORKED_EXAMPLE)
    ]


def parsed(*events: dict[str, Any]) -> list[Event]:
    """Return events as the ledger takes them."""
    return [parse(event, 2**62) for event in events]


def lacking(scope: str) -> dict[str, Any]:
    """Return the body of a 403 for a key of the caller's own that lacks a scope."""
    return {"error": "Access denied", "details": [{"field": "scope", "error": f"{scope} is missing"}]}


def session(user: str = "u-1", **claims: Any) -> dict[str, str]:
    """Return the header with a session cookie of a user, valid for a minute."""
    token = {"sub": user, "exp": int(datetime.now(UTC).timestamp()) + 60, **claims}
    return {"Cookie": f"sessionid={jwt.encode(token, JWT_SECRET, algorithm='HS256')}"}


def api_key(
    users: Access, *workspaces: int, user: str = "u-1", scopes: tuple[str, ...] = ("read", "write")
) -> dict[str, str]:
    """Link the workspaces to the user, and return the header with a new API key of theirs."""
    for workspace in workspaces:
        users.link(user, workspace, "cli:test")
    issued = users.issue_key(user, scopes=scopes, name="test", expires_at=None, by="cli:test")
    return {"X-API-Key": issued.key}
