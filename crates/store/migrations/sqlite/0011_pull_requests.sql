-- Pull requests: what is known of them, and on which terms a build runs.
CREATE TABLE pull_requests (
    autobuild_id TEXT NOT NULL REFERENCES autobuilds (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    -- The commit that it wants to have merged, and the branch that it goes into.
    head_id TEXT NOT NULL,
    base TEXT NOT NULL,
    is_open BOOLEAN NOT NULL,
    -- When the provider says that it changed last: what tells of an earlier time is late.
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (autobuild_id, number)
);

-- Whether pull requests from outside of the source repository wait for a writer's word.
ALTER TABLE autobuilds ADD COLUMN approve_external BOOLEAN NOT NULL DEFAULT TRUE;

ALTER TABLE builds ADD COLUMN lane TEXT NOT NULL DEFAULT 'trusted';
ALTER TABLE builds ADD COLUMN publish BOOLEAN NOT NULL DEFAULT TRUE;
-- What is shown of the pull request that it tests, as JSON.
ALTER TABLE builds ADD COLUMN pull_request TEXT;
-- 'awaited' or 'given', where somebody has to approve of its commit.
ALTER TABLE builds ADD COLUMN approval TEXT;
ALTER TABLE builds ADD COLUMN approved_by TEXT;
ALTER TABLE builds ADD COLUMN approved_at BIGINT;
CREATE INDEX builds_waiting_of_ref ON builds (autobuild_id, source_ref) WHERE state = 'queued';
