//! A request under `/v2/` as one exhaustive [`Action`]: routing, authorisation and dispatch share this enum.
//!
//! Invariant: [`parse`] looks at method, path and query only. It never decodes a path twice, and an action that exists
//! holds valid names only. Repository names hold slashes, so the path is read from its end.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::{Algorithm, Digest, ErrorCode, Reference, RepositoryName, Tag};

/// Most items on a page, and the default.
const MAX_PAGE_ITEMS: u32 = 1000;
/// Most `tag=` parameters of one manifest PUT.
const MAX_TAGS: usize = 100;

/// Body or header only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// GET.
    Whole,
    /// HEAD.
    Head,
}

/// `n` and `last` of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most so many items; already clamped. Zero asks for none.
    pub limit: u32,
    /// Items after this text; a plain bound, it need not exist.
    pub after: Option<String>,
}

/// `mount=` and `from=` of an upload's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The blob wanted.
    pub digest: Digest,
    /// The repository to take it from; without it the registry may not look anywhere.
    pub from: Option<RepositoryName>,
}

/// An upload's id as it stands in an address: a lowercase UUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let shape = |(i, b): (usize, u8)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { hex(b) };
        (text.len() == 36 && text.bytes().enumerate().all(shape)).then(|| Self(text.to_owned()))
    }
}

/// Everything that can be asked of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `GET /v2/`
    Ping,
    /// `GET /v2/_catalog`
    Catalog(Page),
    /// `GET|HEAD /v2/<name>/blobs/<digest>`
    BlobRead(RepositoryName, Digest, Fetch),
    /// `DELETE /v2/<name>/blobs/<digest>`
    BlobDelete(RepositoryName, Digest),
    /// `POST /v2/<name>/blobs/uploads/` with `mount=`, `digest=` (the body is the whole blob), `digest-algorithm=`
    UploadStart {
        /// Where to.
        name: RepositoryName,
        /// Take the blob from another repository if possible.
        mount: Option<Mount>,
        /// The body is the blob.
        digest: Option<Digest>,
        /// The digest that the client will finish with.
        algorithm: Algorithm,
    },
    /// `GET /v2/<name>/blobs/uploads/<id>`
    UploadStatus(RepositoryName, UploadId),
    /// `PATCH /v2/<name>/blobs/uploads/<id>`
    UploadAppend(RepositoryName, UploadId),
    /// `PUT /v2/<name>/blobs/uploads/<id>?digest=`
    UploadFinish(RepositoryName, UploadId, Digest),
    /// `DELETE /v2/<name>/blobs/uploads/<id>`
    UploadCancel(RepositoryName, UploadId),
    /// `GET|HEAD /v2/<name>/manifests/<reference>`
    ManifestRead(RepositoryName, Reference, Fetch),
    /// `PUT /v2/<name>/manifests/<reference>`, by digest also `?tag=a&tag=b`
    ManifestWrite(RepositoryName, Reference, Vec<Tag>),
    /// `DELETE /v2/<name>/manifests/<digest>`
    ManifestDelete(RepositoryName, Digest),
    /// `DELETE /v2/<name>/manifests/<tag>`
    TagDelete(RepositoryName, Tag),
    /// `GET /v2/<name>/tags/list`
    TagList(RepositoryName, Page),
    /// `GET /v2/<name>/referrers/<digest>`
    Referrers {
        /// Where.
        name: RepositoryName,
        /// About which manifest; it need not exist.
        subject: Digest,
        /// Only these.
        artifact_type: Option<String>,
    },
}

/// The right that an action needs on its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Remove.
    Delete,
}

impl Action {
    /// The repository and the right needed there; `None` for what is about the registry as a whole.
    pub fn access(&self) -> Option<(&RepositoryName, Access)> {
        Some(match self {
            Self::Ping | Self::Catalog(_) => return None,
            Self::BlobRead(name, ..) | Self::ManifestRead(name, ..) | Self::TagList(name, _) | Self::Referrers { name, .. } => {
                (name, Access::Pull)
            }
            Self::UploadStart { name, .. }
            | Self::UploadStatus(name, _)
            | Self::UploadAppend(name, _)
            | Self::UploadFinish(name, ..)
            | Self::UploadCancel(name, _)
            | Self::ManifestWrite(name, ..) => (name, Access::Push),
            Self::BlobDelete(name, _) | Self::ManifestDelete(name, _) | Self::TagDelete(name, _) => (name, Access::Delete),
        })
    }
}

