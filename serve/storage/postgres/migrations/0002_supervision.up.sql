-- Who makes an unfinished response, and all that another process needs to go on with it.
ALTER TABLE responses ADD COLUMN supervisor text NOT NULL DEFAULT '';
ALTER TABLE responses ADD COLUMN plan jsonb NOT NULL DEFAULT '{}';
