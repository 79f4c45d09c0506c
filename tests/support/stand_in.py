"""Stands in for Citus: PostgreSQL with an extension of that name, whose functions only note what they were called with.

All statements then have their forms for Citus, and PostgreSQL runs them; whether Citus takes them it can't tell. Nor
can it lose a node, but it can be told to fail for a workspace as if its node were away.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

_INSTALL = """
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (
    logicalrelid regclass PRIMARY KEY, partmethod "char" NOT NULL, repmodel "char" NOT NULL, called text NOT NULL
);
CREATE TABLE pg_catalog.stand_in_emptied (name text PRIMARY KEY);
CREATE FUNCTION pg_catalog.create_distributed_table(name regclass, distribution_column text, colocate_with text)
RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    IF colocate_with <> 'none' AND NOT EXISTS (
        SELECT FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass AND partmethod = 'h'
    ) THEN
        RAISE EXCEPTION '% is not distributed', colocate_with;
    END IF;
    INSERT INTO pg_dist_partition
    VALUES (name, 'h', 's', format('%s by %s with %s', name, distribution_column, colocate_with));
END $$;
CREATE FUNCTION pg_catalog.create_reference_table(name regclass) RETURNS void LANGUAGE sql AS
$$ INSERT INTO pg_dist_partition VALUES (name, 'n', 't', format('%s on all nodes', name)) $$;
CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(name regclass) RETURNS void LANGUAGE sql AS
$$ INSERT INTO stand_in_emptied VALUES (name) ON CONFLICT DO NOTHING $$;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 1, 'citus', datdba, 'pg_catalog'::regnamespace, false, 'stand-in'
FROM pg_database WHERE datname = current_database();
"""
_LOSE = """
CREATE TABLE lost_workspace (workspace_id bigint PRIMARY KEY);
CREATE FUNCTION is_on_a_living_node(wanted bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN
    IF EXISTS (SELECT FROM lost_workspace WHERE workspace_id = wanted) THEN
        RAISE EXCEPTION 'connection to the remote node worker-1:5432 failed' USING ERRCODE = 'connection_failure';
    END IF;
    RETURN true;
END $$;
"""
_CALLED = "SELECT called FROM pg_dist_partition ORDER BY called"


def install(url: str) -> None:
    """Let a database have the stand-in, as its superuser."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_INSTALL)


def calls(url: str) -> list[str]:
    """Return which tables were distributed, and how."""
    with psycopg.connect(url) as connection:
        return [called for (called,) in connection.execute(_CALLED)]


def emptied(url: str) -> list[str]:
    """Return of which tables the coordinator's rows were deleted."""
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM stand_in_emptied ORDER BY name")]


@contextmanager
def with_nodes_to_lose(url: str, distributed: Iterable[str]) -> Iterator[str]:
    """Give the URL by which a database fails for the rows of lost workspaces, as if their node were away."""
    with psycopg.connect(url, autocommit=True) as connection:
        role = f"user_of_{connection.info.dbname}"
        connection.execute(_LOSE)
        connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(role), Literal(role)))
        connection.execute(SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(Identifier(role)))
        for name in distributed:
            connection.execute(SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(Identifier(name)))
            connection.execute(
                SQL("CREATE POLICY living ON {} USING (is_on_a_living_node(workspace_id))").format(Identifier(name))
            )
        connection.execute(SQL("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {}").format(Identifier(role)))
        try:
            yield make_conninfo(url, user=role, password=role)
        finally:
            connection.execute(SQL("DROP OWNED BY {} CASCADE").format(Identifier(role)))
            connection.execute(SQL("DROP ROLE {}").format(Identifier(role)))


def lose(url: str, *workspaces: int) -> None:
    """Let the nodes of these workspaces be away, and all others be there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE lost_workspace")
        for each in workspaces:
            connection.execute("INSERT INTO lost_workspace VALUES (%s)", (each,))
