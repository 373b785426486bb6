//! Parts of the addresses, as types of the model: a part that cannot be one is 404.

use serde::Deserialize;
use slipway_model::{
    AccountName, BuildId, BuilderId, DeliveryId, IdentityId, ImageTag, InvitationId, JoinTokenId, ProviderId, ReceiptId, RepositoryName,
    SessionId, TeamName, TokenId, TriggerId,
};
use utoipa::IntoParams;

/// A namespace.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct NamespaceAt {
    /// The namespace: the name of a user or organization.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
}

/// A link.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct LinkAt {
    /// The namespace: the name of a user or organization.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The provider's id.
    #[param(value_type = String)]
    pub(crate) provider: ProviderId,
}

/// A receipt.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ReceiptAt {
    /// The namespace: the name of a user or organization.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The receipt's id.
    #[param(value_type = String)]
    pub(crate) id: ReceiptId,
}

/// A repository.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RepositoryAt {
    /// The namespace: the name of a user or organization.
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
    /// The namespace: the name of a user or organization.
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
    /// The namespace: the name of a user or organization.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
    /// The delivery's id.
    #[param(value_type = String)]
    pub(crate) id: DeliveryId,
}

/// A build trigger.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TriggerAt {
    /// The namespace: the name of a user or organization.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
    /// The trigger's id.
    #[param(value_type = String)]
    pub(crate) id: TriggerId,
}

/// An entry of the provider's own log of a webhook's deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct HookDeliveryAt {
    /// The namespace: the name of a user or organization.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
    /// The provider's id of the entry.
    pub(crate) id: String,
}

/// A token.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TokenAt {
    /// The token's id.
    #[param(value_type = String)]
    pub(crate) id: TokenId,
}

/// A tag of a repository.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TagAt {
    /// The namespace: the name of a user or organization.
    #[param(value_type = String)]
    pub(crate) ns: AccountName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
    /// The tag.
    #[param(value_type = String)]
    pub(crate) tag: ImageTag,
}

/// A session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SessionAt {
    /// The session's id.
    #[param(value_type = String)]
    pub(crate) id: SessionId,
}

/// An identity at an OpenID Connect provider.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct IdentityAt {
    /// The identity's id.
    #[param(value_type = String)]
    pub(crate) id: IdentityId,
}

/// An organization.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OrganizationAt {
    /// The organization's name.
    #[param(value_type = String)]
    pub(crate) org: AccountName,
}

/// Somebody in an organization.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct MemberAt {
    /// The organization's name.
    #[param(value_type = String)]
    pub(crate) org: AccountName,
    /// The person's name.
    #[param(value_type = String)]
    pub(crate) user: AccountName,
}

/// A team.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TeamAt {
    /// The organization's name.
    #[param(value_type = String)]
    pub(crate) org: AccountName,
    /// The team's name.
    #[param(value_type = String)]
    pub(crate) team: TeamName,
}

/// Somebody in a team.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TeamMemberAt {
    /// The organization's name.
    #[param(value_type = String)]
    pub(crate) org: AccountName,
    /// The team's name.
    #[param(value_type = String)]
    pub(crate) team: TeamName,
    /// The person's name.
    #[param(value_type = String)]
    pub(crate) user: AccountName,
}

/// A repository that a team has a permission on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TeamRepositoryAt {
    /// The organization's name.
    #[param(value_type = String)]
    pub(crate) org: AccountName,
    /// The team's name.
    #[param(value_type = String)]
    pub(crate) team: TeamName,
    /// The repository's name.
    #[param(value_type = String)]
    pub(crate) name: RepositoryName,
}

/// A token of an organization.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OrganizationTokenAt {
    /// The organization's name.
    #[param(value_type = String)]
    pub(crate) org: AccountName,
    /// The token's id.
    #[param(value_type = String)]
    pub(crate) id: TokenId,
}

/// An invitation of an organization.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OrganizationInvitationAt {
    /// The organization's name.
    #[param(value_type = String)]
    pub(crate) org: AccountName,
    /// The invitation's id.
    #[param(value_type = String)]
    pub(crate) id: InvitationId,
}

/// An invitation of the installation.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct InvitationAt {
    /// The invitation's id.
    #[param(value_type = String)]
    pub(crate) id: InvitationId,
}

/// A builder node.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct BuilderAt {
    /// The node's id.
    #[param(value_type = String)]
    pub(crate) id: BuilderId,
}

/// A join token.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct JoinTokenAt {
    /// The join token's id.
    #[param(value_type = String)]
    pub(crate) id: JoinTokenId,
}

/// An invitation as the invited person has it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct InvitationTokenAt {
    /// The last part of the invitation's address.
    pub(crate) token: String,
}

/// An account.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AccountAt {
    /// The account's name.
    #[param(value_type = String)]
    pub(crate) name: AccountName,
}

/// A token of an account.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AccountTokenAt {
    /// The account's name.
    #[param(value_type = String)]
    pub(crate) name: AccountName,
    /// The token's id.
    #[param(value_type = String)]
    pub(crate) id: TokenId,
}
