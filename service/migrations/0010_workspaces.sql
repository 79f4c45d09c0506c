-- What workspaces are called; written in the same transaction as their events in log 0.
-- works with: 8

CREATE TABLE workspace (
    workspace_id bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL
);
