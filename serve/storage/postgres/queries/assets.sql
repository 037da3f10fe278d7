-- insert_asset --
-- Equal bytes of one owner share a row, and the first name given to them. The empty update makes
-- RETURNING yield that row.
INSERT INTO assets (id, owner_id, kind, mime_type, filename, content_hash, n_bytes,
                    width_px, height_px, duration_s)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (owner_id, content_hash) DO UPDATE SET filename = assets.filename
RETURNING *;

-- asset --
SELECT * FROM assets WHERE id = $2 AND owner_id = $1;

-- newest_first --
SELECT * FROM assets
 WHERE owner_id = $1
   AND ($2::text IS NULL OR (created_at, id) <
        (SELECT created_at, id FROM assets WHERE id = $2 AND owner_id = $1))
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- oldest_first --
SELECT * FROM assets
 WHERE owner_id = $1
   AND ($2::text IS NULL OR (created_at, id) >
        (SELECT created_at, id FROM assets WHERE id = $2 AND owner_id = $1))
 ORDER BY created_at, id LIMIT $3;

-- delete_asset --
DELETE FROM assets WHERE id = $2 AND owner_id = $1 RETURNING *;
