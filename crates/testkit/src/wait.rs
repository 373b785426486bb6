//! Waiting by condition: the only way in which a test lets time pass.
//! Invariant: a wait ends with the value or with an error that says what was awaited.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks; what takes long is looked at more seldom.
const STEP: Duration = Duration::from_millis(20);

/// Asks again until there is an answer, or fails after `limit` with the name of what was awaited.
pub async fn until<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = ask().await? {
            return Ok(value);
        }
        let waited = started.elapsed();
        if waited > limit {
            bail!("waited {} s for {what}", limit.as_secs_f32());
        }
        tokio::time::sleep(STEP.max(waited / 100)).await;
    }
}
