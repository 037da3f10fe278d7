-- insert_user --
INSERT INTO users (id, email, name, password_hash, is_admin) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (email) DO NOTHING
RETURNING id, email, name, is_admin, created_at;

-- user_by_id --
SELECT id, email, name, is_admin, created_at FROM users WHERE id = $1;

-- user_by_email --
SELECT id, email, name, is_admin, created_at, password_hash FROM users WHERE email = $1;

-- first_admin --
SELECT id, email, name, is_admin, created_at FROM users
 WHERE is_admin ORDER BY created_at, id LIMIT 1;

-- has_password --
SELECT password_hash IS NOT NULL AS has_password FROM users WHERE id = $1;

-- replace_password_hash --
-- Only the hash that was verified: a password chosen meanwhile stays.
UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2;

-- set_password --
-- A new password ends every session and link that the old one, or a thief, may have.
WITH ended_sessions AS (DELETE FROM sessions WHERE user_id = $1),
     ended_links AS (DELETE FROM setup_links WHERE user_id = $1)
UPDATE users SET password_hash = $2 WHERE id = $1
RETURNING id, email, name, is_admin, created_at;

-- forget_setup_links --
DELETE FROM setup_links WHERE user_id = $1;

-- insert_setup_link --
INSERT INTO setup_links (digest, user_id, expires_at)
VALUES ($1, $2, now() + make_interval(secs => $3));

-- setup_link_is_open --
SELECT EXISTS (SELECT FROM setup_links WHERE digest = $1 AND expires_at > now());

-- take_setup_link --
-- Of two who redeem at once, one gets the row.
DELETE FROM setup_links WHERE digest = $1 AND expires_at > now() RETURNING user_id;

-- forget_expired_sessions --
DELETE FROM sessions WHERE user_id = $1 AND expires_at <= now();

-- insert_session --
INSERT INTO sessions (id, digest, user_id, expires_at)
VALUES ($1, $2, $3, now() + make_interval(secs => $4))
RETURNING expires_at;

-- session_by_digest --
SELECT s.id AS session_id, s.expires_at, u.id, u.email, u.name, u.is_admin, u.created_at
  FROM sessions s JOIN users u ON u.id = s.user_id
 WHERE s.digest = $1 AND s.expires_at > now();

-- delete_session --
DELETE FROM sessions WHERE id = $1;

-- insert_key --
-- A repeated request brings the id that it brought the first time: one key, with the last secret.
INSERT INTO api_keys AS k (id, digest, owner_id, name, prefix, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, prefix = excluded.prefix
 WHERE k.owner_id = excluded.owner_id
RETURNING id, owner_id, name, prefix, scopes, created_at, expires_at, last_used_at;

-- use_key --
-- Writes once a minute at most, so that a busy key costs a read.
WITH found AS (
    SELECT k.id, k.owner_id, k.scopes, k.last_used_at, u.is_admin
      FROM api_keys k JOIN users u ON u.id = k.owner_id
     WHERE k.digest = $1 AND (k.expires_at IS NULL OR k.expires_at > now())
), touched AS (
    UPDATE api_keys SET last_used_at = now()
     WHERE id IN (SELECT id FROM found
                   WHERE last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
)
SELECT id, owner_id, scopes, is_admin FROM found;

-- keys_of_owner --
SELECT id, owner_id, name, prefix, scopes, created_at, expires_at, last_used_at
  FROM api_keys WHERE owner_id = $1 ORDER BY created_at DESC, id DESC;

-- delete_key --
DELETE FROM api_keys WHERE id = $2 AND owner_id = $1 RETURNING id;
