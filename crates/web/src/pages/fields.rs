//! Fields of forms and queries, in the order in which they came. Names may repeat; what is missing is empty.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::PageError;
use crate::error::{ApiError, Code};

/// Settings with a hundred rules and variables have less than a thousand fields.
const MAX_FIELDS: usize = 2000;

/// The fields of a form or query.
#[derive(Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a form. One with more of them than any of ours is no form of ours, and half of it would mean something else.
    fn of_form(bytes: &[u8]) -> Result<Self, ApiError> {
        if form_urlencoded::parse(bytes).nth(MAX_FIELDS).is_some() {
            return Err(ApiError::new(Code::Invalid, format!("the form has too many fields, expected at most {MAX_FIELDS}")));
        }
        Ok(Self::parse(bytes))
    }

    fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).take(MAX_FIELDS).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Fields of a text, for tests of what is made of them.
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self::parse(text.as_bytes())
    }

    /// The first value of that name; empty when there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or_default()
    }

    /// The first value of that name.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of that name, when it is not empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// Whether a box of that name was ticked.
    pub(super) fn ticked(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    /// All values of that name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The numbers `n` of all fields called `prefix.n.…`, in the order of their first sight.
    pub(super) fn rows(&self, prefix: &str) -> Vec<usize> {
        let mut rows = Vec::new();
        for (name, _) in &self.0 {
            let number = name
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('.'))
                .and_then(|rest| rest.split('.').next())
                .and_then(|n| n.parse().ok());
            if let Some(number) = number
                && !rows.contains(&number)
            {
                rows.push(number);
            }
        }
        rows
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be passwords.
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The fields of the query.
#[derive(Clone, Debug)]
pub(super) struct Query(pub(super) Fields);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

/// The fields of a form that was sent.
#[derive(Clone, Debug)]
pub(super) struct Form(pub(super) Fields);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &S) -> Result<Self, PageError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(ApiError::new(Code::BadRequest, "a form was expected, of type `application/x-www-form-urlencoded`").into());
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| ApiError::new(Code::TooLarge, "the form is larger than this page accepts, or did not come to its end"))?;
        Ok(Self(Fields::of_form(&body)?))
    }
}

/// Parts of the address. A part that cannot be what the page expects means that there is nothing at this address.
#[derive(Clone, Debug)]
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        axum::extract::Path::<T>::from_request_parts(parts, state).await.map(|path| Self(path.0)).map_err(|_| ApiError::not_found().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_repeat_and_rows_keep_their_order() {
        let fields = Fields::parse(b"scope=a&scope=b&rules.3.source=x&rules.0.source=y&rules.3.tags=&env.1.name=n&rules.x.y=1");
        assert_eq!(fields.all("scope").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(fields.rows("rules"), [3, 0]);
        assert_eq!(fields.text("rules.3.source"), "x");
        assert_eq!(fields.filled("rules.3.tags"), None);
        assert!(fields.ticked("rules.3.tags") && !fields.ticked("rules.4.tags"));
    }

    #[test]
    fn a_form_is_taken_whole_or_not() {
        let form = |fields: usize| vec!["a=1"; fields].join("&");
        assert_eq!(Fields::of_form(form(MAX_FIELDS).as_bytes()).unwrap().0.len(), MAX_FIELDS);
        assert_eq!(Fields::of_form(form(MAX_FIELDS + 1).as_bytes()).unwrap_err().code, Code::Invalid);
    }

    #[test]
    fn values_are_not_in_debug_output() {
        assert!(!format!("{:?}", Fields::parse(b"password=hunter22")).contains("hunter22"));
    }
}
