"""Woodpecker: e-mail, posted in lists; campaigns and prospects are integers; what is absent is an empty string."""

from connectors.table import AUTOMATIC_REPLY, COMPLETED, EMAIL_REPLY, Only, Provider, Rule, facts

_MAIL = "email.id | email.mail_id"
_REPLY = (("@type", _MAIL),)
_ANSWERED = (Only(_MAIL, (), "set by hand, there is no message"),)

PROVIDER = Provider(
    name="woodpecker",
    event="method",
    tenant="firm_id",
    campaign="prospect.campaign_id",  # `email.campaign_id` is another number
    campaign_name="prospect.campaign_name",
    prospect="prospect.id",
    sender="prospect.campaign_email",  # `email.email_from` is ours on what was sent only
    step="email.number | prospect.step",
    time="timestamp",
    identity=(("@type", "@prospect?", "@campaign", "@time"),),
    events={
        "campaign_sent": Rule(
            facts("EmailSent"),
            sender="email.email_from | prospect.campaign_email",
            time="email.sent | email.date | timestamp",
            identity=(("@type", "email.id"),),
        ),
        "email_opened": Rule(facts("EmailOpened")),
        "link_clicked": Rule(facts("EmailClicked")),
        "prospect_replied": Rule((EMAIL_REPLY,), only=_ANSWERED, time="email.date | timestamp", identity=_REPLY),
        "prospect_autoreplied": Rule(
            (AUTOMATIC_REPLY,), only=_ANSWERED, time="email.date | timestamp", identity=_REPLY
        ),
        "prospect_bounced": Rule(facts("EmailBounced")),
        "prospect_interested": Rule(facts("ProspectInterested")),
        "prospect_not_interested": Rule(facts("ProspectNotInterested")),
        "prospect_maybe_later": Rule(facts("ProspectNeutral")),
        "prospect_blacklisted": Rule(facts("ProspectUnsubscribed")),
        "prospect_opt_out": Rule(facts("ProspectUnsubscribed")),
        "prospect_saved": Rule(facts("ProspectAdded")),
        "campaign_completed": Rule((COMPLETED,)),
    },
    ignored={
        "prospect_invalid": "the address was wrong before anything was sent",
        "followup_after_autoreply": "nothing was sent or answered",
        "task_*": "a task, no outreach",
    },
)
