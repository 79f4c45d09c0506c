"""Resend: a mail service; signs by Svix, and names each event by an id that a retry and a replay keep."""

from connectors.mail_services import DELIVERED, NOT_PERMANENT, NOT_SENT, OTHER, Tags
from connectors.table import Only, Provider, Rule, facts

PROVIDER = Provider(
    name="resend",
    event="type",
    **Tags("data.tags.").fields(),
    time="created_at",  # `data.created_at` is that of the mail
    own_id="header.svix-id | header.webhook-id",
    signature="svix",
    events={
        "email.sent": Rule(facts("EmailSent")),
        "email.opened": Rule(facts("EmailOpened")),
        "email.clicked": Rule(facts("EmailClicked")),
        "email.bounced": Rule(
            facts("EmailBounced"),
            only=(Only("data.bounce.type", ("Permanent", "hard"), NOT_PERMANENT, or_absent=True),),
        ),
        "email.complained": Rule(facts("ProspectUnsubscribed")),
    },
    ignored={
        "email.delivered": DELIVERED,
        "email.delivery_delayed": NOT_SENT,
        "email.failed": NOT_SENT,
        "email.scheduled": NOT_SENT,
        "email.suppressed": NOT_SENT,
        "email.received": OTHER,
        "contact.*": OTHER,
        "domain.*": OTHER,
    },
)
