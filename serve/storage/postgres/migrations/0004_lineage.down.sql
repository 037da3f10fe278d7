DROP TABLE asset_parents;
ALTER TABLE assets DROP COLUMN recipe;
ALTER TABLE assets DROP COLUMN made_by;
ALTER TABLE assets DROP COLUMN action;
