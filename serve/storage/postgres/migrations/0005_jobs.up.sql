-- Work that takes longer than a few seconds. supervisor is the process that does it, NULL for
-- nobody; attempt counts who ever did, and only the newest may write.
CREATE TABLE jobs (
    id            text PRIMARY KEY,
    owner_id      text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind          text NOT NULL,
    status        text NOT NULL DEFAULT 'queued',
    request       jsonb NOT NULL,
    result        jsonb,
    error_code    text,
    error_message text,
    progress      double precision NOT NULL DEFAULT 0,
    attempt       integer NOT NULL DEFAULT 0,
    supervisor    text,
    n_events      integer NOT NULL DEFAULT 0,  -- number of the last one
    created_at    timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    completed_at  timestamptz
);
CREATE INDEX jobs_newest_of_owner ON jobs (owner_id, created_at DESC, id DESC);
CREATE INDEX unfinished_jobs ON jobs (created_at) WHERE status IN ('queued', 'in_progress');

CREATE TABLE job_events (
    job_id text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    seq    integer NOT NULL,
    type   text NOT NULL,
    data   jsonb NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, seq)
);

-- Whoever listens hears of every event once it can be read.
CREATE FUNCTION tell_job_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('job_news', NEW.job_id || ' ' || NEW.type);
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_job_event AFTER INSERT ON job_events
    FOR EACH ROW EXECUTE FUNCTION tell_job_event();

CREATE FUNCTION tell_job_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('job_news', OLD.id || ' job.deleted');
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_job_deleted AFTER DELETE ON jobs
    FOR EACH ROW EXECUTE FUNCTION tell_job_deleted();
