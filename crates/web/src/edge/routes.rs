//! A router that knows its own addresses.
//!
//! Invariant: an address cannot be served without standing in the list: both come from the same call. This is the only file that
//! uses `axum::routing`, which a test of this crate holds. Deliberately elsewhere: the routes of `/api/v1`, listed by their
//! description (`openapi`).

use axum::Router;
use axum::handler::Handler;
use axum::routing::MethodRouter;
use http::Method;

use crate::state::WebState;

/// The handlers of one address by method.
pub(crate) struct Methods {
    router: MethodRouter<WebState>,
    methods: Vec<Method>,
}

/// `GET` (and with it `HEAD`).
pub(crate) fn get<H: Handler<T, WebState>, T: 'static>(handler: H) -> Methods {
    Methods { router: axum::routing::get(handler), methods: vec![Method::GET] }
}

/// `POST`.
pub(crate) fn post<H: Handler<T, WebState>, T: 'static>(handler: H) -> Methods {
    Methods { router: axum::routing::post(handler), methods: vec![Method::POST] }
}

impl Methods {
    /// And `POST`.
    pub(crate) fn post<H: Handler<T, WebState>, T: 'static>(mut self, handler: H) -> Self {
        self.methods.push(Method::POST);
        Self { router: self.router.post(handler), methods: self.methods }
    }
}

/// Addresses with their handlers.
pub(crate) struct Routes {
    router: Router<WebState>,
    list: Vec<(Method, String)>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), list: Vec::new() }
    }

    /// Those of a router that is described elsewhere, with its list.
    pub(crate) fn described(router: Router<WebState>, list: Vec<(Method, String)>) -> Self {
        Self { router, list }
    }

    /// One more address.
    pub(crate) fn route(mut self, path: &str, methods: Methods) -> Self {
        self.list.extend(methods.methods.into_iter().map(|method| (method, path.to_owned())));
        Self { router: self.router.route(path, methods.router), list: self.list }
    }

    /// All of both.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        Self { router: self.router.merge(other.router), list: self.list }
    }

    /// Puts layers around all of them; the addresses stay.
    pub(crate) fn within(self, layers: impl FnOnce(Router<WebState>) -> Router<WebState>) -> Self {
        Self { router: layers(self.router), list: self.list }
    }

    /// The router and its list.
    pub(crate) fn into_parts(self) -> (Router<WebState>, Vec<(Method, String)>) {
        (self.router, self.list)
    }
}
