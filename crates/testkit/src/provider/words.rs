//! The words that test scripts use at every fake provider.
//! Invariant: data only, no behaviour of a provider.

/// Who may see a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Its owner, members and collaborators.
    Private,
}

/// A right on a repository, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Does not even see that it exists.
    None,
    /// May read and clone.
    Read,
    /// May push and set statuses.
    Write,
    /// May manage hooks and settings.
    Admin,
}

/// How webhooks leave the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Webhooks {
    /// At once, one request for each event.
    Deliver,
    /// Never: the event is lost and nothing is recorded, as in a provider's incident.
    Drop,
    /// At once, two requests with the same delivery id.
    Twice,
    /// Kept back until `release_held_webhooks`, in the order that it is told.
    Hold,
}

/// The order in which held webhooks go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOrder {
    /// As they happened.
    OldestFirst,
    /// The other way round: no provider promises an order.
    NewestFirst,
}

/// A file of a commit that a script makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File<'a> {
    /// An ordinary file with this text.
    Text(&'a str),
    /// An executable file with this text.
    Executable(&'a str),
    /// A symbolic link to this target.
    Symlink(&'a str),
    /// A commit of another repository, which belongs there: a submodule.
    Commit(&'a str),
    /// The file goes away.
    Deleted,
}
