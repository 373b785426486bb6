-- Repositories whose images go to another registry too.
CREATE TABLE external_repositories (
    repository_id TEXT PRIMARY KEY REFERENCES repositories (id) ON DELETE CASCADE,
    -- `registry.example.com/team/app`.
    address TEXT NOT NULL,
    -- Empty where the registry asks for none.
    username TEXT NOT NULL,
    -- Sealed for this repository and address.
    password_sealed BYTEA NOT NULL,
    saved_at BIGINT NOT NULL
);
-- What each tag is, or shall be, there. The row is the queue entry: whatever is newer takes its place.
CREATE TABLE external_tags (
    repository_id TEXT NOT NULL REFERENCES external_repositories (repository_id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    -- A deleted build's image goes out all the same.
    build_id TEXT REFERENCES builds (id) ON DELETE SET NULL,
    -- Raised whenever something else is to go out: who sent an older one has sent nothing.
    version BIGINT NOT NULL,
    due_at BIGINT,
    -- Since when it is to go out.
    since BIGINT NOT NULL,
    -- Who sends it now has it alone until then, and is known by the number of its claim.
    lease_until BIGINT,
    claims BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    -- Why it is not there.
    error TEXT,
    delivered_at BIGINT,
    PRIMARY KEY (repository_id, tag)
);
CREATE INDEX external_tags_due ON external_tags (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX external_tags_build ON external_tags (build_id) WHERE build_id IS NOT NULL;
