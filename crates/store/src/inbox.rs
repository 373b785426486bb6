//! Deliveries that come at the same time are made durable by one commit.
//!
//! Invariant: [`Inbox::store`] says `Ok` only after the commit that holds the delivery. A delivery that cannot be stored does not take its
//! neighbours with it: what failed together is tried again one by one. Without the database the answer is an error within `PATIENCE`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use slipway_model::{DeliveryId, HookId, RepositoryId, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::deliveries::{self, NewDelivery};
use crate::{Db, StoreError};

/// Whoever cannot be stored within this hears so: providers wait for 5 to 10 s.
const PATIENCE: Duration = Duration::from_millis(4500);
/// Waiting deliveries; who comes then waits for a place, within the same time.
const QUEUE: usize = 256;
/// A commit takes at most so many, and not many more bytes than this.
const MOST: usize = 64;
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// A request that is to be stored.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Through which hook.
    pub hook: HookId,
    /// For which repository.
    pub repository: RepositoryId,
    /// The provider's id of it.
    pub delivery_id: String,
    /// The provider's word for the event.
    pub event: String,
    /// Headers as a JSON object, secrets removed.
    pub headers: String,
    /// The raw body.
    pub body: Vec<u8>,
    /// Hexadecimal SHA-256 of the body.
    pub body_sha256: String,
    /// When it came.
    pub received_at: Timestamp,
}

impl Incoming {
    fn new_delivery(&self) -> NewDelivery<'_> {
        NewDelivery {
            hook: self.hook,
            repository: self.repository,
            delivery_id: &self.delivery_id,
            event: &self.event,
            headers: &self.headers,
            body: &self.body,
            body_sha256: &self.body_sha256,
        }
    }
}

/// Its id, and the first delivery when it repeats one.
type Stored = (DeliveryId, Option<DeliveryId>);

struct Waiting {
    incoming: Incoming,
    answer: oneshot::Sender<Result<Stored, StoreError>>,
}

/// Where deliveries are handed in. Its writer starts with the first one and ends with this value.
pub struct Inbox {
    db: Db,
    sender: Mutex<Option<mpsc::Sender<Waiting>>>,
}

fn gone(what: &'static str) -> StoreError {
    StoreError::Unavailable(what.into())
}

impl Inbox {
    /// One for this database.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, sender: Mutex::new(None) }
    }

    /// Stores a delivery durably; see [`deliveries::insert`].
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for this delivery alone; [`StoreError::Unavailable`] when it is not known to be stored in time.
    pub async fn store(&self, incoming: Incoming) -> Result<Stored, StoreError> {
        let (answer, stored) = oneshot::channel();
        let sender = self.sender();
        let stored = async {
            sender.send(Waiting { incoming, answer }).await.map_err(|_| gone("the writer of deliveries has ended"))?;
            stored.await.map_err(|_| gone("the writer of deliveries ended before it answered"))?
        };
        tokio::time::timeout(PATIENCE, stored).await.map_err(|_| gone("the delivery was not stored in time"))?
    }

    /// To the writer; a new one when there is none or it has ended.
    fn sender(&self) -> mpsc::Sender<Waiting> {
        let mut held = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(sender) if !sender.is_closed() => sender.clone(),
            _ => {
                let (sender, receiver) = mpsc::channel(QUEUE);
                tokio::spawn(write(self.db.clone(), receiver));
                held.insert(sender).clone()
            }
        }
    }
}

/// Commits what waits, again and again: while one commit is on its way, the next ones gather.
async fn write(db: Db, mut receiver: mpsc::Receiver<Waiting>) {
    while let Some(first) = receiver.recv().await {
        let mut bytes = first.incoming.body.len();
        let mut batch = vec![first];
        while batch.len() < MOST && bytes < MOST_BYTES {
            let Ok(next) = receiver.try_recv() else { break };
            bytes += next.incoming.body.len();
            batch.push(next);
        }
        // Nobody waits any more for some of them: they were told that it was not stored, and so it shall be.
        batch.retain(|waiting| !waiting.answer.is_closed());
        commit(&db, batch).await;
    }
}

async fn commit(db: &Db, batch: Vec<Waiting>) {
    match store_all(db, &batch).await {
        Ok(stored) => batch.into_iter().zip(stored).for_each(|(waiting, stored)| answer(waiting, Ok(stored))),
        Err(error) if batch.len() == 1 => batch.into_iter().for_each(|waiting| answer(waiting, Err(copy(&error)))),
        Err(_) => one_by_one(db, batch).await,
    }
}

async fn one_by_one(db: &Db, batch: Vec<Waiting>) {
    let mut away = 0;
    for waiting in batch {
        // Twice in a row is no matter of one delivery: trying it for each would take too long for all.
        if away >= 2 {
            answer(waiting, Err(gone("the database is away")));
            continue;
        }
        let stored = store_all(db, std::slice::from_ref(&waiting)).await.map(|stored| stored[0]);
        away = if matches!(stored, Err(StoreError::Unavailable(_))) { away + 1 } else { 0 };
        answer(waiting, stored);
    }
}

fn answer(waiting: Waiting, stored: Result<Stored, StoreError>) {
    // An error says that nobody listens any more.
    waiting.answer.send(stored).ok();
}

/// Errors of the database cannot be cloned; what callers decide by is kept.
fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Conflict(detail) => StoreError::Conflict(detail.clone()),
        StoreError::Unavailable(cause) => StoreError::Unavailable(cause.to_string().into()),
        other => StoreError::Unavailable(other.to_string().into()),
    }
}

async fn store_all(db: &Db, batch: &[Waiting]) -> Result<Vec<Stored>, StoreError> {
    let mut tx = db.write().await?;
    let mut stored = Vec::with_capacity(batch.len());
    for waiting in batch {
        stored.push(deliveries::insert(&mut tx, &waiting.incoming.new_delivery(), waiting.incoming.received_at).await?);
    }
    tx.commit().await?;
    Ok(stored)
}
