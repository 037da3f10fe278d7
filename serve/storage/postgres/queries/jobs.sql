-- add_job --
WITH added AS (
    INSERT INTO jobs (id, owner_id, kind, request, n_events)
    SELECT $2, $1, $3, $4, 1
     WHERE (SELECT count(*) FROM jobs
             WHERE owner_id = $1 AND status IN ('queued', 'in_progress')) < $5
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), told AS (
    INSERT INTO job_events (job_id, seq, type, data)
    SELECT id, n_events, 'job.queued', '{}' FROM added
)
SELECT * FROM added;

-- job --
SELECT * FROM jobs WHERE id = $2 AND owner_id = $1;

-- newest_first --
SELECT * FROM jobs
 WHERE owner_id = $1 AND ($4::text IS NULL OR kind = $4)
   AND ($2::text IS NULL OR (created_at, id) <
        (SELECT created_at, id FROM jobs WHERE id = $2 AND owner_id = $1))
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- oldest_first --
SELECT * FROM jobs
 WHERE owner_id = $1 AND ($4::text IS NULL OR kind = $4)
   AND ($2::text IS NULL OR (created_at, id) >
        (SELECT created_at, id FROM jobs WHERE id = $2 AND owner_id = $1))
 ORDER BY created_at, id LIMIT $3;

-- events --
SELECT e.* FROM job_events e JOIN jobs ON jobs.id = e.job_id
 WHERE e.job_id = $2 AND jobs.owner_id = $1 AND e.seq > $3
 ORDER BY e.seq LIMIT $4;

-- cancel_job --
WITH cancelled AS (
    UPDATE jobs SET status = 'cancelled', completed_at = now(), n_events = n_events + 1
     WHERE id = $2 AND owner_id = $1 AND status IN ('queued', 'in_progress')
    RETURNING *
), told AS (
    INSERT INTO job_events (job_id, seq, type, data)
    SELECT id, n_events, 'job.cancelled', '{}' FROM cancelled
)
SELECT * FROM cancelled;

-- delete_job --
DELETE FROM jobs WHERE id = $2 AND owner_id = $1 RETURNING *;

-- hold_claims --
-- One claim at a time, so that the limit per owner holds over all processes.
SELECT pg_advisory_xact_lock(hashtext('claim_job'));

-- claim_job --
WITH in_work AS (
    SELECT owner_id, count(*) AS n FROM jobs
     WHERE status = 'in_progress' AND supervisor = ANY ($2::text[])
     GROUP BY owner_id
), waiting AS (
    SELECT jobs.id, jobs.status, jobs.created_at, coalesce(in_work.n, 0) AS n_in_work
      FROM jobs LEFT JOIN in_work ON in_work.owner_id = jobs.owner_id
     WHERE jobs.kind = ANY ($4::text[])
       AND (jobs.status = 'queued'
            OR jobs.status = 'in_progress'
               AND (jobs.supervisor IS NULL
                    OR jobs.supervisor <> ALL ($2::text[])
                    -- Our own claim whose answer was lost on its way.
                    OR jobs.supervisor = $1 AND jobs.id <> ALL ($3::text[])))
), next AS (
    SELECT id FROM waiting WHERE n_in_work < $5
     ORDER BY status = 'queued', n_in_work, created_at, id LIMIT 1
), claimed AS (
    UPDATE jobs
       SET status = 'in_progress', supervisor = $1, attempt = attempt + 1,
           started_at = coalesce(started_at, now()), n_events = n_events + 1
      FROM next WHERE jobs.id = next.id AND jobs.status IN ('queued', 'in_progress')
    RETURNING jobs.*
), told AS (
    INSERT INTO job_events (job_id, seq, type, data)
    SELECT id, n_events, 'job.started', jsonb_build_object('attempt', attempt) FROM claimed
)
SELECT * FROM claimed;

-- report_job --
WITH held AS (
    UPDATE jobs SET progress = $3, n_events = n_events + 1
     WHERE id = $1 AND attempt = $2 AND status = 'in_progress'
    RETURNING id, n_events
)
INSERT INTO job_events (job_id, seq, type, data)
SELECT id, n_events, 'job.progress', $4 FROM held
RETURNING seq;

-- complete_job --
WITH held AS (
    UPDATE jobs
       SET status = 'completed', progress = 1, result = $3, completed_at = now(),
           n_events = n_events + 1
     WHERE id = $1 AND attempt = $2 AND status = 'in_progress'
    RETURNING id, n_events
)
INSERT INTO job_events (job_id, seq, type, data)
SELECT id, n_events, 'job.completed', $3 FROM held
RETURNING seq;

-- fail_job --
WITH held AS (
    UPDATE jobs
       SET status = 'failed', error_code = $3, error_message = $4, completed_at = now(),
           n_events = n_events + 1
     WHERE id = $1 AND attempt = $2 AND status = 'in_progress'
    RETURNING id, n_events
)
INSERT INTO job_events (job_id, seq, type, data)
SELECT id, n_events, 'job.failed', jsonb_build_object('code', $3::text, 'message', $4::text)
  FROM held
RETURNING seq;

-- let_go_of_job --
UPDATE jobs SET supervisor = NULL
 WHERE id = $1 AND attempt = $2 AND status = 'in_progress';
