-- The write side: one append-only log per workspace. Log 0 holds the users' own events.

CREATE TABLE log_head (
    workspace_id bigint PRIMARY KEY,
    head bigint NOT NULL
);

CREATE TABLE stored_events (
    workspace_id bigint NOT NULL,
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, originator_id, originator_version),
    UNIQUE (workspace_id, position)
);
