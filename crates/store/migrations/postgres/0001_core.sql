-- Accounts, links, repositories, rules, deliveries, builds. Times are milliseconds since the epoch, ids are UUIDv7 in text form.

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    display_name TEXT NOT NULL,
    email TEXT,
    is_admin BOOLEAN NOT NULL,
    password_hash TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    address TEXT NOT NULL
);
CREATE INDEX sessions_account ON sessions (account_id);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    last_used_from TEXT
);
CREATE INDEX tokens_account ON tokens (account_id);

CREATE TABLE oauth_flows (
    state_hash TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    initiator TEXT NOT NULL,
    verifier_sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE links (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    remote_user_id TEXT NOT NULL,
    login TEXT NOT NULL,
    scopes TEXT NOT NULL,
    access_token_sealed BYTEA NOT NULL,
    refresh_token_sealed BYTEA,
    token_expires_at BIGINT,
    state TEXT NOT NULL,
    since BIGINT NOT NULL,
    evidence TEXT,
    checked_at BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, provider)
);

CREATE TABLE repositories (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    visibility TEXT NOT NULL,
    last_build_number BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, name)
);

CREATE TABLE autobuilds (
    id TEXT PRIMARY KEY,
    repository_id TEXT NOT NULL UNIQUE REFERENCES repositories (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    source_id TEXT NOT NULL,
    source_name TEXT NOT NULL,
    default_branch TEXT NOT NULL,
    autotest TEXT NOT NULL,
    environment_sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE rules (
    id TEXT PRIMARY KEY,
    autobuild_id TEXT NOT NULL REFERENCES autobuilds (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    tags TEXT NOT NULL,
    dockerfile TEXT NOT NULL,
    context TEXT NOT NULL,
    autobuild BOOLEAN NOT NULL,
    cache BOOLEAN NOT NULL
);
CREATE INDEX rules_autobuild ON rules (autobuild_id, position);

-- A hook outlives its autobuild until it is gone at the provider too; so it names account and source itself.
CREATE TABLE hooks (
    id TEXT PRIMARY KEY,
    autobuild_id TEXT REFERENCES autobuilds (id) ON DELETE SET NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    source_id TEXT NOT NULL,
    source_name TEXT NOT NULL,
    secret_sealed BYTEA NOT NULL,
    state TEXT NOT NULL,
    remote_id TEXT,
    error TEXT,
    next_try_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX hooks_autobuild ON hooks (autobuild_id);
CREATE INDEX hooks_due ON hooks (state, next_try_at);

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    hook_id TEXT NOT NULL,
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    delivery_id TEXT NOT NULL,
    event TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BYTEA NOT NULL,
    body_sha256 TEXT NOT NULL,
    status TEXT NOT NULL,
    detail TEXT,
    duplicate_of TEXT,
    received_at BIGINT NOT NULL,
    processed_at BIGINT
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (hook_id, delivery_id) WHERE duplicate_of IS NULL;
CREATE UNIQUE INDEX deliveries_same_body ON deliveries (hook_id, body_sha256) WHERE duplicate_of IS NULL;
CREATE INDEX deliveries_repository ON deliveries (repository_id, id);
CREATE INDEX deliveries_open ON deliveries (id) WHERE processed_at IS NULL;

CREATE TABLE verdicts (
    delivery_id TEXT NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    at BIGINT NOT NULL,
    rule_id TEXT,
    rule TEXT NOT NULL,
    ref TEXT NOT NULL,
    outcome TEXT NOT NULL,
    text TEXT NOT NULL,
    build_id TEXT,
    PRIMARY KEY (delivery_id, position)
);

CREATE TABLE ref_events (
    id TEXT PRIMARY KEY,
    autobuild_id TEXT NOT NULL REFERENCES autobuilds (id) ON DELETE CASCADE,
    ref TEXT NOT NULL,
    seq BIGINT NOT NULL,
    before_id TEXT,
    after_id TEXT,
    origin TEXT NOT NULL,
    delivery_id TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (autobuild_id, ref, seq)
);

-- A build is also its queue entry. Rule and source are copies: what was asked for stays readable when the settings change.
CREATE TABLE builds (
    id TEXT PRIMARY KEY,
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    autobuild_id TEXT NOT NULL,
    rule_id TEXT NOT NULL,
    ref_event_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    provider TEXT NOT NULL,
    source_id TEXT NOT NULL,
    source_name TEXT NOT NULL,
    source_ref TEXT NOT NULL,
    ref_seq BIGINT NOT NULL,
    commit_id TEXT NOT NULL,
    commit_message TEXT,
    commit_author TEXT,
    tags TEXT NOT NULL,
    no_cache BOOLEAN NOT NULL,
    cause TEXT NOT NULL,
    started_by TEXT,
    retry_of TEXT,
    state TEXT NOT NULL,
    phase TEXT,
    reason_code TEXT,
    reason_text TEXT,
    note TEXT,
    digest TEXT,
    attempt BIGINT NOT NULL,
    lease_builder TEXT,
    lease_until BIGINT,
    registry_token_hash TEXT,
    last_sequence BIGINT NOT NULL,
    log_bytes BIGINT NOT NULL DEFAULT 0,
    cancel_requested BOOLEAN NOT NULL,
    queued_at BIGINT NOT NULL,
    available_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    UNIQUE (repository_id, number),
    UNIQUE (rule_id, ref_event_id)
);
CREATE INDEX builds_queue ON builds (available_at, id) WHERE state = 'queued';
CREATE INDEX builds_leases ON builds (lease_until) WHERE state = 'running';
CREATE UNIQUE INDEX builds_registry_token ON builds (registry_token_hash) WHERE registry_token_hash IS NOT NULL;

CREATE TABLE build_phases (
    build_id TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    attempt BIGINT NOT NULL,
    phase TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (build_id, attempt, phase)
);

CREATE TABLE build_steps (
    build_id TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    attempt BIGINT NOT NULL,
    step_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    phase TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    cached BOOLEAN NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    error TEXT,
    PRIMARY KEY (build_id, attempt, step_id)
);

CREATE TABLE build_logs (
    build_id TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    step_id TEXT,
    at BIGINT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (build_id, seq)
);

CREATE TABLE builders (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    builtin BOOLEAN NOT NULL,
    version TEXT NOT NULL,
    parallel BIGINT NOT NULL,
    engine TEXT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
