//! Reading requests: JSON bodies, queries and path parts, each with an error that says what was expected.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, Code};

/// A JSON body, in or out. The content type must say so: a form of another site cannot.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::new(Code::UnsupportedMediaType, format!("the body is `{}`, expected `application/json`", cut(essence))));
        }
        let body = body(request, state).await?;
        serde_json::from_slice(&body).map(Json).map_err(|error| {
            let code = if error.is_data() { Code::Invalid } else { Code::BadRequest };
            let told = ApiError::new(code, format!("the body cannot be read: {}", cut(&error.to_string())));
            match place::<T>(&body).filter(|_| error.is_data()) {
                Some(field) => told.field(cut(&field)),
                None => told,
            }
        })
    }
}

/// Where in a body the field stands that is not what was expected: `env[2].value`.
fn place<T: DeserializeOwned>(body: &[u8]) -> Option<String> {
    let read = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(body));
    read.err().map(|error| error.path().to_string()).filter(|path| path != ".")
}

/// For routes whose body may be left out, whatever type it is said to have.
impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, ApiError> {
        let (parts, sent) = request.into_parts();
        let sent = body(Request::from_parts(parts.clone(), sent), state).await?;
        if sent.is_empty() {
            return Ok(None);
        }
        let request = Request::from_parts(parts, axum::body::Body::from(sent));
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// The whole body, up to the limit of its route.
pub(crate) async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::new(Code::TooLarge, "the body is larger than this address accepts")
        } else {
            ApiError::new(Code::BadRequest, "the body did not come to its end")
        }
    })
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        found.map(|query| Self(query.0)).map_err(|error: QueryRejection| {
            ApiError::new(Code::BadRequest, format!("the query cannot be read: {}", cut(&error.body_text())))
        })
    }
}

/// Parts of the path. A part that cannot be what the route expects means that there is nothing at this address.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        found.map(|path| Self(path.0)).map_err(|_: PathRejection| ApiError::not_found())
    }
}

/// Words of others must not grow an answer.
pub(crate) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
