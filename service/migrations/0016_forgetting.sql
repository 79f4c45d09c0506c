-- How many prospects were forgotten in a workspace, so that whatever was read of it before is read again; and the
-- workspaces that were deleted, for good.
-- works with: 8

ALTER TABLE projection ADD COLUMN forgotten bigint NOT NULL DEFAULT 0;

CREATE TABLE deleted_workspace (
    workspace_id bigint PRIMARY KEY,
    deleted_at bigint NOT NULL
);
