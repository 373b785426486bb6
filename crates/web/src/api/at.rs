//! Parts of the addresses, as types of the model: a part that cannot be one is 404.

use serde::Deserialize;
use slipway_model::{AccountName, BuildId, DeliveryId, ProviderId, RepositoryName, TokenId};
use utoipa::IntoParams;

/// A namespace.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct NamespaceAt {
    /// The namespace: the name of a user.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
}

/// A link.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct LinkAt {
    /// The namespace: the name of a user.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The provider's id.
    #[param(value_type = String)]
    pub(crate) provider: ProviderId,
}

/// A repository.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RepositoryAt {
    /// The namespace: the name of a user.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
}

/// A build.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct BuildAt {
    /// The namespace: the name of a user.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
    /// The build's id.
    #[param(value_type = String)]
    pub(crate) id: BuildId,
}

/// A delivery.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct DeliveryAt {
    /// The namespace: the name of a user.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
    /// The delivery's id.
    #[param(value_type = String)]
    pub(crate) id: DeliveryId,
}

/// A token.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TokenAt {
    /// The token's id.
    #[param(value_type = String)]
    pub(crate) id: TokenId,
}
