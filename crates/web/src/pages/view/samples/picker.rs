//! The source picker in each of its states.

use super::{HOSTILE, ago, head, page, shell};
use crate::pages::view::picker::{CopyState, Found, PickProvider, PickRepository, PickTrouble, Pushes, SourcePickerPage};
use crate::pages::view::providers::OrganizationView;
use crate::pages::view::repositories::Tab;
use crate::pages::view::shell::Area;
use slipway_model::{LinkState, NamespaceAccess, ProviderKind, Visibility};

fn namespace(name: &str, access: NamespaceAccess, note: &str) -> OrganizationView {
    let grant_url = (access == NamespaceAccess::Restricted).then(|| format!("https://github.com/orgs/{name}/policies/applications/1"));
    OrganizationView { name: name.into(), access, note: note.into(), grant_url }
}

fn repository(name: &str, visibility: Visibility, pushes: Pushes) -> PickRepository {
    PickRepository { id: "1296269".into(), full_name: name.into(), visibility, pushes, default_branch: "main".into() }
}

fn found() -> Found {
    Found {
        repositories: vec![
            repository("acme/base-image", Visibility::Public, Pushes::Taken),
            repository("acme/mailer", Visibility::Private, Pushes::Archived),
            repository("acme/shop", Visibility::Private, Pushes::Taken),
            repository(HOSTILE, Visibility::Public, Pushes::Taken),
        ],
        next: Some("acme/shop".into()),
        copy: CopyState::Read(ago(180)),
        problem: None,
        typed: None,
    }
}

fn picker() -> SourcePickerPage {
    let provider = |id: &str, kind, name: &str, link| PickProvider { id: id.into(), kind, name: name.into(), link };
    SourcePickerPage {
        shell: shell(Area::Repositories),
        head: head(Tab::Autobuild),
        providers: vec![
            provider("github", ProviderKind::GitHub, "GitHub", LinkState::Ok),
            provider("ghe", ProviderKind::GitHub, "GitHub at git.acme.test", LinkState::Disabled),
            provider("bitbucket", ProviderKind::Bitbucket, "Bitbucket", LinkState::NotLinked),
            provider("home", ProviderKind::Gitea, "git.home", LinkState::Revoked),
        ],
        provider: "github".into(),
        trouble: None,
        namespaces: vec![
            namespace("octo", NamespaceAccess::Granted, "lets Slipway in"),
            namespace("acme", NamespaceAccess::Granted, "lets Slipway in"),
            namespace("walled", NamespaceAccess::Restricted, "its owners have to approve Slipway first"),
            namespace(HOSTILE, NamespaceAccess::Denied, HOSTILE),
            namespace("quiet", NamespaceAccess::Unknown, "the provider did not tell"),
        ],
        namespace: "acme".into(),
        found: Some(found()),
        query: String::new(),
    }
}

/// All of them.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let nothing = || Found { repositories: vec![], next: None, ..found() };
    let trouble = PickTrouble {
        login: "octo".into(),
        state: LinkState::Revoked,
        evidence: Some(HOSTILE.into()),
        next_step: Some("Link it again under Source providers and retry.".into()),
    };
    let read_before =
        Found { copy: CopyState::Partial, problem: Some("`acme` could not be read lately: it answered 500.".into()), ..found() };
    let typed = Found { typed: Some("octo/new".into()), ..nothing() };
    vec![
        ("source-picker", page(&picker())),
        ("source-picker-none", page(&SourcePickerPage { found: None, namespaces: vec![], provider: String::new(), ..picker() })),
        ("source-picker-reading", page(&SourcePickerPage { found: Some(Found { copy: CopyState::Reading, ..nothing() }), ..picker() })),
        ("source-picker-nothing", page(&SourcePickerPage { found: Some(nothing()), query: HOSTILE.into(), ..picker() })),
        ("source-picker-typed", page(&SourcePickerPage { found: Some(typed), query: "octo/new".into(), ..picker() })),
        ("source-picker-trouble", page(&SourcePickerPage { trouble: Some(trouble), found: Some(read_before), ..picker() })),
    ]
}
