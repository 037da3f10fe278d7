-- People ---------------------------------------------------------------------------------------

CREATE TABLE users (
    id            text PRIMARY KEY,
    email         text NOT NULL UNIQUE,  -- lower case
    name          text NOT NULL,
    password_hash text,                  -- argon2id; NULL until a password was chosen
    is_admin      boolean NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- Of setup links, sessions and keys only a digest is kept: who reads the table cannot sign in.

CREATE TABLE setup_links (
    digest     bytea PRIMARY KEY,
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX setup_links_of_user ON setup_links (user_id);

CREATE TABLE sessions (
    id         text PRIMARY KEY,
    digest     bytea NOT NULL UNIQUE,
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE api_keys (
    id           text PRIMARY KEY,
    digest       bytea NOT NULL UNIQUE,
    owner_id     text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         text NOT NULL,
    prefix       text NOT NULL,          -- first characters of the secret, to recognise it by
    scopes       text[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz
);
CREATE INDEX api_keys_of_owner ON api_keys (owner_id, created_at);

-- Media ----------------------------------------------------------------------------------------

CREATE TABLE assets (
    id           text PRIMARY KEY,
    owner_id     text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind         text NOT NULL,
    mime_type    text NOT NULL,
    filename     text NOT NULL,
    content_hash text NOT NULL,          -- BLAKE3 of the sanitised bytes
    n_bytes      bigint NOT NULL,
    width_px     integer,
    height_px    integer,
    duration_s   double precision,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner_id, content_hash)
);
CREATE INDEX assets_newest_of_owner ON assets (owner_id, created_at DESC, id DESC);

-- Talk -----------------------------------------------------------------------------------------

CREATE TABLE conversations (
    id            text PRIMARY KEY,
    owner_id      text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title         text NOT NULL,
    metadata      jsonb NOT NULL,
    next_position bigint NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()  -- when items last joined
);
CREATE INDEX conversations_newest_of_owner ON conversations (owner_id, updated_at DESC, id DESC);

-- previous_response_id has no foreign key: the one before may be forgotten, and then the next
-- one must say so instead of pretending to have begun the conversation.
CREATE TABLE responses (
    id                   text PRIMARY KEY,
    owner_id             text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    conversation_id      text REFERENCES conversations (id) ON DELETE CASCADE,
    previous_response_id text,
    model                text NOT NULL,
    status               text NOT NULL,
    background           boolean NOT NULL,
    stored               boolean NOT NULL,
    request              jsonb NOT NULL,
    input_items          jsonb NOT NULL,
    output_items         jsonb NOT NULL DEFAULT '[]',
    input_tokens         bigint NOT NULL DEFAULT 0,
    cached_tokens        bigint NOT NULL DEFAULT 0,
    output_tokens        bigint NOT NULL DEFAULT 0,
    error_code           text,
    error_message        text,
    incomplete_reason    text,
    log                  jsonb NOT NULL DEFAULT '[]',
    trace                jsonb NOT NULL DEFAULT '[]',
    created_at           timestamptz NOT NULL,
    completed_at         timestamptz
);
CREATE INDEX responses_of_owner ON responses (owner_id, created_at);
CREATE INDEX responses_of_conversation ON responses (conversation_id);
CREATE INDEX responses_unfinished ON responses (created_at)
    WHERE status IN ('queued', 'in_progress');
CREATE UNIQUE INDEX one_unfinished_response_per_conversation ON responses (conversation_id)
    WHERE status IN ('queued', 'in_progress');

-- response_id: the turn that brought the item, while that response is kept.
CREATE TABLE items (
    conversation_id text NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    id              text NOT NULL,
    position        bigint NOT NULL,
    response_id     text REFERENCES responses (id) ON DELETE SET NULL,
    body            jsonb NOT NULL,
    PRIMARY KEY (conversation_id, id),
    UNIQUE (conversation_id, position)
);
CREATE INDEX items_of_response ON items (response_id);
