//! The last image of a rule's ref: what the next push of it is compared with.
//!
//! Deliberately elsewhere: whether a push has to be compared at all (`app::claims`), the comparison (the builder).

use slipway_model::{BuildRule, CommitId, RefName, RuleId};

use crate::{ReadTx, StoreError, read, read_json, signed};

/// A build that ended with an image.
#[derive(Debug, Clone)]
pub struct LastImage {
    /// Its number in the repository.
    pub number: u64,
    /// The rule as it was then.
    pub rule: BuildRule,
    /// The commit.
    pub commit: CommitId,
}

/// The newest image of a rule and a ref whose place in the ref's history is before `ref_seq`.
pub async fn get(tx: &mut ReadTx, rule: RuleId, source_ref: &RefName, ref_seq: u64) -> Result<Option<LastImage>, StoreError> {
    let row = fetch_optional!(
        (i64, String, String),
        tx,
        "SELECT number, rule, commit_id FROM builds WHERE rule_id = $1 AND source_ref = $2 AND ref_seq < $3 AND state = 'success' AND publish
         ORDER BY ref_seq DESC, number DESC LIMIT 1",
        rule.to_string(),
        source_ref.as_str(),
        signed(ref_seq),
    )?;
    row.map(|(number, rule, commit)| {
        Ok(LastImage { number: crate::count(number), rule: read_json("builds", &rule)?, commit: read("builds", &commit)? })
    })
    .transpose()
}
