-- Builds that no link could serve are found when one can again: they are few among many.
CREATE INDEX builds_unserved ON builds (autobuild_id) WHERE reason_code = 'link_unavailable';
