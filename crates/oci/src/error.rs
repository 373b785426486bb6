//! Error codes of the specification and the body they travel in (OCI distribution-spec 1.1 §Error Codes).

use http::StatusCode;

/// A code a client may act upon. The first fourteen are the specification's; the last two say what broke on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The blob is not in this repository.
    BlobUnknown,
    /// The upload was given bytes that it cannot take.
    BlobUploadInvalid,
    /// No such upload for this caller.
    BlobUploadUnknown,
    /// The digest is malformed or does not match the content.
    DigestInvalid,
    /// The manifest refers to something that is not in this repository.
    ManifestBlobUnknown,
    /// The manifest is not acceptable.
    ManifestInvalid,
    /// No such manifest in this repository.
    ManifestUnknown,
    /// Not a repository name.
    NameInvalid,
    /// No such repository for this caller.
    NameUnknown,
    /// The length does not match, or is over the limit.
    SizeInvalid,
    /// Credentials are needed.
    Unauthorized,
    /// The credentials do not suffice.
    Denied,
    /// The operation does not exist here.
    Unsupported,
    /// Slow down.
    TooManyRequests,
    /// Something of ours is out of reach; the same request may succeed later.
    Unavailable,
    /// A fault of ours.
    Unknown,
}

impl ErrorCode {
    /// The code as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status that goes with the code unless the caller knows better.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The JSON body of a refusal: `{"errors":[{"code","message","detail"}]}`.
pub fn error_body(code: ErrorCode, message: &str, detail: &serde_json::Value) -> String {
    serde_json::json!({ "errors": [{ "code": code.as_str(), "message": message, "detail": detail }] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_has_the_shape_clients_parse() {
        let body = error_body(ErrorCode::BlobUnknown, "no `x`", &serde_json::Value::Null);
        let value: serde_json::Value = serde_json::from_str(&body).expect("json");
        assert_eq!(value["errors"][0]["code"], "BLOB_UNKNOWN");
        assert_eq!(value["errors"][0]["message"], "no `x`");
        assert_eq!(ErrorCode::BlobUnknown.status(), StatusCode::NOT_FOUND);
    }
}
