-- Builders on other machines: what an administrator decides about a node, and what the node says of itself.
ALTER TABLE builders ADD COLUMN labels TEXT NOT NULL DEFAULT 'builder';
ALTER TABLE builders ADD COLUMN draining_since BIGINT;
-- The name of who made its join token; NULL for the one inside of `slipway serve`.
ALTER TABLE builders ADD COLUMN joined_by TEXT;
-- Version of the builder protocol, and of its git; 0 and empty until it says so.
ALTER TABLE builders ADD COLUMN protocol BIGINT NOT NULL DEFAULT 0;
ALTER TABLE builders ADD COLUMN git TEXT NOT NULL DEFAULT '';

-- One-time tokens with which machines become nodes. A used one stays beside its node: the exchange may be repeated after a crash.
CREATE TABLE builder_join_tokens (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    created_by TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created_by_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    builder_id TEXT REFERENCES builders (id) ON DELETE CASCADE
);
CREATE INDEX builder_join_tokens_builder ON builder_join_tokens (builder_id);

-- Attempts that builders handed back at their own end: they do not count as tries.
ALTER TABLE builds ADD COLUMN handed_back BIGINT NOT NULL DEFAULT 0;