/// Why a request is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What the client is told.
    pub code: ErrorCode,
    /// In words.
    pub message: String,
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

/// Reads a request. `Ok(None)`: no such address (a bare 404).
pub fn parse(method: &Method, path: &str, query: &str) -> Result<Option<Action>, Refusal> {
    let Some(rest) = path.strip_prefix("/v2") else { return Ok(None) };
    if rest.is_empty() || rest == "/" {
        return only(method, &[Method::GET, Method::HEAD], || Ok(Action::Ping));
    }
    let Some(rest) = rest.strip_prefix('/') else { return Ok(None) };
    if rest == "_catalog" {
        return only(method, &[Method::GET], || page(query).map(Action::Catalog));
    }
    let mut from_end = rest.rsplitn(4, '/');
    let mut next = || from_end.next().unwrap_or_default();
    let (last, second, third, fourth) = (next(), next(), next(), next());
    let join = |head: &str, tail: &str| match head {
        "" => tail.to_owned(),
        head => format!("{head}/{tail}"),
    };
    match (third, second, last) {
        ("blobs", "uploads", "") => upload_start(method, fourth, query),
        (_, "blobs", "uploads") => upload_start(method, &join(fourth, third), query),
        ("blobs", "uploads", id) => upload(method, fourth, id, query),
        (_, "blobs", digest) => blob(method, &join(fourth, third), digest),
        (_, "manifests", reference) => manifest(method, &join(fourth, third), reference, query),
        (_, "tags", "list") => {
            let name = repository(&join(fourth, third))?;
            only(method, &[Method::GET], || page(query).map(|page| Action::TagList(name, page)))
        }
        (_, "referrers", subject) => {
            let (name, subject) = (repository(&join(fourth, third))?, digest(subject)?);
            let artifact_type = parameter(query, "artifactType").map(Cow::into_owned);
            only(method, &[Method::GET], || Ok(Action::Referrers { name, subject, artifact_type }))
        }
        _ => Ok(None),
    }
}

fn only(method: &Method, allowed: &[Method], action: impl FnOnce() -> Result<Action, Refusal>) -> Result<Option<Action>, Refusal> {
    if allowed.contains(method) { action().map(Some) } else { Err(no_method(method)) }
}

fn no_method(method: &Method) -> Refusal {
    refuse(ErrorCode::Unsupported, format!("`{method}` is not possible at this address"))
}

fn fetch(method: &Method) -> Fetch {
    if method == Method::HEAD { Fetch::Head } else { Fetch::Whole }
}

fn upload_start(method: &Method, name: &str, query: &str) -> Result<Option<Action>, Refusal> {
    let name = repository(name)?;
    let given = |key| parameter(query, key).map(|text| digest(&text)).transpose();
    // A mount that cannot be read is no reason to refuse the push: the client gets an upload, as for any other miss.
    let mount = parameter(query, "mount")
        .and_then(|text| text.parse().ok())
        .map(|digest| Mount { digest, from: parameter(query, "from").and_then(|from| from.parse().ok()) });
    let digest = given("digest")?;
    let algorithm = match parameter(query, "digest-algorithm") {
        Some(text) => text.parse().map_err(|error| refuse(ErrorCode::DigestInvalid, format!("{error}")))?,
        None => digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm),
    };
    only(method, &[Method::POST], || Ok(Action::UploadStart { name, mount, digest, algorithm }))
}

fn upload(method: &Method, name: &str, id: &str, query: &str) -> Result<Option<Action>, Refusal> {
    let name = repository(name)?;
    let id = UploadId::parse(id).ok_or_else(|| refuse(ErrorCode::BlobUploadUnknown, "no such upload"))?;
    Ok(Some(match *method {
        Method::GET => Action::UploadStatus(name, id),
        Method::PATCH => Action::UploadAppend(name, id),
        Method::DELETE => Action::UploadCancel(name, id),
        Method::PUT => {
            let text = parameter(query, "digest").ok_or_else(|| refuse(ErrorCode::DigestInvalid, "parameter `digest` is missing"))?;
            Action::UploadFinish(name, id, digest(&text)?)
        }
        _ => return Err(no_method(method)),
    }))
}

