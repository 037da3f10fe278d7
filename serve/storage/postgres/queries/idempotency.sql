-- claim_key --
-- Ours if it is new, has expired, or was let go or left by somebody with the same request.
-- No row at all: another one inserted it while we looked; look again.
WITH mine AS (
    INSERT INTO idempotency_keys AS k
           (owner_id, key, fingerprint, claim_id, response_id, lease_until, expires_at)
    VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6),
            now() + make_interval(secs => $7))
    ON CONFLICT (owner_id, key) DO UPDATE
       SET fingerprint = excluded.fingerprint,
           claim_id = excluded.claim_id,
           lease_until = excluded.lease_until,
           response_id = CASE WHEN k.expires_at <= now() THEN excluded.response_id
                              ELSE k.response_id END,
           n_claims = CASE WHEN k.expires_at <= now() THEN 1 ELSE k.n_claims + 1 END,
           expires_at = excluded.expires_at,
           status = NULL,
           headers = NULL,
           body = NULL
     WHERE k.expires_at <= now()
        OR (k.status IS NULL AND k.lease_until <= now() AND k.fingerprint = excluded.fingerprint)
    RETURNING fingerprint, response_id, n_claims
)
SELECT fingerprint, response_id, true AS is_mine, n_claims = 1 AS is_first,
       NULL::integer AS status, NULL::jsonb AS headers, NULL::bytea AS body
  FROM mine
 UNION ALL
SELECT fingerprint, response_id, false, false, status, headers, body
  FROM idempotency_keys
 WHERE owner_id = $1 AND key = $2 AND NOT EXISTS (SELECT FROM mine);

-- extend_lease --
UPDATE idempotency_keys SET lease_until = now() + make_interval(secs => $4)
 WHERE owner_id = $1 AND key = $2 AND claim_id = $3 AND status IS NULL
RETURNING key;

-- hold_key --
SELECT response_id FROM idempotency_keys
 WHERE owner_id = $1 AND key = $2 AND claim_id = $3 AND status IS NULL
   FOR UPDATE;

-- response_stands --
SELECT EXISTS (SELECT FROM responses WHERE id = $1 AND status <> 'failed');

-- retire_response_id --
INSERT INTO retired_response_ids (id, expires_at) VALUES ($1, now() + make_interval(secs => $2));

-- replace_response_id --
UPDATE idempotency_keys SET response_id = $3 WHERE owner_id = $1 AND key = $2;

-- save_reply --
UPDATE idempotency_keys
   SET status = $4, headers = $5, body = $6, expires_at = now() + make_interval(secs => $7)
 WHERE owner_id = $1 AND key = $2 AND claim_id = $3 AND status IS NULL
RETURNING key;

-- let_go --
UPDATE idempotency_keys SET lease_until = now()
 WHERE owner_id = $1 AND key = $2 AND claim_id = $3 AND status IS NULL;

-- forget_key --
DELETE FROM idempotency_keys
 WHERE owner_id = $1 AND key = $2 AND claim_id = $3 AND status IS NULL;

-- forget_expired --
WITH forgotten AS (DELETE FROM retired_response_ids WHERE expires_at <= now())
DELETE FROM idempotency_keys WHERE expires_at <= now() AND lease_until <= now();
