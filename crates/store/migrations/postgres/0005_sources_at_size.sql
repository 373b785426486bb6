-- Hooks and deploy keys are found by the source they belong to and by the account whose link serves them: an installation has thousands.
CREATE INDEX hooks_account ON hooks (account_id, provider);
CREATE INDEX hooks_source ON hooks (provider, source_id);
CREATE INDEX deploy_keys_provider ON deploy_keys (provider, source_id);

-- Settings have one hook: two would tell of each push twice. The older one of two that were made at once stays.
UPDATE hooks SET state = 'unwanted', next_try_at = 0, tries = 0
WHERE state <> 'unwanted' AND EXISTS (
    SELECT 1 FROM hooks o WHERE o.autobuild_id = hooks.autobuild_id AND o.state <> 'unwanted' AND o.id < hooks.id);
CREATE UNIQUE INDEX hooks_one ON hooks (autobuild_id) WHERE state <> 'unwanted';
