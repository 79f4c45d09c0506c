"""Amazon SES: a mail service; its events come by SNS, which wraps them as JSON in a string and signs the wrapping."""

from connectors.mail_services import DELIVERED, NOT_PERMANENT, NOT_SENT, Tags
from connectors.table import Only, Provider, Rule, facts

PROVIDER = Provider(
    name="ses",
    event="eventType | notificationType | Type",
    envelope="Message",
    **Tags("mail.tags.", ".0").fields(),
    tenant="mail.sendingAccountId",
    time="mail.timestamp",
    identity=(("@type", "mail.messageId", "@time", "click.link?"),),
    signature="sns",
    events={
        "Send": Rule(facts("EmailSent")),
        "Open": Rule(facts("EmailOpened"), time="open.timestamp"),
        "Click": Rule(facts("EmailClicked"), time="click.timestamp"),
        "Bounce": Rule(
            facts("EmailBounced"),
            time="bounce.timestamp",
            only=(Only("bounce.bounceType", ("Permanent",), NOT_PERMANENT),),
        ),
        "Complaint": Rule(facts("ProspectUnsubscribed"), time="complaint.timestamp"),
        "Subscription": Rule(
            facts("ProspectUnsubscribed"),
            time="subscription.timestamp",
            only=(Only("subscription.newTopicPreferences.unsubscribeAll", (True,), "not unsubscribed from all"),),
        ),
    },
    ignored={
        "Delivery": DELIVERED,
        "Reject": NOT_SENT,
        "DeliveryDelay": NOT_SENT,
        "Rendering Failure": NOT_SENT,
        "Notification": "a test of the topic, no event of a mail",
        "SubscriptionConfirmation": "the topic waits for its confirmation",
        "UnsubscribeConfirmation": "the topic was disconnected",
    },
)
