-- How many events of a campaign, its own and those of its prospects, count: a campaign without any is not shown. Rows of
-- an earlier version of the fold are shown until they are rebuilt.
-- works with: 8

ALTER TABLE campaign ADD COLUMN counted bigint NOT NULL DEFAULT 1;
