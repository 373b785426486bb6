-- People: names and redirects, organizations and teams, tokens with limits, second factors, invitations, mail, the audit log.

-- Every name that is held: the current one of an account and, after a rename, the former ones, which lead on.
-- Two names with one skeleton look alike (`acme-1`, `acme_l`), so only one of them is given out.
CREATE TABLE names (
    name TEXT PRIMARY KEY,
    skeleton TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    since BIGINT NOT NULL
);
CREATE INDEX names_account ON names (account_id);
-- Names from before that look alike keep their accounts: the later ones stand with their id. Six halvings make one `-` of 64.
INSERT INTO names (name, skeleton, account_id, since)
SELECT a.name,
       CASE WHEN EXISTS (
           SELECT 1 FROM accounts b
           WHERE b.id < a.id
             AND replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(b.name, '_', '-'), '0', 'o'), '1', 'l'), 'rn', 'm'), 'vv', 'w'), '--', '-'), '--', '-'), '--', '-'), '--', '-'), '--', '-'), '--', '-')
               = replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(a.name, '_', '-'), '0', 'o'), '1', 'l'), 'rn', 'm'), 'vv', 'w'), '--', '-'), '--', '-'), '--', '-'), '--', '-'), '--', '-'), '--', '-'))
       THEN a.id
       ELSE replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(a.name, '_', '-'), '0', 'o'), '1', 'l'), 'rn', 'm'), 'vv', 'w'), '--', '-'), '--', '-'), '--', '-'), '--', '-'), '--', '-'), '--', '-') END,
       a.id, a.created_at
FROM accounts a;

-- Who made an organization; one person makes a bounded number of them.
ALTER TABLE accounts ADD COLUMN created_by TEXT;
CREATE INDEX accounts_created_by ON accounts (created_by);

-- `permission` of a team: 1 read, 2 write, 3 admin, so that the largest of several is MAX.
CREATE TABLE teams (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    is_owners BOOLEAN NOT NULL,
    -- Raised by every change of the members: the row is then locked, so two removals at once see each other.
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, name)
);
CREATE UNIQUE INDEX teams_owners ON teams (account_id) WHERE is_owners;

CREATE TABLE team_members (
    team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    added_at BIGINT NOT NULL,
    PRIMARY KEY (team_id, account_id)
);
CREATE INDEX team_members_account ON team_members (account_id, team_id);

CREATE TABLE team_repositories (
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    team_id TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    permission BIGINT NOT NULL,
    PRIMARY KEY (repository_id, team_id)
);
CREATE INDEX team_repositories_team ON team_repositories (team_id, repository_id);
-- The permission of an account is asked at every request: all that it reads of a repository's teams stands together.
CREATE INDEX team_repositories_most ON team_repositories (repository_id, permission, team_id);

-- A token of an organization has the organization as its account; `created_by` is who made it.
ALTER TABLE tokens ADD COLUMN created_by TEXT;
ALTER TABLE tokens ADD COLUMN is_limited BOOLEAN NOT NULL DEFAULT FALSE;
-- The repositories of a limited token. It stays limited when the last of them is deleted.
CREATE TABLE token_repositories (
    token_id TEXT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    PRIMARY KEY (token_id, repository_id)
);
CREATE INDEX token_repositories_repository ON token_repositories (repository_id);

ALTER TABLE sessions ADD COLUMN user_agent TEXT NOT NULL DEFAULT '';
-- The person's rights changed: the session gets a new id with its next page. The one before lives on for the requests under way.
ALTER TABLE sessions ADD COLUMN renew BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE sessions ADD COLUMN former_hash TEXT;
ALTER TABLE sessions ADD COLUMN former_until BIGINT;
CREATE UNIQUE INDEX sessions_former ON sessions (former_hash) WHERE former_hash IS NOT NULL;

-- The password was right, the second factor is still to come.
CREATE TABLE pending_sign_ins (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    tries BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Failed sign-ins by what is slowed down: `account:<name>` (of an account or not) or `address:<ip>`.
CREATE TABLE sign_in_failures (
    key TEXT PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    blocked_until BIGINT NOT NULL
);

-- TOTP (RFC 6238). Without `confirmed_at` it is being set up and asks for nothing. A code works once: `last_step` only rises.
CREATE TABLE second_factors (
    account_id TEXT PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    secret_sealed BLOB NOT NULL,
    confirmed_at BIGINT,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE recovery_codes (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    code_hash TEXT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (account_id, code_hash)
);

-- Who somebody is at an OpenID Connect provider: issuer and subject, never the e-mail.
CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_account ON identities (account_id);

-- An OpenID Connect sign-in that waits for its callback, bound to the browser that began it.
-- `account_id`: a signed-in person adds the identity. `invitation_id`: an invited person makes an account with it.
CREATE TABLE oidc_flows (
    state_hash TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    browser_hash TEXT NOT NULL,
    secrets_sealed BLOB NOT NULL,
    account_id TEXT REFERENCES accounts (id) ON DELETE CASCADE,
    invitation_id TEXT,
    next TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Addresses that wait for their confirmation by mail.
CREATE TABLE email_confirmations (
    account_id TEXT PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    token_hash TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- To the installation (no `account_id`), or to a team of an organization.
CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    account_id TEXT REFERENCES accounts (id) ON DELETE CASCADE,
    team_id TEXT REFERENCES teams (id) ON DELETE CASCADE,
    email TEXT,
    -- Whether it may be answered by making an account: those of administrators.
    makes_account BOOLEAN NOT NULL,
    created_by TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX invitations_account ON invitations (account_id);

-- Mail to be sent. Sealed: it carries one-time addresses.
CREATE TABLE mails (
    id TEXT PRIMARY KEY,
    message_sealed BLOB NOT NULL,
    tries BIGINT NOT NULL,
    next_try_at BIGINT NOT NULL,
    error TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX mails_due ON mails (next_try_at);

-- Who changed what. Rows outlive their namespace, so nothing refers to another table; without `account_id` it is the installation's.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    account_id TEXT,
    namespace TEXT NOT NULL,
    actor_id TEXT,
    actor TEXT NOT NULL,
    via TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    at BIGINT NOT NULL,
    old TEXT,
    new TEXT
);
CREATE INDEX audit_account ON audit (account_id, id);
