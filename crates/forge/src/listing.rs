//! Lists that come page by page.
//!
//! Invariant: that something is not in a list says that it does not exist only when the list was read to its end.
//! Deliberately elsewhere: how each provider tells that there is more (its `wire`).

use crate::error::ForgeError;

/// A list, and whether there would have been more.
pub(crate) struct Listing<T> {
    pub(crate) items: Vec<T>,
    pub(crate) truncated: bool,
}

impl<T> Listing<T> {
    /// The items of a list that was read to its end; what is not in it does not exist.
    pub(crate) fn whole(self) -> Result<Vec<T>, ForgeError> {
        if self.truncated {
            let detail = format!("the list has more than {} entries, or no end", self.items.len());
            return Err(ForgeError::Unexpected { status: 200, detail });
        }
        Ok(self.items)
    }
}
