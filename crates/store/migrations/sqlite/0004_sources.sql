-- Source providers: several links of an account to one provider, their health, what they can see, deploy keys, receipts, heads of refs.

-- An account may have several links to one provider, each of another person there.
CREATE TABLE links_next (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    remote_user_id TEXT NOT NULL,
    login TEXT NOT NULL,
    display_name TEXT,
    access TEXT NOT NULL,
    linked_as TEXT NOT NULL,
    scopes TEXT NOT NULL,
    access_token_sealed BLOB NOT NULL,
    refresh_token_sealed BLOB,
    token_expires_at BIGINT,
    -- Raised by every write of the tokens: who refreshed an older one writes nothing.
    token_version BIGINT NOT NULL,
    -- Who asks the provider for new tokens now, and until when nobody else does.
    refresh_by TEXT,
    refresh_until BIGINT,
    state TEXT NOT NULL,
    since BIGINT NOT NULL,
    evidence TEXT,
    evidence_status BIGINT,
    -- Vain calls in a row; one passing failure is no broken link.
    failures BIGINT NOT NULL,
    -- The `since` of the state that the owners were told of.
    told_since BIGINT,
    probe_marker TEXT,
    checked_at BIGINT,
    next_check_at BIGINT NOT NULL,
    -- Being unlinked: it serves nothing any more, and a loop finishes the removal.
    unlinking BOOLEAN NOT NULL,
    -- When the person was linked, or linked anew: what was found out before is about another grant.
    linked_at BIGINT NOT NULL,
    -- Where the person's picture lies, and when it is to be fetched (again).
    avatar_url TEXT,
    picture_due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, provider, remote_user_id)
);
INSERT INTO links_next (id, account_id, provider, remote_user_id, login, display_name, access, linked_as, scopes, access_token_sealed,
    refresh_token_sealed, token_expires_at, token_version, refresh_by, refresh_until, state, since, evidence, evidence_status, failures,
    told_since, probe_marker, checked_at, next_check_at, unlinking, linked_at, avatar_url, picture_due_at, created_at)
SELECT id, account_id, provider, remote_user_id, login, NULL, 'full', 'person', scopes, access_token_sealed,
    refresh_token_sealed, token_expires_at, 1, NULL, NULL, state, since, evidence, NULL, 0,
    NULL, NULL, checked_at, 0, FALSE, created_at, NULL, 0, created_at
FROM links;
DROP TABLE links;
ALTER TABLE links_next RENAME TO links;
CREATE INDEX links_due ON links (next_check_at);

-- What was chosen when the link was begun.
ALTER TABLE oauth_flows ADD COLUMN access TEXT NOT NULL DEFAULT 'full';
ALTER TABLE oauth_flows ADD COLUMN linked_as TEXT NOT NULL DEFAULT 'person';

-- The picture of the linked person, fetched by us so that no browser asks the provider.
CREATE TABLE link_pictures (
    link_id TEXT PRIMARY KEY REFERENCES links (id) ON DELETE CASCADE,
    media_type TEXT NOT NULL,
    content BLOB NOT NULL,
    fetched_at BIGINT NOT NULL
);

-- What the linked person belongs to at the provider, also where it does not let us in; and when its repositories were last listed.
CREATE TABLE source_namespaces (
    link_id TEXT NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    remote_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    access TEXT NOT NULL,
    grant_url TEXT,
    note TEXT,
    seen_at BIGINT NOT NULL,
    swept_at BIGINT,
    next_sweep_at BIGINT NOT NULL,
    sweep_error TEXT,
    PRIMARY KEY (link_id, remote_id)
);
CREATE INDEX source_namespaces_due ON source_namespaces (next_sweep_at);

-- The picker's copy of what a link can see. `search_name` is the full name in lower case.
CREATE TABLE source_repositories (
    link_id TEXT NOT NULL REFERENCES links (id) ON DELETE CASCADE,
    remote_id TEXT NOT NULL,
    namespace_id TEXT NOT NULL,
    full_name TEXT NOT NULL,
    search_name TEXT NOT NULL,
    default_branch TEXT NOT NULL,
    private BOOLEAN NOT NULL,
    archived BOOLEAN NOT NULL,
    pushed TEXT,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (link_id, remote_id)
);
CREATE INDEX source_repositories_names ON source_repositories (link_id, namespace_id, search_name);

