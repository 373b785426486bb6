-- The queue is fair between namespaces: a build says whose it is, an account when it was last served.
ALTER TABLE builds ADD COLUMN account_id TEXT NOT NULL DEFAULT '';
UPDATE builds SET account_id = (SELECT r.account_id FROM repositories r WHERE r.id = builds.repository_id);
ALTER TABLE accounts ADD COLUMN served_at BIGINT NOT NULL DEFAULT 0;

-- From one waiting namespace to the next, and to its oldest build, without reading the builds between them.
DROP INDEX builds_queue;
CREATE INDEX builds_queue ON builds (account_id, available_at, id) WHERE state = 'queued';
CREATE INDEX builds_running ON builds (account_id, id) WHERE state = 'running';
CREATE INDEX builds_ended ON builds (account_id, id) WHERE state IN ('success', 'failed', 'cancelled');
-- How long the last ones took.
CREATE INDEX builds_took ON builds (repository_id, number) WHERE state = 'success';

-- The person who moved the tag to the image of a build; empty when the build did.
ALTER TABLE tags ADD COLUMN moved_by TEXT;
