"""A row for each event and for each metric, with what tests hold it to: its stored bytes, its simplest definition."""

from typing import Any, NamedTuple

# Stored events look like this for ever: class name, the fields beside the common ones, and the bytes on disk.
COMMON = {"id": "e-1", "source": "w", "campaign_id": 123, "occurred_at": "2026-11-01T10:00:00Z"}
COMMON_STATE = '"id":"e-1","source":"w","campaign_id":123,"occurred_at":1793527200000}'
PROSPECT = {"prospect_id": "p"}
TOUCH = {"prospect_id": 5, "step": 2, "sender_id": "s", "variant": "A"}
REPLY = {**PROSPECT, "channel": "email", "automatic": True}
RETRACTION: dict[str, Any] = {**PROSPECT, "retracts": {"id": "e-0", "source": "w"}}
CREATED = {"name": "Ü", "status": "ACTIVE", "timezone": "Europe/Berlin", "language": "de"}
STORED = [
    ("CampaignCreated", CREATED, '{"name":"Ü","status":"ACTIVE","timezone":"Europe/Berlin","language":"de",'),
    ("CampaignRenamed", {"name": "N"}, '{"name":"N",'),
    ("CampaignStatusChanged", {"status": "PAUSED"}, '{"status":"PAUSED",'),
    ("ProspectAdded", PROSPECT, '{"prospect_id":"p",'),
    ("ProspectRemoved", PROSPECT, '{"prospect_id":"p",'),
    ("EmailSent", TOUCH, '{"prospect_id":"5","step":2,"sender_id":"s","variant":"A",'),
    ("InviteSent", PROSPECT, '{"prospect_id":"p",'),
    ("LinkedInMessageSent", PROSPECT, '{"prospect_id":"p",'),
    ("InviteAccepted", PROSPECT, '{"prospect_id":"p",'),
    ("ReplyReceived", REPLY, '{"prospect_id":"p","channel":"email","automatic":true,'),
    ("ProspectInterested", PROSPECT, '{"prospect_id":"p",'),
    ("ProspectNotInterested", PROSPECT, '{"prospect_id":"p",'),
    ("EmailOpened", PROSPECT, '{"prospect_id":"p",'),
    ("EmailClicked", PROSPECT, '{"prospect_id":"p",'),
    ("EmailBounced", PROSPECT, '{"prospect_id":"p",'),
    ("ProspectUnsubscribed", PROSPECT, '{"prospect_id":"p",'),
    ("MeetingBooked", PROSPECT, '{"prospect_id":"p",'),
    ("ProspectNeutral", PROSPECT, '{"prospect_id":"p",'),
    ("ReplyWasAutomatic", PROSPECT, '{"prospect_id":"p",'),
    ("EventRetracted", RETRACTION, '{"retracts":{"id":"e-0","source":"w"},"prospect_id":"p",'),
    # The line of a new event goes above this one.
]


class Each(NamedTuple):
    """A metric that counts the events of a type."""

    type: str


class First(NamedTuple):
    """A metric that counts the journeys with an event of a type, dated by the first."""

    type: str


class Rate(NamedTuple):
    """A metric that is one number divided by another."""

    part: str
    whole: str


class Mean(NamedTuple):
    """How long a turn takes, in words or in seconds."""

    words: bool


WORKED_OUT = None  # a metric with a rule of its own, in reference_periods.py

# Every metric in the order of the answer; a simple one is defined by its row alone.
ALWAYS = {
    "amount_of_prospects": WORKED_OUT,
    "amount_of_emails_sent": Each("EmailSent"),
    "amount_of_invites_sent": Each("InviteSent"),
    "amount_of_invites_accepted": Each("InviteAccepted"),
    "amount_of_linkedin_messages_sent": Each("LinkedInMessageSent"),
    "amount_of_prospects_contacted": WORKED_OUT,
    "amount_of_replies": WORKED_OUT,
    "amount_of_interested": WORKED_OUT,
    "average_reply_time": Mean(words=True),
}
EXTENDED = {
    "amount_of_emails_opened": Each("EmailOpened"),
    "amount_of_emails_clicked": Each("EmailClicked"),
    "amount_of_emails_bounced": Each("EmailBounced"),
    "amount_of_meetings_booked": Each("MeetingBooked"),
    "amount_of_automatic_replies": WORKED_OUT,
    "amount_of_prospects_replied": WORKED_OUT,
    "amount_of_prospects_accepted": First("InviteAccepted"),
    "amount_of_prospects_opened": First("EmailOpened"),
    "amount_of_prospects_clicked": First("EmailClicked"),
    "amount_of_prospects_unsubscribed": First("ProspectUnsubscribed"),
    "amount_of_not_interested": WORKED_OUT,
    "amount_of_timed_replies": WORKED_OUT,
    "average_reply_time_seconds": Mean(words=False),
    "acceptance_rate": Rate("amount_of_invites_accepted", "amount_of_invites_sent"),
    "reply_rate": Rate("amount_of_prospects_replied", "amount_of_prospects_contacted"),
    "interested_rate": Rate("amount_of_interested", "amount_of_prospects_replied"),
    "open_rate": Rate("amount_of_prospects_opened", "amount_of_prospects_contacted"),
    "bounce_rate": Rate("amount_of_emails_bounced", "amount_of_emails_sent"),
    # The row of a new metric goes above this line.
}
# The version of the fold, and the digest of what it makes of the example (test_metrics.py).
PINNED = (4, "ab21176f7548b7baa12bc21621a392dc3132759f69e8b5e34c2d8b87153e89b2")
