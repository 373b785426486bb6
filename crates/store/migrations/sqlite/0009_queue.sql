-- Whether a newer push cancels what older ones of the same rule and ref left waiting.
ALTER TABLE autobuilds ADD COLUMN cancel_superseded BOOLEAN NOT NULL DEFAULT TRUE;
CREATE INDEX builds_of_ref ON builds (rule_id, source_ref, ref_seq);

-- Secret addresses that start builds.
CREATE TABLE triggers (
    id TEXT PRIMARY KEY,
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The only ref that it builds.
    source_ref TEXT,
    token_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    called_at BIGINT
);
CREATE INDEX triggers_repository ON triggers (repository_id);
