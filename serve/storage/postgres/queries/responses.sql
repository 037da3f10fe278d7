-- insert_response --
INSERT INTO responses (id, owner_id, conversation_id, previous_response_id, model, status,
                       background, stored, request, input_items, created_at, supervisor, plan)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- hold_conversation --
-- begin and settle both take the conversation first and the response second: no deadlock.
SELECT FROM conversations WHERE id = $2 AND owner_id = $1 FOR NO KEY UPDATE;

-- settle_response --
UPDATE responses
   SET status = $3, output_items = $4, completed_at = $5, input_tokens = $6, cached_tokens = $7,
       output_tokens = $8, error_code = $9, error_message = $10, incomplete_reason = $11,
       log = $12, trace = $13, plan = '{}'
 WHERE id = $2 AND owner_id = $1 AND status IN ('queued', 'in_progress')
RETURNING stored;

-- response --
SELECT * FROM responses WHERE id = $2 AND owner_id = $1;

-- active_in_conversation --
SELECT r.id
  FROM conversations c
  LEFT JOIN responses r ON r.conversation_id = c.id AND r.status IN ('queued', 'in_progress')
 WHERE c.id = $2 AND c.owner_id = $1;

-- delete_response --
DELETE FROM responses WHERE id = $2 AND owner_id = $1 RETURNING id;

-- chain --
-- The response, newest first, and its predecessors, at most $3 of them in all.
WITH RECURSIVE chain AS (
    SELECT id, previous_response_id, 1 AS place
      FROM responses WHERE id = $2 AND owner_id = $1
    UNION ALL
    SELECT r.id, r.previous_response_id, chain.place + 1
      FROM chain JOIN responses r ON r.id = chain.previous_response_id
     WHERE r.owner_id = $1 AND chain.place < $3
)
SELECT r.id, r.owner_id, r.conversation_id, r.previous_response_id, r.model, r.status,
       r.background, r.stored, r.request, r.input_items, r.output_items, r.input_tokens,
       r.cached_tokens, r.output_tokens, r.error_code, r.error_message, r.incomplete_reason,
       '[]'::jsonb AS log, '[]'::jsonb AS trace, r.created_at, r.completed_at
  FROM chain JOIN responses r ON r.id = chain.id
 ORDER BY chain.place;

-- mark_started --
UPDATE responses SET status = 'in_progress' WHERE id = $1 AND status = 'queued';

-- unfinished --
SELECT * FROM responses
 WHERE status IN ('queued', 'in_progress')
   AND supervisor <> ALL ($1::text[]) AND id <> ALL ($2::text[])
 ORDER BY created_at;

-- take_over --
UPDATE responses SET supervisor = $2 WHERE id = $1 AND status IN ('queued', 'in_progress');

-- discard_items --
DELETE FROM items WHERE response_id = $1;

-- discard_response --
DELETE FROM responses WHERE id = $1 AND status IN ('queued', 'in_progress');
