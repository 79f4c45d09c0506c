-- The read models of each workspace. Rows belong to a generation; `projection` names the one that counts.

CREATE TABLE projection (
    workspace_id bigint PRIMARY KEY,
    generation bigint NOT NULL,
    position bigint NOT NULL,
    fold_version integer NOT NULL,
    projected_at timestamptz NOT NULL,
    stuck_position bigint,
    stuck_reason text,
    replayed_at timestamptz
);

-- Generations that are being built, until `leased_until`, or that are to be deleted.
CREATE TABLE spare_generation (
    workspace_id bigint NOT NULL,
    generation bigint NOT NULL,
    leased_until timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, generation)
);

CREATE TABLE journey (
    workspace_id bigint NOT NULL,
    generation bigint NOT NULL,
    campaign_id bigint NOT NULL,
    prospect_id text COLLATE "C" NOT NULL,
    facts bytea NOT NULL,
    PRIMARY KEY (workspace_id, generation, campaign_id, prospect_id)
);

CREATE TABLE campaign (
    workspace_id bigint NOT NULL,
    generation bigint NOT NULL,
    campaign_id bigint NOT NULL,
    about bytea NOT NULL,
    name text COLLATE "C",
    status text COLLATE "C",
    totals bigint[] NOT NULL,
    PRIMARY KEY (workspace_id, generation, campaign_id)
);
