"""Mailgun: a mail service; signs a timestamp and a token, and names events for a day only."""

from connectors.mail_services import DELIVERED, NOT_PERMANENT, NOT_SENT, OTHER, Tags
from connectors.table import Only, Provider, Rule, facts

PROVIDER = Provider(
    name="mailgun",
    event="event-data.event",
    **Tags("event-data.user-variables.").fields(),
    time="event-data.timestamp",
    identity=(("@type", "event-data.message.headers.message-id", "event-data.recipient", "@time"),),
    signature="mailgun",
    events={
        "accepted": Rule(facts("EmailSent")),
        "opened": Rule(facts("EmailOpened")),
        "clicked": Rule(facts("EmailClicked")),
        "failed": Rule(facts("EmailBounced"), only=(Only("event-data.severity", ("permanent",), NOT_PERMANENT),)),
        "unsubscribed": Rule(facts("ProspectUnsubscribed")),
        "complained": Rule(facts("ProspectUnsubscribed")),
    },
    ignored={
        "delivered": DELIVERED,
        "rejected": NOT_SENT,
        "stored": OTHER,
        "list_member_uploaded": OTHER,
        "list_member_upload_error": OTHER,
        "list_uploaded": OTHER,
    },
)
