-- What happened when: the sums of each campaign by day, and of each quarter hour in it (UTC); and how many facts it has.

CREATE TABLE campaign_activity (
    workspace_id bigint NOT NULL,
    generation bigint NOT NULL,
    campaign_id bigint NOT NULL,
    day integer NOT NULL,
    sums bytea NOT NULL,
    quarters bytea NOT NULL,
    PRIMARY KEY (workspace_id, generation, campaign_id, day)
);

ALTER TABLE campaign ADD COLUMN facts bigint NOT NULL DEFAULT 0;