fn blob(method: &Method, name: &str, text: &str) -> Result<Option<Action>, Refusal> {
    let (name, digest) = (repository(name)?, digest(text)?);
    Ok(Some(match *method {
        Method::GET | Method::HEAD => Action::BlobRead(name, digest, fetch(method)),
        Method::DELETE => Action::BlobDelete(name, digest),
        _ => return Err(no_method(method)),
    }))
}

fn manifest(method: &Method, name: &str, text: &str, query: &str) -> Result<Option<Action>, Refusal> {
    let name = repository(name)?;
    let reference = reference(text, method);
    Ok(Some(match *method {
        Method::GET | Method::HEAD => Action::ManifestRead(name, reference?, fetch(method)),
        Method::PUT => {
            let tags = parameters(query, "tag")
                .take(MAX_TAGS + 1)
                .map(|tag| tag.parse().map_err(|e| refuse(ErrorCode::ManifestInvalid, format!("{e}"))))
                .collect::<Result<Vec<Tag>, _>>()?;
            if tags.len() > MAX_TAGS {
                return Err(refuse(ErrorCode::ManifestInvalid, format!("more than {MAX_TAGS} tags in one request")));
            }
            Action::ManifestWrite(name, reference?, tags)
        }
        Method::DELETE => match reference? {
            Reference::Digest(digest) => Action::ManifestDelete(name, digest),
            Reference::Tag(tag) => Action::TagDelete(name, tag),
        },
        _ => return Err(no_method(method)),
    }))
}

fn repository(text: &str) -> Result<RepositoryName, Refusal> {
    text.parse().map_err(|error| refuse(ErrorCode::NameInvalid, format!("{error}")))
}

/// A digest in a path or a parameter; some clients escape its colon.
fn digest(text: &str) -> Result<Digest, Refusal> {
    unescape(text).parse().map_err(|error| refuse(ErrorCode::DigestInvalid, format!("`{}`: {error}", shortened(text))))
}

/// Digest or tag. Whoever *asks* for something that is neither learns that it does not exist; whoever wants to store
/// under it learns that it is wrong.
fn reference(text: &str, method: &Method) -> Result<Reference, Refusal> {
    let text = unescape(text);
    if text.contains(':') {
        return digest(&text).map(Reference::Digest);
    }
    let code = if method == Method::PUT { ErrorCode::ManifestInvalid } else { ErrorCode::ManifestUnknown };
    text.parse().map(Reference::Tag).map_err(|error| refuse(code, format!("`{}`: {error}", shortened(&text))))
}

