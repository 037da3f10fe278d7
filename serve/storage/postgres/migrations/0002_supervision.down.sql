ALTER TABLE responses DROP COLUMN plan;
ALTER TABLE responses DROP COLUMN supervisor;
