-- Whether a newer push cancels what older ones of the same rule and ref left waiting.
ALTER TABLE autobuilds ADD COLUMN cancel_superseded BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX builds_of_ref ON builds (rule_id, source_ref, ref_seq);
