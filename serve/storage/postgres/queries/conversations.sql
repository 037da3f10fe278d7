-- insert_conversation --
-- A repeated request brings the id that it brought the first time: one row, and it says so.
INSERT INTO conversations AS c (id, owner_id, title, metadata) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET id = excluded.id WHERE c.owner_id = excluded.owner_id
RETURNING id, owner_id, title, metadata, created_at, updated_at, xmax = 0 AS is_new;

-- conversation --
SELECT id, owner_id, title, metadata, created_at, updated_at
  FROM conversations WHERE id = $2 AND owner_id = $1;

-- newest_first --
SELECT id, owner_id, title, metadata, created_at, updated_at
  FROM conversations
 WHERE owner_id = $1
   AND ($2::text IS NULL OR (updated_at, id) <
        (SELECT updated_at, id FROM conversations WHERE id = $2 AND owner_id = $1))
 ORDER BY updated_at DESC, id DESC LIMIT $3;

-- oldest_first --
SELECT id, owner_id, title, metadata, created_at, updated_at
  FROM conversations
 WHERE owner_id = $1
   AND ($2::text IS NULL OR (updated_at, id) >
        (SELECT updated_at, id FROM conversations WHERE id = $2 AND owner_id = $1))
 ORDER BY updated_at, id LIMIT $3;

-- update_conversation --
-- Renaming is not talking: updated_at stays, so the list keeps its order.
UPDATE conversations SET title = coalesce($3, title), metadata = coalesce($4, metadata)
 WHERE id = $2 AND owner_id = $1
RETURNING id, owner_id, title, metadata, created_at, updated_at;

-- delete_conversation --
DELETE FROM conversations WHERE id = $2 AND owner_id = $1 RETURNING id;

-- reserve_positions --
-- Room for $3 items. Holds the row, so writers of one conversation come one after the other.
UPDATE conversations
   SET next_position = next_position + $3, updated_at = greatest(clock_timestamp(), updated_at)
 WHERE id = $2 AND owner_id = $1
RETURNING next_position - $3;

-- append_items --
-- $4 is a JSON array of item bodies, in order.
INSERT INTO items (conversation_id, position, response_id, id, body)
SELECT $1, $2::bigint + entry.place - 1, $3, entry.body ->> 'id', entry.body
  FROM jsonb_array_elements($4) WITH ORDINALITY AS entry (body, place);

-- put_items --
-- $3 is a JSON array of item bodies, in order; an item that is there stays in its place.
INSERT INTO items (conversation_id, position, id, body)
SELECT $1, $2::bigint + entry.place - 1, entry.body ->> 'id', entry.body
  FROM jsonb_array_elements($3) WITH ORDINALITY AS entry (body, place)
ON CONFLICT (conversation_id, id) DO UPDATE SET body = excluded.body;

-- count_items --
SELECT count(*) FROM items i JOIN conversations c ON c.id = i.conversation_id
 WHERE c.id = $2 AND c.owner_id = $1 AND i.id = ANY ($3::text[]);

-- items_newest_first --
-- A conversation without items in range yields one row of NULLs; an unknown one yields none.
SELECT i.id, i.body, i.response_id,
       $3::text IS NULL OR EXISTS (
           SELECT FROM items WHERE conversation_id = c.id AND id = $3) AS cursor_is_known
  FROM conversations c
  LEFT JOIN LATERAL (
      SELECT id, body, response_id, position FROM items
       WHERE conversation_id = c.id
         AND ($3::text IS NULL OR position <
              (SELECT position FROM items WHERE conversation_id = c.id AND id = $3))
       ORDER BY position DESC LIMIT $4) i ON true
 WHERE c.id = $2 AND c.owner_id = $1
 ORDER BY i.position DESC;

-- items_oldest_first --
-- As items_newest_first; a NULL limit means all.
SELECT i.id, i.body, i.response_id,
       $3::text IS NULL OR EXISTS (
           SELECT FROM items WHERE conversation_id = c.id AND id = $3) AS cursor_is_known
  FROM conversations c
  LEFT JOIN LATERAL (
      SELECT id, body, response_id, position FROM items
       WHERE conversation_id = c.id
         AND ($3::text IS NULL OR position >
              (SELECT position FROM items WHERE conversation_id = c.id AND id = $3))
       ORDER BY position LIMIT $4) i ON true
 WHERE c.id = $2 AND c.owner_id = $1
 ORDER BY i.position;

-- item --
SELECT i.id, i.body, i.response_id
  FROM items i JOIN conversations c ON c.id = i.conversation_id
 WHERE c.id = $2 AND c.owner_id = $1 AND i.id = $3;

-- delete_item --
DELETE FROM items i USING conversations c
 WHERE c.id = i.conversation_id AND c.id = $2 AND c.owner_id = $1 AND i.id = $3
RETURNING i.id;
