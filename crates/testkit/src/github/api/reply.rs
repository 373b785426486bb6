//! Answers of the REST API: status, body, headers, GitHub's error shapes and paging.
//! Invariant: a list is never longer than a page, and `Link` is the only way to the next one.

use axum::http::StatusCode;
use serde_json::{Value, json};

const DOCUMENTATION: &str = "https://docs.github.com/rest";

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

    /// A list that leaves organizations out because the token was not authorized for their SAML.
    pub(crate) fn partial(self, organizations: &[u64]) -> Self {
        if organizations.is_empty() {
            return self;
        }
        let ids = organizations.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        self.header("x-github-sso", format!("partial-results; organizations={ids}"))
    }

    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// A refusal in GitHub's words.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) errors: Vec<Value>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// More fields of the body.
    pub(crate) extra: Vec<(&'static str, Value)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: Vec::new(), headers: Vec::new(), extra: Vec::new() }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not Found")
    }

    /// The 403 of an organization that has not approved the app; no header tells it apart, only the text.
    pub(crate) fn restricted(organization: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            format!(
                "Although you appear to have the correct authorization credentials, the `{organization}` organization has \
                 enabled OAuth App access restrictions, meaning that data access to third-parties is limited. For more \
                 information on these restrictions, including how to enable this app, visit \
                 https://docs.github.com/articles/restricting-access-to-your-organization-s-data/"
            ),
        )
    }

    /// Whether this is the refusal of an app that an organization has not approved.
    pub(crate) fn is_restriction(&self) -> bool {
        self.message.contains("OAuth App access restrictions")
    }

    /// The 403 of an organization that allows only some addresses.
    pub(crate) fn address_not_allowed(organization: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            format!(
                "Although you appear to have the correct authorization credentials, the `{organization}` organization has an IP \
                 allow list enabled, and your IP address is not permitted to access this resource."
            ),
        )
    }

    /// The 403 of an organization with SAML; the header says where the token is authorized.
    pub(crate) fn saml(kind: &str) -> Self {
        let why =
            format!("Resource protected by organization SAML enforcement. You must grant your {kind} token access to this organization.");
        Self::new(StatusCode::FORBIDDEN, why)
    }

    pub(crate) fn invalid(errors: Vec<Value>) -> Self {
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed");
        error.errors = errors;
        error
    }

    /// 301 for reads and 307 for writes of a repository that was renamed or moved.
    pub(crate) fn moved(status: StatusCode, location: String) -> Self {
        let message = if status == StatusCode::MOVED_PERMANENTLY { "Moved Permanently" } else { "Temporary Redirect" };
        let mut error = Self::new(status, message);
        error.extra.push(("url", Value::String(location.clone())));
        error.headers.push(("location", location));
        error
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({ "message": self.message, "documentation_url": DOCUMENTATION });
        if self.errors.is_empty() {
            body["status"] = json!(self.status.as_str());
        } else {
            body["errors"] = Value::Array(self.errors.clone());
        }
        for (name, value) in &self.extra {
            body[*name] = value.clone();
        }
        body
    }
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!(%error, "the fake provider failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Server Error")
    }
}

/// Result of a route.
pub(crate) type ApiResult = Result<Reply, ApiError>;

/// The query of a request, in order.
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str, default: usize) -> usize {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// `per_page`, 30 unless told, at most 100.
    pub(crate) fn per_page(&self) -> usize {
        self.number("per_page", 30).clamp(1, 100)
    }

    /// The address with all of the query, and with one pair put in its place.
    pub(crate) fn url_with(&self, url: &str, name: &str, value: &str) -> String {
        let mut serializer = form_urlencoded::Serializer::new(String::new());
        serializer.extend_pairs(self.0.iter().filter(|(key, _)| key != name));
        serializer.append_pair(name, value);
        format!("{url}?{}", serializer.finish())
    }

    /// Cuts one page out of `items` and adds the `Link` header that GitHub would send.
    pub(crate) fn page<T>(&self, url: &str, items: Vec<T>, shown: impl Fn(T) -> Value) -> Reply {
        let (cut, links) = self.cut(url, items);
        let reply = Reply::ok(cut.into_iter().map(shown).collect());
        if links.is_empty() { reply } else { reply.header("link", links) }
    }

    /// One page inside an object, as the lists of installations are.
    pub(crate) fn page_in<T>(&self, url: &str, name: &str, items: Vec<T>, shown: impl Fn(T) -> Value) -> Reply {
        let total = items.len();
        let (cut, links) = self.cut(url, items);
        let reply = Reply::ok(json!({ "total_count": total, name: cut.into_iter().map(shown).collect::<Vec<_>>() }));
        if links.is_empty() { reply } else { reply.header("link", links) }
    }

    /// The items of the page that is asked for, and the `Link` header. Only these are ever rendered.
    fn cut<T>(&self, url: &str, items: Vec<T>) -> (Vec<T>, String) {
        let per_page = self.per_page();
        let page = self.number("page", 1).max(1);
        let last = items.len().div_ceil(per_page).max(1);
        let mut links = Vec::new();
        let mut link = |number: usize, rel: &str| {
            links.push(format!("<{}>; rel=\"{rel}\"", self.url_with(url, "page", &number.to_string())));
        };
        if page > 1 {
            link(page - 1, "prev");
        }
        if page < last {
            link(page + 1, "next");
            link(last, "last");
        }
        if page > 1 {
            link(1, "first");
        }
        let cut = items.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
        (cut, links.join(", "))
    }
}
