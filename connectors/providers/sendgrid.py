"""SendGrid: a mail service; posts lists, often twice with another `sg_event_id`; tags stand at the top level."""

from connectors.mail_services import DELIVERED, NOT_PERMANENT, NOT_SENT, OTHER, Tags
from connectors.table import Only, Provider, Rule, facts

PROVIDER = Provider(
    name="sendgrid",
    event="event",
    **Tags().fields(),
    time="timestamp",  # whole seconds
    identity=(("@type", "sg_message_id", "email", "@time", "url?"),),
    signature="sendgrid",
    events={
        "processed": Rule(facts("EmailSent")),
        "open": Rule(facts("EmailOpened")),
        "click": Rule(facts("EmailClicked")),
        "bounce": Rule(facts("EmailBounced"), only=(Only("type", ("bounce",), NOT_PERMANENT, or_absent=True),)),
        "unsubscribe": Rule(facts("ProspectUnsubscribed")),
        "group_unsubscribe": Rule(facts("ProspectUnsubscribed")),
        "spamreport": Rule(facts("ProspectUnsubscribed")),
    },
    ignored={
        "delivered": DELIVERED,
        "deferred": NOT_SENT,
        "dropped": NOT_SENT,
        "group_resubscribe": "being subscribed again is not counted",
        "account_status_change": OTHER,
    },
)
