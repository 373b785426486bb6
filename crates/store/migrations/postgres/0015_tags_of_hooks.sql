-- What the hooks of a build pushed to its own repository by tag. An attempt that ends with an image moves these with the tags of its rule.
CREATE TABLE build_tags (
    build_id TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    attempt BIGINT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (build_id, attempt, tag)
);