fn unescape(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// What a refusal repeats of hostile input.
fn shortened(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn page(query: &str) -> Result<Page, Refusal> {
    let limit = match parameter(query, "n") {
        None => MAX_PAGE_ITEMS,
        Some(text) => text.parse::<u64>().map_or_else(
            |_| Err(refuse(ErrorCode::Unsupported, "parameter `n` is not a number")),
            |n| Ok(u32::try_from(n).unwrap_or(MAX_PAGE_ITEMS).min(MAX_PAGE_ITEMS)),
        )?,
    };
    Ok(Page { limit, after: parameter(query, "last").filter(|last| !last.is_empty()).map(Cow::into_owned) })
}

fn parameters<'q>(query: &'q str, key: &'q str) -> impl Iterator<Item = Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes()).filter(move |(name, _)| name == key).map(|(_, value)| value)
}

fn parameter<'q>(query: &'q str, key: &'q str) -> Option<Cow<'q, str>> {
    parameters(query, key).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ID: &str = "018f2b3c-aaaa-7bbb-8ccc-0123456789ab";

    fn ask(method: &str, path: &str, query: &str) -> Result<Option<Action>, ErrorCode> {
        let method = Method::from_bytes(method.as_bytes()).expect("method");
        parse(&method, path, query).map_err(|refusal| refusal.code)
    }

    fn name(text: &str) -> RepositoryName {
        text.parse().expect("name")
    }

    fn digest() -> Digest {
        DIGEST.parse().expect("digest")
    }

    fn tag(text: &str) -> Tag {
        text.parse().expect("tag")
    }

    #[test]
    fn every_action() {
        let upload = || UploadId(ID.to_owned());
        let page = |limit, after: Option<&str>| Page { limit, after: after.map(str::to_owned) };
        let start = |mount, digest, algorithm| Action::UploadStart { name: name("a/b"), mount, digest, algorithm };
        let referrers =
            |kind: Option<&str>| Action::Referrers { name: name("a/b"), subject: digest(), artifact_type: kind.map(str::to_owned) };
        let uploads = "/v2/a/b/blobs/uploads/";
        let one = format!("/v2/a/b/blobs/uploads/{ID}");
        let blob = format!("/v2/a/b/blobs/{DIGEST}");
        let by_digest = format!("/v2/a/b/manifests/{DIGEST}");
        let (dq, mq) = (format!("digest={DIGEST}"), format!("mount={DIGEST}&from=c%2Fd"));
        let (escaped, mount_only) = (dq.replace(':', "%3A"), format!("mount={DIGEST}"));
        let referrers_of = format!("/v2/a/b/referrers/{DIGEST}");
        let mount = |from: Option<&str>| Some(Mount { digest: digest(), from: from.map(name) });
        let both = Reference::Digest(digest());
        let latest = || Reference::Tag(tag("latest"));
        let table: Vec<(&str, &str, &str, Action)> = vec![
            ("GET", "/v2/", "", Action::Ping),
            ("HEAD", "/v2", "", Action::Ping),
            ("GET", "/v2/_catalog", "n=5&last=x", Action::Catalog(page(5, Some("x")))),
            ("GET", &blob, "", Action::BlobRead(name("a/b"), digest(), Fetch::Whole)),
            ("HEAD", &blob, "", Action::BlobRead(name("a/b"), digest(), Fetch::Head)),
            ("DELETE", &blob, "", Action::BlobDelete(name("a/b"), digest())),
            ("POST", uploads, "", start(None, None, Algorithm::Sha256)),
            ("POST", "/v2/a/b/blobs/uploads", "", start(None, None, Algorithm::Sha256)),
            ("POST", uploads, "digest-algorithm=sha512", start(None, None, Algorithm::Sha512)),
            ("POST", uploads, &dq, start(None, Some(digest()), Algorithm::Sha256)),
            ("POST", uploads, &mq, start(mount(Some("c/d")), None, Algorithm::Sha256)),
            ("POST", uploads, &mount_only, start(mount(None), None, Algorithm::Sha256)),
            ("POST", uploads, "mount=nonsense&from=c", start(None, None, Algorithm::Sha256)),
            ("GET", &one, "", Action::UploadStatus(name("a/b"), upload())),
            ("PATCH", &one, "", Action::UploadAppend(name("a/b"), upload())),
            ("PUT", &one, &dq, Action::UploadFinish(name("a/b"), upload(), digest())),
            ("PUT", &one, &escaped, Action::UploadFinish(name("a/b"), upload(), digest())),
            ("DELETE", &one, "", Action::UploadCancel(name("a/b"), upload())),
            ("GET", "/v2/a/b/manifests/latest", "", Action::ManifestRead(name("a/b"), latest(), Fetch::Whole)),
            ("HEAD", &by_digest, "", Action::ManifestRead(name("a/b"), both.clone(), Fetch::Head)),
            ("PUT", "/v2/a/b/manifests/latest", "", Action::ManifestWrite(name("a/b"), latest(), vec![])),
            ("PUT", &by_digest, "tag=x&tag=y", Action::ManifestWrite(name("a/b"), both, vec![tag("x"), tag("y")])),
            ("DELETE", &by_digest, "", Action::ManifestDelete(name("a/b"), digest())),
            ("DELETE", "/v2/a/b/manifests/latest", "", Action::TagDelete(name("a/b"), tag("latest"))),
            ("GET", "/v2/a/b/tags/list", "", Action::TagList(name("a/b"), page(1000, None))),
            ("GET", "/v2/a/b/tags/list", "n=99999999", Action::TagList(name("a/b"), page(1000, None))),
            ("GET", "/v2/a/b/tags/list", "n=0", Action::TagList(name("a/b"), page(0, None))),
            ("GET", &referrers_of, "artifactType=x%2Fy", referrers(Some("x/y"))),
            // names that hold the words of the grammar
            (
                "GET",
                "/v2/blobs/uploads/manifests/x",
                "",
                Action::ManifestRead(name("blobs/uploads"), Reference::Tag(tag("x")), Fetch::Whole),
            ),
            ("GET", "/v2/tags/list/tags/list", "", Action::TagList(name("tags/list"), page(1000, None))),
            ("GET", "/v2/a/b/c/d/e/manifests/x", "", Action::ManifestRead(name("a/b/c/d/e"), Reference::Tag(tag("x")), Fetch::Whole)),
        ];
        for (method, path, query, wanted) in table {
            assert_eq!(ask(method, path, query), Ok(Some(wanted)), "{method} {path}?{query}");
        }
    }

    #[test]
    fn refusals() {
        let one = format!("/v2/a/b/blobs/uploads/{ID}");
        for (method, path, query, wanted) in [
            ("GET", "/", "", None),
            ("GET", "/v2x", "", None),
            ("GET", "/v2/a", "", None),
            ("GET", "/v2/a/b", "", None),
            ("GET", "/v2/a/b/tags/other", "", None),
            ("POST", "/v2/", "", Some(ErrorCode::Unsupported)),
            ("POST", "/v2/_catalog", "", Some(ErrorCode::Unsupported)),
            ("GET", "/v2/a/b/blobs/uploads/", "", Some(ErrorCode::Unsupported)),
            ("POST", one.as_str(), "", Some(ErrorCode::Unsupported)),
            ("PUT", one.as_str(), "", Some(ErrorCode::DigestInvalid)),
            ("PUT", one.as_str(), "digest=sha256:1", Some(ErrorCode::DigestInvalid)),
            ("GET", "/v2/a/b/blobs/uploads/../../x", "", None),
            ("GET", "/v2/a/b/blobs/uploads/x", "", Some(ErrorCode::BlobUploadUnknown)),
            ("GET", "/v2/a/b/blobs/sha256:1", "", Some(ErrorCode::DigestInvalid)),
            ("GET", "/v2/A/b/tags/list", "", Some(ErrorCode::NameInvalid)),
            ("GET", "/v2//tags/list", "", Some(ErrorCode::NameInvalid)),
            ("GET", "/v2/a%2Fb/tags/list", "", Some(ErrorCode::NameInvalid)),
            ("GET", "/v2/../a/tags/list", "", Some(ErrorCode::NameInvalid)),
            ("GET", "/v2/a/b/tags/list", "n=x", Some(ErrorCode::Unsupported)),
            ("GET", "/v2/a/b/tags/list", "n=-1", Some(ErrorCode::Unsupported)),
            ("GET", "/v2/a/b/manifests/.INVALID", "", Some(ErrorCode::ManifestUnknown)),
            ("PUT", "/v2/a/b/manifests/.INVALID", "", Some(ErrorCode::ManifestInvalid)),
            ("PUT", "/v2/a/b/manifests/x", "tag=.x", Some(ErrorCode::ManifestInvalid)),
            ("GET", "/v2/a/b/manifests/sha256:zz", "", Some(ErrorCode::DigestInvalid)),
            ("TRACE", "/v2/a/b/manifests/x", "", Some(ErrorCode::Unsupported)),
        ] {
            assert_eq!(ask(method, path, query), wanted.map_or(Ok(None), Err), "{method} {path}?{query}");
        }
    }

    #[test]
    fn each_action_names_its_right() {
        for (method, path, wanted) in [
            ("GET", "/v2/".to_owned(), None),
            ("GET", format!("/v2/a/b/blobs/{DIGEST}"), Some(Access::Pull)),
            ("GET", "/v2/a/b/tags/list".to_owned(), Some(Access::Pull)),
            ("GET", format!("/v2/a/b/referrers/{DIGEST}"), Some(Access::Pull)),
            ("GET", format!("/v2/a/b/blobs/uploads/{ID}"), Some(Access::Push)),
            ("POST", "/v2/a/b/blobs/uploads/".to_owned(), Some(Access::Push)),
            ("PUT", "/v2/a/b/manifests/x".to_owned(), Some(Access::Push)),
            ("DELETE", "/v2/a/b/manifests/x".to_owned(), Some(Access::Delete)),
            ("DELETE", format!("/v2/a/b/blobs/{DIGEST}"), Some(Access::Delete)),
            ("DELETE", format!("/v2/a/b/blobs/uploads/{ID}"), Some(Access::Push)),
        ] {
            let action = ask(method, &path, "").expect("valid").expect("known");
            assert_eq!(action.access().map(|(_, access)| access), wanted, "{method} {path}");
        }
    }
}
