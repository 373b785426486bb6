-- A commit that was pushed and is in a pull request has a check of each: of the branch, and of what would be merged.
ALTER TABLE commit_statuses ADD COLUMN checks TEXT NOT NULL DEFAULT 'push';
ALTER TABLE commit_statuses ALTER COLUMN checks DROP DEFAULT;
ALTER TABLE commit_statuses DROP CONSTRAINT commit_statuses_pkey;
ALTER TABLE commit_statuses ADD PRIMARY KEY (rule_id, commit_id, checks);
