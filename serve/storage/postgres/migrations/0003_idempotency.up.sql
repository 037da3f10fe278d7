-- What was asked under an Idempotency-Key, by whom, and how it was answered.
-- response_id is chosen before the work: who comes again finds the response, not a second one.
-- status is NULL while somebody works on it; claim_id says who, lease_until for how long at least.
CREATE TABLE idempotency_keys (
    owner_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key         text NOT NULL,
    fingerprint bytea NOT NULL,
    response_id text NOT NULL,
    claim_id    text NOT NULL,
    n_claims    integer NOT NULL DEFAULT 1,
    lease_until timestamptz NOT NULL,
    status      integer,
    headers     jsonb,
    body        bytea,              -- NULL: not kept
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
CREATE INDEX idempotency_keys_of_response ON idempotency_keys (response_id);

-- An attempt that was believed dead may wake up and still commit its response. Once another attempt
-- has given that response's id up, it cannot: holding the key's row, the two come one after the
-- other.
CREATE TABLE retired_response_ids (
    id         text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX retired_response_ids_by_expiry ON retired_response_ids (expires_at);
CREATE FUNCTION refuse_retired_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM idempotency_keys WHERE response_id = NEW.id FOR SHARE;
    IF EXISTS (SELECT FROM retired_response_ids WHERE id = NEW.id) THEN
        RAISE unique_violation USING MESSAGE = 'this response is made by another attempt';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse_retired_response BEFORE INSERT ON responses
    FOR EACH ROW EXECUTE FUNCTION refuse_retired_response();

-- Who deletes an answer, or the conversation around it, deletes its copy here too.
CREATE FUNCTION forget_saved_reply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE idempotency_keys SET body = NULL WHERE response_id = OLD.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER forget_saved_reply AFTER DELETE ON responses
    FOR EACH ROW WHEN (OLD.stored) EXECUTE FUNCTION forget_saved_reply();