-- Which link serves the source, and what is known of the source itself.
ALTER TABLE autobuilds ADD COLUMN link_id TEXT;
ALTER TABLE autobuilds ADD COLUMN link_note TEXT;
ALTER TABLE autobuilds ADD COLUMN source_private BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE autobuilds ADD COLUMN source_archived BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE autobuilds ADD COLUMN pushed TEXT;
ALTER TABLE autobuilds ADD COLUMN heads_marker TEXT;
ALTER TABLE autobuilds ADD COLUMN heads_checked_at BIGINT;
ALTER TABLE autobuilds ADD COLUMN next_reconcile_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE autobuilds ADD COLUMN problem TEXT;
ALTER TABLE autobuilds ADD COLUMN problem_text TEXT;
ALTER TABLE autobuilds ADD COLUMN problem_since BIGINT;
-- Until now an account had one link to a provider.
UPDATE autobuilds SET link_id = (SELECT l.id FROM links l JOIN repositories r ON r.account_id = l.account_id
                                 WHERE r.id = autobuilds.repository_id AND l.provider = autobuilds.provider);
CREATE INDEX autobuilds_source ON autobuilds (provider, source_id);
CREATE INDEX autobuilds_link ON autobuilds (link_id);
CREATE INDEX autobuilds_due ON autobuilds (next_reconcile_at);

-- Where each ref stood when it was last told or looked at: what the reconciler compares with.
CREATE TABLE ref_heads (
    autobuild_id TEXT NOT NULL REFERENCES autobuilds (id) ON DELETE CASCADE,
    ref TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (autobuild_id, ref)
);
INSERT INTO ref_heads (autobuild_id, ref, commit_id, seen_at)
SELECT e.autobuild_id, e.ref, e.after_id, e.created_at
FROM ref_events e
WHERE e.after_id IS NOT NULL
  AND e.seq = (SELECT MAX(l.seq) FROM ref_events l WHERE l.autobuild_id = e.autobuild_id AND l.ref = e.ref AND l.origin = 'delivery');

-- The reconciler's event that had found this push before its delivery came.
ALTER TABLE ref_events ADD COLUMN covered_by TEXT;
-- Where the event belongs in the history of the ref, when that is not where it was told.
ALTER TABLE ref_events ADD COLUMN place BIGINT;
-- It does not continue from where the ref was known to stand: pushes before it were not told, or not yet.
ALTER TABLE ref_events ADD COLUMN skips BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX ref_events_delivery ON ref_events (delivery_id);
CREATE INDEX ref_events_young ON ref_events (autobuild_id, created_at);

-- While a secret is changed, the one before is accepted until `previous_until`. `problem` is what a check found at the provider.
ALTER TABLE hooks ADD COLUMN previous_secret_sealed BLOB;
ALTER TABLE hooks ADD COLUMN previous_until BIGINT;
ALTER TABLE hooks ADD COLUMN made_by TEXT NOT NULL DEFAULT 'service';
ALTER TABLE hooks ADD COLUMN checked_at BIGINT;
ALTER TABLE hooks ADD COLUMN next_check_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE hooks ADD COLUMN problem TEXT;
ALTER TABLE hooks ADD COLUMN problem_since BIGINT;
ALTER TABLE hooks ADD COLUMN repaired_at BIGINT;
ALTER TABLE hooks ADD COLUMN repaired_why TEXT;
-- What the provider said of its last delivery, as JSON.
ALTER TABLE hooks ADD COLUMN last_there TEXT;
CREATE INDEX hooks_check ON hooks (next_check_at) WHERE state = 'standing';

-- So that the sweep of old deliveries reads those alone, and not every one with its body.
CREATE INDEX deliveries_age ON deliveries (received_at) WHERE processed_at IS NOT NULL;

-- Requests at a hook's address that were not the provider's: only that they came, the last 20 of each hook.
CREATE TABLE refused_requests (
    id TEXT PRIMARY KEY,
    hook_id TEXT NOT NULL REFERENCES hooks (id) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    address TEXT NOT NULL,
    reason TEXT NOT NULL,
    size BIGINT NOT NULL
);
CREATE INDEX refused_requests_hook ON refused_requests (hook_id, id);

-- One key of an account for each source; a second row only while it is changed for another one.
CREATE TABLE deploy_keys (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    source_id TEXT NOT NULL,
    source_name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    private_key_sealed BLOB NOT NULL,
    state TEXT NOT NULL,
    remote_id TEXT,
    error TEXT,
    next_try_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    checked_at BIGINT,
    -- When it was last put up again without a person's word.
    renewed_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX deploy_keys_source ON deploy_keys (account_id, provider, source_id);
CREATE INDEX deploy_keys_due ON deploy_keys (state, next_try_at);

-- What became of everything that a link had made. Written as the unlink goes on, so a crash in the middle leaves a true one.
CREATE TABLE receipts (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    link_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    login TEXT NOT NULL,
    body TEXT NOT NULL,
    -- Until when whoever unlinks has it for itself.
    held_until BIGINT NOT NULL,
    begun_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX receipts_account ON receipts (account_id, id);
CREATE INDEX receipts_open ON receipts (id) WHERE finished_at IS NULL;
