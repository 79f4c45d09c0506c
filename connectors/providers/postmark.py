"""Postmark: a mail service; signs nothing, so its hooks carry a user and a password in their URL."""

from connectors.mail_services import OTHER, Tags
from connectors.table import AUTOMATIC_REPLY, Choice, Fact, Only, Provider, Rule, facts

_BOUNCED = (Fact("EmailBounced"),)

PROVIDER = Provider(
    name="postmark",
    event="RecordType",
    **Tags("Metadata.").fields(),
    time="ReceivedAt",
    identity=(("@type", "MessageID", "Recipient", "@time"),),
    signature="basic",
    events={
        "Delivery": Rule(facts("EmailSent"), time="DeliveredAt"),  # nothing is posted when a mail is accepted
        "Open": Rule(facts("EmailOpened")),
        "Click": Rule(facts("EmailClicked")),
        "Bounce": Rule(
            choice=Choice(
                "Type",
                {
                    "hardbounce": _BOUNCED,
                    "bademailaddress": _BOUNCED,
                    "autoresponder": (AUTOMATIC_REPLY,),
                    "softbounce": (),
                    "transient": (),
                },
            ),
            time="BouncedAt",
            identity=(("@type", "ID"),),
        ),
        "SubscriptionChange": Rule(
            facts("ProspectUnsubscribed"),
            time="ChangedAt",
            only=(
                Only("SuppressSending", (True,), "being subscribed again is not counted"),
                Only(
                    "SuppressionReason",
                    ("ManualSuppression", "SpamComplaint"),
                    "suppressed after a bounce, which is counted as that",
                    or_absent=True,
                ),
            ),
        ),
        "SpamComplaint": Rule(facts("ProspectUnsubscribed"), time="BouncedAt", identity=(("@type", "ID"),)),
    },
    ignored={"Inbound": OTHER, "SMTPApiError": OTHER},
)
