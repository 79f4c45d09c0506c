-- What operators are told of the projection, the facts that they set aside, and what each version of the fold sums.

ALTER TABLE projection ADD COLUMN stuck_topic text COLLATE "C", ADD COLUMN rate bigint;

ALTER TABLE spare_generation
    ADD COLUMN folded bigint NOT NULL DEFAULT 0, ADD COLUMN upto bigint NOT NULL DEFAULT 0;

CREATE TABLE set_aside (
    workspace_id bigint NOT NULL,
    position bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    fault text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    by text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, position)
);

-- The names of the sums in `campaign.totals`, in order; each version adds its own when it first runs.
CREATE TABLE fold_version (
    version integer PRIMARY KEY,
    measures text[] COLLATE "C" NOT NULL
);
INSERT INTO fold_version VALUES (1, ARRAY[
    'amount_of_prospects', 'amount_of_emails_sent', 'amount_of_invites_sent', 'amount_of_invites_accepted',
    'amount_of_linkedin_messages_sent', 'amount_of_prospects_contacted', 'amount_of_replies', 'amount_of_interested',
    'amount_of_timed_replies', 'reply_time_ms'
]);
