"""Reply.io: e-mail and LinkedIn; campaigns and contacts are integers; names of events of two generations."""

from connectors.table import (
    ACTIVE,
    AUTOMATIC_REPLY,
    CATEGORIES,
    COMPLETED,
    EMAIL_REPLY,
    LINKEDIN_REPLY,
    PAUSED,
    Choice,
    Export,
    Only,
    Provider,
    Rule,
    facts,
)

_CATEGORY = Rule(choice=Choice("category_name | category | inbox_category", CATEGORIES, editable=True))

PROVIDER = Provider(
    name="reply.io",
    event="event.type",
    tenant="event.team_id",
    campaign="sequence_fields.id | payload.sequence.id",
    campaign_name="sequence_fields.name | payload.sequence.name",
    prospect="contact_fields.id | payload.contact.id",
    sender="data.emailAccountId | payload.data.emailAccountId",
    step="sequence_fields.step | payload.sequence.stepNumber",
    time="event.date | event.timestamp",
    identity=(("@type", "@campaign", "@prospect?", "@time"),),  # `event.id` is that of the delivery
    export=Export(),  # GET /v3/webhook-events
    events={
        "email_sent": Rule(facts("EmailSent")),
        "email_opened": Rule(facts("EmailOpened")),
        "email_link_clicked | link_clicked": Rule(facts("EmailClicked")),
        "email_bounced": Rule(facts("EmailBounced")),
        "email_replied": Rule(
            (EMAIL_REPLY,),
            only=(Only("reply_reason", ("EmailDetected",), "marked by hand, there is no message", or_absent=True),),
        ),
        "email_auto_reply | auto_reply_received": Rule((AUTOMATIC_REPLY,)),
        "linkedin_connection_request_sent": Rule(facts("InviteSent")),
        "linkedin_connection_request_accepted": Rule(facts("InviteAccepted")),
        "linkedin_message_sent": Rule(facts("LinkedInMessageSent")),
        "linkedin_message_replied": Rule((LINKEDIN_REPLY,)),
        "reply_categorized": _CATEGORY,
        "linkedin_reply_categorized": _CATEGORY,
        "contact_opted_out | email_unsubscribed": Rule(facts("ProspectUnsubscribed")),
        "email_spam_reported": Rule(facts("ProspectUnsubscribed")),
        "meeting_booked": Rule(facts("MeetingBooked")),
        "sequence_started": Rule((ACTIVE,)),
        "sequence_resumed": Rule((ACTIVE,)),
        "sequence_paused": Rule((PAUSED,)),
        "sequence_stopped": Rule((PAUSED,)),
        "sequence_completed": Rule((COMPLETED,)),
    },
    ignored={
        "contact_called": "a touch on a channel that is not counted",
        "contact_finished": "nothing was sent or answered",
        "email_account_*": "about a mailbox",
        "linkedin_account_*": "about an account",
        "autopilot_stopped": "about the tool itself",
        "meeting_*": "meetings are counted when they are booked",
    },
)
