"""HeyReach: LinkedIn; campaigns are integers, there are no steps."""

from connectors.table import COMPLETED, LINKEDIN_REPLY, Newest, Provider, Rule, facts

_ONCE = (("@type", "@campaign", "@prospect", "@sender_id?"),)  # happens once between two people in a campaign
_OURS = Newest("recent_messages", "creation_time", where="is_reply", value=False)
_THEIRS = Newest("recent_messages", "creation_time", where="is_reply", value=True)

PROVIDER = Provider(
    name="heyreach",
    event="event_type | eventType",
    campaign="campaign.id | campaignId",
    campaign_name="campaign.name",
    prospect="lead.id | leadProfile.id",
    sender="sender.id",
    time="timestamp",
    identity=(("@type", "@campaign", "@prospect?", "@sender_id?", "@time"),),
    events={
        "CONNECTION_REQUEST_SENT": Rule(facts("InviteSent"), identity=_ONCE),
        "CONNECTION_REQUEST_ACCEPTED": Rule(facts("InviteAccepted"), identity=_ONCE),
        "MESSAGE_SENT": Rule(facts("LinkedInMessageSent"), newest=_OURS),
        "INMAIL_SENT": Rule(facts("LinkedInMessageSent"), newest=_OURS),
        # The third repeats the replies of the first two, and has those outside of campaigns.
        "MESSAGE_REPLY_RECEIVED | INMAIL_REPLY_RECEIVED | EVERY_MESSAGE_REPLY_RECEIVED": Rule(
            (LINKEDIN_REPLY,), newest=_THEIRS
        ),
        "LEAD_AUTO_TAGGED_INTERESTED": Rule(facts("ProspectInterested")),
        "LEAD_AUTO_TAGGED_NOT_INTERESTED": Rule(facts("ProspectNotInterested")),
        "CAMPAIGN_COMPLETED": Rule((COMPLETED,)),
    },
    ignored={
        "LEAD_TAG_UPDATED": "tags mean what each team wants",
        "FOLLOW_SENT": "no touch that is counted",
        "LIKED_POST": "no touch that is counted",
        "VIEWED_PROFILE": "no touch that is counted",
        "LEAD_FINISHED_SEQUENCE_WITHOUT_REPLYING": "nothing was sent or answered",
        "*_GENERIC": "outside of campaigns",
    },
)
