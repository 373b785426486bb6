//! Lists of the API: `{"items":[...],"next":cursor|null}` with `?limit=&cursor=`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, Code};

const DEFAULT_LIMIT: u32 = 30;
const MAX_LIMIT: u32 = 100;

/// Which part of a list is wanted.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many items at most, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    pub limit: Option<u32>,
    /// The `next` of the part before.
    pub cursor: Option<String>,
}

impl Paging {
    /// The checked number of items.
    ///
    /// # Errors
    /// [`Code::Invalid`] outside of 1 to 100.
    pub fn limit(&self) -> Result<u32, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(limit)
        } else {
            Err(ApiError::new(Code::Invalid, format!("`limit` is {limit}, expected 1 to {MAX_LIMIT}")).field("limit"))
        }
    }

    /// What the cursor stands for.
    ///
    /// # Errors
    /// [`Code::Invalid`] for a cursor that we did not make.
    pub fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, ApiError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let value = text.and_then(|text| text.parse().ok());
        value
            .map(Some)
            .ok_or_else(|| ApiError::new(Code::Invalid, "`cursor` is none of ours, expected the `next` of the part before").field("cursor"))
    }
}

/// A part of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct List<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// The cursor of the next part; null at the end.
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A list that has no second part.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// Cuts `limit` items out of one more than that; the key of the last one leads on.
    pub fn cut<R>(mut rows: Vec<R>, limit: u32, key: impl Fn(&R) -> String, view: impl Fn(R) -> T) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(|row| URL_SAFE_NO_PAD.encode(key(row))) } else { None };
        Self { items: rows.into_iter().map(view).collect(), next }
    }

    /// A part whose next key is known by other means.
    pub fn part(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next: next.map(|key| URL_SAFE_NO_PAD.encode(key)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on_and_ends() {
        let first = List::cut(vec![1, 2, 3], 2, |n: &i32| n.to_string(), |n| n);
        assert_eq!(first.items, [1, 2]);
        let paging = Paging { limit: None, cursor: first.next };
        assert_eq!(paging.after::<i32>().unwrap(), Some(2));
        assert_eq!(List::cut(vec![1, 2], 2, |n: &i32| n.to_string(), |n| n).next, None);
    }

    #[test]
    fn limits_and_foreign_cursors_are_refused() {
        for limit in [0, 101] {
            assert!(Paging { limit: Some(limit), cursor: None }.limit().is_err());
        }
        for cursor in ["%%%", "eA"] {
            assert!(Paging { limit: None, cursor: Some(cursor.into()) }.after::<i32>().is_err());
        }
    }
}
