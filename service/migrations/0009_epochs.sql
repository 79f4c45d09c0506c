-- What tells two pasts of a log apart: its epoch, the mark of the event that was projected last, and which database it is.
-- works with: 8

-- The logs that are there share an epoch; each that begins later has one of its own. Only a constant is added without
-- writing every row anew. Each append works the default out: a random double is the cheapest.
DO $$ BEGIN
    EXECUTE format(
        'ALTER TABLE log_head ADD COLUMN epoch bigint NOT NULL DEFAULT %s, ADD COLUMN epoch_since timestamptz',
        1 + (random() * 9007199254740990)::bigint
    );
END $$;
ALTER TABLE log_head ALTER COLUMN epoch SET DEFAULT 1 + (random() * 9007199254740990)::bigint;

-- Position 0 has the mark 0: nothing is known of the event that was projected last. A program of an older version moves
-- the position alone.
ALTER TABLE projection
    ADD COLUMN mark bigint NOT NULL DEFAULT 0, ADD COLUMN mark_position bigint NOT NULL DEFAULT 0,
    ADD COLUMN lost_at timestamptz;

-- One row: the database in which the epochs began.
CREATE TABLE database_identity (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint,
    timeline text COLLATE "C",
    database oid NOT NULL
);
