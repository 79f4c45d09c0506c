"""Smartlead: e-mail; campaigns are integers, prospects are known by their address; three generations of field names."""

from connectors.table import (
    ACTIVE,
    CATEGORIES,
    COMPLETED,
    EMAIL_REPLY,
    PAUSED,
    Choice,
    Fact,
    Provider,
    Rule,
    facts,
)

# Never `from_email` or `to_email` of a reply: they change places.
_LEAD = "sl_lead_email | leadCorrespondence.targetLeadEmail | lead_data.email | lead.email | lead_email"
_RECIPIENT = f"{_LEAD} | to_email"
_LACKING = ("@type", "@campaign", "@prospect?", "sequence_number?", "@time")  # where the field of its own is missing
_TOUCHED = ("@type", "stats_id", "@time", "link_clicked?")

PROVIDER = Provider(
    name="smartlead",
    event="event_type",
    campaign="campaign_id",
    campaign_name="campaign_name",
    prospect=_LEAD,
    by_email=True,
    step="sequence_number",
    time="event_timestamp | timestamp | time_sent | time_replied | time_opened | time_clicked",
    identity=(_LACKING,),
    signature="smartlead",
    events={
        "EMAIL_SENT": Rule(
            facts("EmailSent"), prospect=_RECIPIENT, sender="from_email", identity=(("@type", "stats_id"), _LACKING)
        ),
        "EMAIL_OPEN | EMAIL_OPENED": Rule(facts("EmailOpened"), prospect=_RECIPIENT, identity=(_TOUCHED, _LACKING)),
        "EMAIL_LINK_CLICK | EMAIL_CLICKED": Rule(
            facts("EmailClicked"), prospect=_RECIPIENT, identity=(_TOUCHED, _LACKING)
        ),
        "EMAIL_REPLY | EMAIL_REPLIED": Rule((EMAIL_REPLY,), identity=(("@type", "reply_message.message_id"), _LACKING)),
        "EMAIL_BOUNCE | EMAIL_BOUNCED": Rule(
            facts("EmailBounced"), prospect=_RECIPIENT, identity=(("@type", "stats_id"), _LACKING)
        ),
        "LEAD_UNSUBSCRIBED | EMAIL_UNSUBSCRIBED": Rule(facts("ProspectUnsubscribed")),
        "LEAD_CATEGORY_UPDATED": Rule(
            choice=Choice("lead_category.new_name | category", CATEGORIES, editable=True),
            identity=(
                ("@type", "@campaign", "@prospect", "lead_category.new_id | lead_category_id", "@time"),
                _LACKING,
            ),
        ),
        # No event time: dated by its receipt.
        "CAMPAIGN_STATUS_CHANGED": Rule(
            choice=Choice(
                "current_status",
                {
                    "active": (ACTIVE,),
                    "paused": (PAUSED,),
                    "stopped": (COMPLETED,),
                    "completed": (COMPLETED,),
                    "archived": (Fact("CampaignStatusChanged", status="ARCHIVED"),),
                    "drafted": (Fact("CampaignStatusChanged", status="DRAFT"),),
                },
            ),
            identity=(("@type", "@campaign", "current_status", "@time"),),
        ),
    },
    ignored={
        "FIRST_EMAIL_SENT": "a part of EMAIL_SENT, which would count twice",
        "UNTRACKED_REPLIES": "names no campaign and no prospect",
        "MANUAL_STEP_REACHED": "nothing was sent",
    },
)
