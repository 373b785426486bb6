//! Answers of the API: status, body, headers, Bitbucket's error shapes and paging.
//! Invariant: a list is never longer than a page, and `next` is the only way to the next one.

use axum::http::StatusCode;
use serde_json::{Value, json};

/// A successful answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self::with(StatusCode::OK, body)
    }

    pub(crate) fn created(body: Value) -> Self {
        Self::with(StatusCode::CREATED, body)
    }

    pub(crate) fn with(status: StatusCode, body: Value) -> Self {
        Self { status, body: Some(body), headers: Vec::new() }
    }

    pub(crate) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, headers: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// A refusal in Bitbucket's words.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// Members of `error` beside `message`.
    pub(crate) more: Vec<(&'static str, Value)>,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), more: Vec::new(), headers: Vec::new() }
    }

    pub(crate) fn bad_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Token is invalid, expired, or not supported for this endpoint.")
    }

    pub(crate) fn no_repository(full_name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Repository {full_name} not found"))
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    /// No path of the API.
    pub(crate) fn no_resource() -> Self {
        let mut error = Self::new(StatusCode::NOT_FOUND, "Resource not found");
        let detail = "There is no API hosted at this URL.\n\nFor information about our API's, please refer to the documentation at: \
                      https://developer.atlassian.com/bitbucket/api/2/reference/";
        error.more.push(("detail", json!(detail)));
        error
    }

    pub(crate) fn scopes(required: &[&str], granted: &[String]) -> Self {
        let mut error = Self::new(StatusCode::FORBIDDEN, "Your credentials lack one or more required privilege scopes.");
        error.more.push(("detail", json!({ "required": required, "granted": granted })));
        error
    }

    /// Invalid input, field by field.
    pub(crate) fn fields(fields: &[(&str, &str)]) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, "Bad request");
        let fields: serde_json::Map<String, Value> = fields.iter().map(|(name, why)| ((*name).to_owned(), json!([why]))).collect();
        error.more.push(("fields", Value::Object(fields)));
        error
    }

    pub(crate) fn moved(location: String) -> Self {
        let mut error = Self::new(StatusCode::MOVED_PERMANENTLY, "Moved Permanently");
        error.headers.push(("location", location));
        error
    }

    /// Recorded answer of the cross-workspace lists that were taken away.
    pub(crate) fn gone() -> Self {
        let mut error = Self::new(StatusCode::GONE, "CHANGE-2770 - Functionality has been deprecated");
        error.more.push(("detail", json!("Please read the changelog entry for more details.")));
        error.more.push(("data", announcement()));
        error
    }

    pub(crate) fn body(&self) -> Value {
        // Bitbucket answers this one as text.
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            return json!(self.message);
        }
        let mut error = json!({ "message": self.message });
        for (name, value) in &self.more {
            error[name] = value.clone();
        }
        let mut body = json!({ "type": "error", "error": error });
        if self.status == StatusCode::GONE {
            body["data"] = announcement();
        }
        body
    }
}

fn announcement() -> Value {
    json!({ "announcement_url": "https://developer.atlassian.com/cloud/bitbucket/changelog#CHANGE-2770" })
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!(%error, "the fake provider failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong")
    }
}

/// Result of a route.
pub(crate) type ApiResult = Result<Reply, ApiError>;

/// The query of a request, in order.
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

/// Which part of a list is asked for.
pub(crate) struct Page {
    number: usize,
    pub(super) length: usize,
}

impl Page {
    /// Indexes of the page's items.
    pub(crate) fn range(&self, size: usize) -> std::ops::Range<usize> {
        let start = ((self.number - 1) * self.length).min(size);
        start..(start + self.length).min(size)
    }
}

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `page` and `pagelen`: 10 unless told, at least 10, never more than 100.
    pub(crate) fn page(&self) -> Result<Page, ApiError> {
        let number = |name: &str, default: usize| match self.get(name) {
            Some(text) => text.parse().ok().filter(|number| *number >= 1),
            None => Some(default),
        };
        let invalid = |what: &str| ApiError::new(StatusCode::BAD_REQUEST, format!("Invalid {what}"));
        let length = number("pagelen", 10).filter(|length| *length <= 100).ok_or_else(|| invalid("pagelen"))?;
        Ok(Page { number: number("page", 1).ok_or_else(|| invalid("page"))?, length: length.max(10) })
    }

    fn url_of_page(&self, url: &str, page: usize) -> String {
        let mut serializer = form_urlencoded::Serializer::new(String::new());
        serializer.extend_pairs(self.0.iter().filter(|(key, _)| key != "page"));
        serializer.append_pair("page", &page.to_string());
        format!("{url}?{}", serializer.finish())
    }

    /// The envelope around one page of a list of `size`.
    pub(crate) fn paged(&self, url: &str, page: &Page, size: usize, values: Vec<Value>) -> ApiResult {
        let last = size.div_ceil(page.length).max(1);
        if page.number > last {
            return Err(ApiError::not_found("Invalid page"));
        }
        let mut body = json!({ "pagelen": page.length, "page": page.number, "size": size, "values": values });
        if page.number < last {
            body["next"] = json!(self.url_of_page(url, page.number + 1));
        }
        if page.number > 1 {
            body["previous"] = json!(self.url_of_page(url, page.number - 1));
        }
        Ok(Reply::ok(body))
    }

    /// Cuts one page out of `items`.
    pub(crate) fn page_of(&self, url: &str, items: Vec<Value>) -> ApiResult {
        let page = self.page()?;
        let (size, range) = (items.len(), page.range(items.len()));
        let cut = items.into_iter().skip(range.start).take(range.len()).collect();
        self.paged(url, &page, size, cut)
    }
}
