"""Instantly (v2): e-mail; campaigns are UUIDs, prospects are known by their address."""

from connectors.table import (
    AUTOMATIC_REPLY,
    COMPLETED,
    EMAIL_REPLY,
    Export,
    Provider,
    Rule,
    facts,
)

PROVIDER = Provider(
    name="instantly",
    event="event_type",
    tenant="workspace",
    campaign="campaign_id",
    campaign_name="campaign_name",
    prospect="lead_email",
    by_email=True,
    sender="email_account",
    step="step",  # a lead's custom fields are merged into the payload, so that only a JSON integer is one
    variant="variant",
    time="timestamp",
    labels=True,
    identity=(("@type", "@campaign", "@prospect?", "email_id?", "@step?", "@variant?", "@time"),),
    signature="header",
    export=Export(rows="items", payload="payload"),  # GET /api/v2/webhook-events
    events={
        "email_sent": Rule(facts("EmailSent")),
        "email_opened": Rule(facts("EmailOpened")),
        "link_clicked | email_link_clicked": Rule(facts("EmailClicked")),  # subscribed as the second, sent as the first
        "reply_received": Rule((EMAIL_REPLY,)),
        "auto_reply_received": Rule((AUTOMATIC_REPLY,)),
        "email_bounced": Rule(facts("EmailBounced")),
        "lead_unsubscribed": Rule(facts("ProspectUnsubscribed")),
        "lead_interested": Rule(facts("ProspectInterested")),
        "lead_not_interested": Rule(facts("ProspectNotInterested")),
        "lead_neutral": Rule(facts("ProspectNeutral")),
        "lead_meeting_booked": Rule(facts("MeetingBooked", "ProspectInterested")),  # the label replaces "interested"
        "lead_out_of_office": Rule(facts("ReplyWasAutomatic")),
        "campaign_completed": Rule((COMPLETED,)),
    },
    ignored={
        "lead_wrong_person": "ambiguous: it is not a no of that person",
        "lead_closed": "a deal, not a rating of a reply",
        "lead_meeting_completed": "meetings are counted when they are booked",
        "lead_no_show": "meetings are counted when they are booked",
        "account_error": "about a mailbox",
        "supersearch_*": "about the tool's own data",
    },
)
