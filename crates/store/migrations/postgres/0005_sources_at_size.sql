-- Hooks and deploy keys are found by the source they belong to and by the account whose link serves them: an installation has thousands.
CREATE INDEX hooks_account ON hooks (account_id, provider);
CREATE INDEX hooks_source ON hooks (provider, source_id);
CREATE INDEX deploy_keys_provider ON deploy_keys (provider, source_id);

-- Settings have one hook: two would tell of each push twice. The older one of two that were made at once stays.
UPDATE hooks SET state = 'unwanted', next_try_at = 0, tries = 0
WHERE state <> 'unwanted' AND EXISTS (
    SELECT 1 FROM hooks o WHERE o.autobuild_id = hooks.autobuild_id AND o.state <> 'unwanted' AND o.id < hooks.id);
CREATE UNIQUE INDEX hooks_one ON hooks (autobuild_id) WHERE state <> 'unwanted';

-- What tells deliveries apart comes first: before it has counted rows, PostgreSQL takes any index that begins with the hook for as good.
DROP INDEX deliveries_once;
DROP INDEX deliveries_same_body;
CREATE UNIQUE INDEX deliveries_once ON deliveries (delivery_id, hook_id) WHERE duplicate_of IS NULL;
CREATE UNIQUE INDEX deliveries_same_body ON deliveries (body_sha256, hook_id) WHERE duplicate_of IS NULL;
