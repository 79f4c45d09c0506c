"""lemlist: e-mail and LinkedIn; ids of its own for everything, also for each activity."""

from connectors.table import COMPLETED, EMAIL_REPLY, LINKEDIN_REPLY, Export, Provider, Rule, facts

_AGGREGATE = "sums up other activities, which would count twice"
_RATED_ON = ("emails", "linkedin", "aircall", "api", "manual")

PROVIDER = Provider(
    name="lemlist",
    event="type",
    tenant="teamId",
    own_id="_id",
    campaign="campaignId",
    campaign_name="campaignName",
    prospect="leadId",
    sender="sendUserId",
    step="sequenceStep",
    step_offset=1,  # it counts from 0
    time="createdAt",
    signature="body",
    export=Export(),  # GET /api/activities
    events={
        "emailsSent": Rule(facts("EmailSent")),
        "emailsOpened": Rule(facts("EmailOpened")),
        "emailsClicked": Rule(facts("EmailClicked")),
        "emailsBounced": Rule(facts("EmailBounced")),
        "emailsUnsubscribed": Rule(facts("ProspectUnsubscribed")),
        "emailsReplied": Rule((EMAIL_REPLY,)),
        "linkedinReplied": Rule((LINKEDIN_REPLY,)),
        "linkedinInviteDone": Rule(facts("InviteSent")),
        "linkedinInviteAccepted": Rule(facts("InviteAccepted")),
        "linkedinSent": Rule(facts("LinkedInMessageSent")),
        "linkedinVoiceNoteDone": Rule(facts("LinkedInMessageSent")),
        **{f"{where}Interested": Rule(facts("ProspectInterested")) for where in _RATED_ON},
        **{f"{where}NotInterested": Rule(facts("ProspectNotInterested")) for where in _RATED_ON},
        "campaignComplete": Rule((COMPLETED,)),
    },
    ignored={
        **dict.fromkeys(("contacted", "hooked", "attracted", "warmed", "interested", "notInterested"), _AGGREGATE),
        **dict.fromkeys(("whatsapp*", "sms*", "aircall*"), "a touch on a channel that is not counted"),
        "*Failed": "nothing was sent: it failed",
        **dict.fromkeys(("*Skipped", "paused", "resumed", "stopped"), "nothing was sent or answered"),
        "linkedinVisitDone": "no touch that is counted",
        "linkedinOpened": "opens are counted for e-mails",
    },
)
