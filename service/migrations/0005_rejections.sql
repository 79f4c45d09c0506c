-- The latest events of each workspace that were refused: what a worker did wrong last night is seen in the morning.

CREATE TABLE rejected_event (
    workspace_id bigint NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    at bigint NOT NULL,
    id text COLLATE "C",
    source text COLLATE "C",
    code text COLLATE "C" NOT NULL,
    error text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace_id, number)
);
