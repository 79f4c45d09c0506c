-- When a key was used last, and how often in the minute that is running; the latter need not outlive a crash.

ALTER TABLE api_key ADD COLUMN last_used_at bigint;

CREATE INDEX api_key_of_user ON api_key (user_id);

CREATE UNLOGGED TABLE api_key_window (
    prefix text COLLATE "C" PRIMARY KEY,
    ends_at timestamptz NOT NULL,
    requests bigint NOT NULL
) WITH (fillfactor = 50);
