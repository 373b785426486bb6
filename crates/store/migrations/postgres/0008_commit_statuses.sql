-- What providers are told of commits: a check of a commit is one rule's, and belongs to the newest build of the two. Also the outbox: a row
-- that is due waits to be sent.
CREATE TABLE commit_statuses (
    rule_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    build_id TEXT NOT NULL UNIQUE REFERENCES builds (id) ON DELETE CASCADE,
    -- The name of the check at the provider.
    context TEXT NOT NULL,
    -- Raised whenever there is something else to tell: who told an older one has told nothing.
    version BIGINT NOT NULL,
    due_at BIGINT,
    -- Since when it is to be told.
    since BIGINT NOT NULL,
    -- Who sends it now has it alone until then.
    lease_until BIGINT,
    tries BIGINT NOT NULL,
    -- Why it was not told.
    error TEXT,
    told_at BIGINT,
    PRIMARY KEY (rule_id, commit_id)
);
CREATE INDEX commit_statuses_due ON commit_statuses (due_at) WHERE due_at IS NOT NULL;
