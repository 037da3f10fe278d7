-- take_turn --
-- Two processes that start together migrate one after the other.
SELECT pg_advisory_xact_lock(7305804402566182001);

-- create_history --
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- history --
SELECT version, name, checksum FROM schema_migrations ORDER BY version;

-- record --
INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3);

-- forget --
DELETE FROM schema_migrations WHERE version = $1;
