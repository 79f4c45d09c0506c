-- Of each fact of a journey, what decides the numbers and what else is kept of it are columns of their own, which grow.

ALTER TABLE journey ADD COLUMN details bytea NOT NULL DEFAULT '';
