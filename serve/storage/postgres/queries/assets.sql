-- insert_asset --
-- Equal bytes of one owner share a row, and the first name given to them. The empty update makes
-- RETURNING yield that row.
INSERT INTO assets (id, owner_id, kind, mime_type, filename, content_hash, n_bytes,
                    width_px, height_px, duration_s, action, made_by, recipe)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (owner_id, content_hash) DO UPDATE SET filename = assets.filename
RETURNING *, ARRAY(SELECT p.parent_id FROM asset_parents p
                    WHERE p.asset_id = assets.id ORDER BY p.position) AS parents;

-- insert_parents --
INSERT INTO asset_parents (asset_id, position, parent_id)
SELECT $2, given.position, given.parent_id
  FROM unnest($3::text[]) WITH ORDINALITY AS given (parent_id, position)
  JOIN assets ON assets.id = given.parent_id AND assets.owner_id = $1
ON CONFLICT DO NOTHING;

-- children --
SELECT assets.*, ARRAY(SELECT p.parent_id FROM asset_parents p
                        WHERE p.asset_id = assets.id ORDER BY p.position) AS parents
  FROM asset_parents JOIN assets ON assets.id = asset_parents.asset_id
 WHERE asset_parents.parent_id = $2 AND assets.owner_id = $1
 ORDER BY assets.created_at DESC, assets.id DESC LIMIT $3;

-- asset --
SELECT *, ARRAY(SELECT p.parent_id FROM asset_parents p
                WHERE p.asset_id = assets.id ORDER BY p.position) AS parents
  FROM assets
 WHERE id = $2 AND owner_id = $1;

-- newest_first --
SELECT *, ARRAY(SELECT p.parent_id FROM asset_parents p
                WHERE p.asset_id = assets.id ORDER BY p.position) AS parents
  FROM assets
 WHERE owner_id = $1
   AND ($2::text IS NULL OR (created_at, id) <
        (SELECT created_at, id FROM assets WHERE id = $2 AND owner_id = $1))
 ORDER BY created_at DESC, id DESC LIMIT $3;

-- oldest_first --
SELECT *, ARRAY(SELECT p.parent_id FROM asset_parents p
                WHERE p.asset_id = assets.id ORDER BY p.position) AS parents
  FROM assets
 WHERE owner_id = $1
   AND ($2::text IS NULL OR (created_at, id) >
        (SELECT created_at, id FROM assets WHERE id = $2 AND owner_id = $1))
 ORDER BY created_at, id LIMIT $3;

-- delete_asset --
DELETE FROM assets WHERE id = $2 AND owner_id = $1
RETURNING *, ARRAY[]::text[] AS parents;
