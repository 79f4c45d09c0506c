-- The tools that may post to a workspace by a URL of their own; written in the same transaction as their events in
-- log 0, but for what is counted. A revoked one is gone.
-- works with: 8

CREATE TABLE hook (
    hook_id text COLLATE "C" PRIMARY KEY,
    workspace_id bigint NOT NULL,
    provider text COLLATE "C" NOT NULL,
    token_sha256 text COLLATE "C" NOT NULL UNIQUE,
    prospects text COLLATE "C" NOT NULL,
    own_campaign_ids boolean NOT NULL,
    secret text COLLATE "C" NOT NULL,
    labels jsonb NOT NULL,
    created_at bigint NOT NULL,
    created_by text COLLATE "C" NOT NULL,
    confirm_url text COLLATE "C"
);

-- What came in, by the tool's own name of it and what became of it.
CREATE TABLE hook_received (
    hook_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    first_at bigint NOT NULL,
    latest_at bigint NOT NULL,
    PRIMARY KEY (hook_id, name, outcome, reason)
);

-- The key by which prospects that a tool knows by their address are named; made once, in no log, never changed.
CREATE TABLE prospect_key (
    workspace_id bigint PRIMARY KEY,
    key bytea NOT NULL
);
