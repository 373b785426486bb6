-- Why a node cannot have engines of its own, which hooks, tests and other people's commits need; NULL when it can, or has not said so.
ALTER TABLE builders ADD COLUMN obstacle TEXT;
-- Whether a build needs one, as far as that is known: by its lane before it is claimed, else when a node without said so.
ALTER TABLE builds ADD COLUMN own_engine BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE builds SET own_engine = TRUE WHERE lane = 'untrusted' AND state IN ('queued', 'running');
