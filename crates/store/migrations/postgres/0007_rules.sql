-- What a rule says beyond the first ones: the stage, its own build arguments (JSON), and the files that it is built from (a pattern a line).
ALTER TABLE rules ADD COLUMN target TEXT NOT NULL DEFAULT '';
ALTER TABLE rules ADD COLUMN args TEXT NOT NULL DEFAULT '[]';
ALTER TABLE rules ADD COLUMN include_paths TEXT NOT NULL DEFAULT '';
ALTER TABLE rules ADD COLUMN exclude_paths TEXT NOT NULL DEFAULT '';

-- The last image of a rule's ref, which the next push is compared with.
CREATE INDEX builds_last_image ON builds (rule_id, source_ref, ref_seq) WHERE state = 'success';
