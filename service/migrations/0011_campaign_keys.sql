-- The keys by which tools name campaigns, beside the ids that are derived from them; the first key of an id stands.
-- works with: 8

CREATE TABLE campaign_key (
    workspace_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    campaign_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, campaign_id)
);
