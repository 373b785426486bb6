-- Blobs, manifests, tags, uploads of the built-in registry.
-- A blob is visible in a repository only through its link. What a manifest needs cannot be unlinked while the manifest stands:
-- the keys of manifest_refs say so (checked at commit, because a repository is deleted as a whole).

CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    generation TEXT NOT NULL,
    size BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE repository_blobs (
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest TEXT NOT NULL REFERENCES blobs (digest),
    linked_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX repository_blobs_digest ON repository_blobs (digest);

CREATE TABLE manifests (
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT,
    subject TEXT,
    annotations TEXT,
    depth BIGINT NOT NULL,
    size BIGINT NOT NULL,
    content BLOB NOT NULL,
    pushed_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;

-- Exactly one of blob and manifest is set, or neither when the target is allowed to be absent.
CREATE TABLE manifest_refs (
    repository_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    position BIGINT NOT NULL,
    role TEXT NOT NULL,
    child TEXT NOT NULL,
    blob TEXT,
    manifest TEXT,
    PRIMARY KEY (repository_id, digest, position),
    FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository_id, blob) REFERENCES repository_blobs (repository_id, digest) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (repository_id, manifest) REFERENCES manifests (repository_id, digest) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX manifest_refs_blob ON manifest_refs (repository_id, blob) WHERE blob IS NOT NULL;
CREATE INDEX manifest_refs_manifest ON manifest_refs (repository_id, manifest) WHERE manifest IS NOT NULL;

-- The last five columns tell which build put the tag here; empty for a tag that somebody pushed.
CREATE TABLE tags (
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    build_id TEXT,
    autobuild_id TEXT,
    source_ref TEXT,
    ref_seq BIGINT,
    commit_id TEXT,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
);
CREATE INDEX tags_digest ON tags (repository_id, digest);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX uploads_expiry ON uploads (expires_at);
CREATE INDEX uploads_repository ON uploads (repository_id);
CREATE INDEX uploads_owner ON uploads (owner);
