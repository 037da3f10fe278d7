-- Media made here: how, and from what. Both NULL for uploads.
ALTER TABLE assets ADD COLUMN action text;    -- C2PA action, such as c2pa.created
ALTER TABLE assets ADD COLUMN made_by text;   -- catalog name of the model
ALTER TABLE assets ADD COLUMN recipe jsonb;   -- what it takes to make it again

-- A parent may be erased: what it was is then no longer to be found out from its children.
CREATE TABLE asset_parents (
    asset_id  text NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    position  integer NOT NULL,
    parent_id text NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    PRIMARY KEY (asset_id, position)
);
CREATE INDEX asset_parents_of_parent ON asset_parents (parent_id);
