-- A commit that was pushed and is in a pull request has a check of each: of the branch, and of what would be merged.
-- SQLite changes no primary key, so the table is made anew.
CREATE TABLE checks_of_commits (
    rule_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    checks TEXT NOT NULL,
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
    PRIMARY KEY (rule_id, commit_id, checks)
);
INSERT INTO checks_of_commits (rule_id, commit_id, checks, build_id, context, version, due_at, since, lease_until, tries, error, told_at)
    SELECT rule_id, commit_id, 'push', build_id, context, version, due_at, since, lease_until, tries, error, told_at FROM commit_statuses;
DROP TABLE commit_statuses;
ALTER TABLE checks_of_commits RENAME TO commit_statuses;
CREATE INDEX commit_statuses_due ON commit_statuses (due_at) WHERE due_at IS NOT NULL;
