//! The pages of organizations, teams and the audit log, and what members and strangers see of repositories.

use serde_json::json;
use slipway_model::{AccountKind, Permission};

use super::{HOSTILE, ago, autobuild, builds, head, outside, page, rows, shell, tags};
use crate::pages::view::admin::{Life, NewInvitation};
use crate::pages::view::audit::{AuditFields, AuditPage, AuditRow, LogOf, changes};
use crate::pages::view::autobuild::AutobuildPage;
use crate::pages::view::form::Field;
use crate::pages::view::organizations::{
    DoomedView, MemberRow, MembersPage, NewOrganizationPage, OrganizationDeletePage, OrganizationDeletedPage, OrganizationInvitationsPage,
    OrganizationSettingsPage, OrganizationTokensPage, TeamInvitationRow,
};
use crate::pages::view::providers::ReceiptLine;
use crate::pages::view::repositories::{GeneralPage, Looks, May, RepositoryHead, RepositoryListPage, RepositoryRow, Tab, TagsPage};
use crate::pages::view::settings::Mail;
use crate::pages::view::shell::{Area, Layout, Place, Role, Shell};
use crate::pages::view::teams::{
    NewTeamPage, TeamHead, TeamMemberRow, TeamPage, TeamRepositoriesPage, TeamRepositoryRow, TeamRow, TeamSettingsPage, TeamTab, TeamsPage,
};
use crate::pages::view::tokens::{TokenArea, TokenForm, TokenOwner};

const LONG: &str = "a-team-with-a-name-of-sixty-four-characters-which-is-the-longest";

/// The name and the HTML of every page.
pub fn all() -> Vec<(&'static str, String)> {
    let mut pages = organizations();
    pages.extend(settings());
    pages.extend(teams());
    pages.extend(team());
    pages.extend(audit());
    pages.extend(others());
    pages
}

/// The frame of somebody who is a member, no owner and no administrator.
fn member(area: Area) -> Shell {
    let mut shell = shell(area);
    for namespace in &mut shell.namespaces {
        if namespace.name == "acme" {
            namespace.place = Place::Member;
        }
    }
    if let Some(person) = &mut shell.person {
        person.role = Role::Member;
    }
    Shell { namespace: "acme".into(), ..shell }
}

fn owner(area: Area) -> Shell {
    Shell { namespace: "acme".into(), ..shell(area) }
}

fn guest() -> Shell {
    Shell { layout: Layout::Framed, ..outside() }
}

fn organizations() -> Vec<(&'static str, String)> {
    let new = NewOrganizationPage {
        shell: shell(Area::Elsewhere),
        name: Field::refused("Acme", "`Acme` has the character `A`, expected only `a-z`, `0-9`, `-` and `_`"),
        display_name: Field::new(HOSTILE),
        image_prefix: "slipway.acme.example/".into(),
    };
    let row = |name: &str, display_name: &str, teams: &[&str]| MemberRow {
        name: name.into(),
        display_name: display_name.into(),
        teams: teams.iter().map(|team| (*team).to_owned()).collect(),
    };
    let members = MembersPage {
        shell: owner(Area::Members),
        rows: vec![
            row("ada", "Ada Lovelace", &["owners", "backend"]),
            row("grace", HOSTILE, &["backend", LONG, "web", "data", "mobile"]),
            row("ci-bot", "", &["deploy"]),
        ],
        next: Some("ci-bot".into()),
        problem: None,
    };
    let alone = MembersPage { rows: vec![row("ada", "", &["owners"])], next: None, shell: owner(Area::Members), problem: None };
    vec![
        ("organization-new", page(&new)),
        ("members", page(&members)),
        (
            "members-refused",
            page(&MembersPage { problem: Some("`ada` is the last owner of `acme`. Make somebody else an owner first.".into()), ..alone }),
        ),
    ]
}

fn settings() -> Vec<(&'static str, String)> {
    let settings = OrganizationSettingsPage {
        shell: owner(Area::Settings),
        name: "acme".into(),
        display_name: Field::new("Acme Corporation"),
        new_name: Field::refused("api", "`api` is a reserved word"),
        image_prefix: "slipway.acme.example/".into(),
        created_at: ago(9_000_000),
    };
    let doomed = DoomedView {
        repositories: vec!["acme/shop".into(), "acme/base".into(), "acme/mailer".into()],
        repository_count: 5,
        open_builds: 1,
        team_count: 4,
        member_count: 1,
        token_count: 0,
        links: vec!["GitHub".into(), "git.home".into()],
    };
    let delete = OrganizationDeletePage {
        shell: owner(Area::Settings),
        name: "acme".into(),
        doomed,
        confirm: Field::refused("acmee", "That is not the name of this organization, expected acme."),
    };
    let empty = OrganizationDeletePage {
        doomed: DoomedView::default(),
        confirm: Field::default(),
        shell: owner(Area::Settings),
        name: "acme".into(),
    };
    let line = |what: &str, url: Option<&str>| ReceiptLine { what: what.into(), left: None, url: url.map(str::to_owned) };
    let deleted = OrganizationDeletedPage {
        shell: shell(Area::Elsewhere),
        name: "acme".into(),
        removed: vec![line("Webhook 7 of acme/shop was removed.", None)],
        left: vec![line(HOSTILE, Some("javascript:alert(1)")), line("Webhook 8 of acme/base: 403.", Some("https://github.com/acme/base"))],
    };
    let invitation = TeamInvitationRow {
        id: "1".into(),
        team: "backend".into(),
        email: Some("grace@acme.example".into()),
        by: "ada".into(),
        created_at: ago(4000),
        expires_at: ago(-600_000),
    };
    let invitations = OrganizationInvitationsPage {
        shell: owner(Area::Settings),
        rows: vec![invitation.clone(), TeamInvitationRow { email: None, team: LONG.into(), ..invitation }],
        created: Some(NewInvitation {
            url: "https://slipway.acme.example/invitations/sli_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
            expires_at: ago(-600_000),
            mailed_to: Some(HOSTILE.into()),
        }),
        teams: vec!["backend".into(), "owners".into()],
        team: Field::new("backend"),
        email: Field::refused("grace", "`grace` is not an e-mail address"),
        life: Life::Week,
        mail: Mail::Sent,
        problem: None,
    };
    let none = OrganizationInvitationsPage {
        shell: owner(Area::Settings),
        rows: vec![],
        created: None,
        teams: vec!["owners".into()],
        team: Field::refused("gone", "There is no team of that name."),
        email: Field::default(),
        life: Life::Day,
        mail: Mail::Off,
        problem: Some("This installation sends no mail.".into()),
    };
    let tokens = OrganizationTokensPage {
        shell: owner(Area::Settings),
        tokens: TokenArea {
            owner: TokenOwner::Organization("acme".into()),
            action: "/o/acme/settings/tokens".into(),
            rows: vec![],
            created: None,
            form: TokenForm::default(),
        },
    };
    vec![
        ("organization-settings", page(&settings)),
        ("organization-delete", page(&delete)),
        ("organization-delete-empty", page(&empty)),
        ("organization-deleted", page(&deleted)),
        ("organization-invitations", page(&invitations)),
        ("organization-invitations-none", page(&none)),
        ("organization-tokens", page(&tokens)),
    ]
}

fn team_row(name: &str, description: &str) -> TeamRow {
    TeamRow { name: name.into(), description: description.into(), members: 3, repositories: 1 }
}

fn teams() -> Vec<(&'static str, String)> {
    let list = TeamsPage {
        shell: owner(Area::Teams),
        rows: vec![team_row("owners", ""), team_row("backend", "Everything behind the shop"), team_row(LONG, HOSTILE)],
        next: Some("web".into()),
    };
    let own = TeamsPage { shell: member(Area::Teams), rows: vec![team_row("backend", "Everything behind the shop")], next: None };
    let new = NewTeamPage {
        shell: owner(Area::Teams),
        name: Field::refused("new", "`new` is a reserved word"),
        description: Field::refused(HOSTILE, "the description has 5000 characters, at most 2000 are accepted"),
    };
    vec![
        ("teams", page(&list)),
        ("teams-member", page(&own)),
        ("teams-none", page(&TeamsPage { rows: vec![], ..own })),
        ("team-new", page(&new)),
    ]
}

fn team_head(name: &str, tab: TeamTab) -> TeamHead {
    TeamHead { organization: "acme".into(), team: team_row(name, "Everything behind the shop"), tab }
}

fn team() -> Vec<(&'static str, String)> {
    let row =
        |name: &str, display_name: &str| TeamMemberRow { name: name.into(), display_name: display_name.into(), added_at: ago(90_000) };
    let members = |shell, problem| TeamPage {
        shell,
        head: team_head("backend", TeamTab::Members),
        rows: vec![row("ada", "Ada Lovelace"), row("grace", HOSTILE), row(LONG, "")],
        next: None,
        user: Field::refused("nobody", "There is no account of the name `nobody`."),
        problem,
    };
    let owners = TeamPage {
        head: team_head("owners", TeamTab::Members),
        rows: vec![row("ada", "")],
        ..members(owner(Area::Teams), Some("`ada` is the last owner of `acme`.".into()))
    };
    let repositories = |shell| TeamRepositoriesPage {
        shell,
        head: team_head("backend", TeamTab::Repositories),
        rows: vec![
            TeamRepositoryRow { name: "shop".into(), permission: Permission::Admin },
            TeamRepositoryRow { name: LONG.into(), permission: Permission::Read },
        ],
        next: Some("shop".into()),
        offered: vec!["base".into(), "shop".into()],
        repository: Field::refused(HOSTILE, "There is no repository of that name in acme."),
        permission: Permission::Write,
    };
    let settings = |name: &str| TeamSettingsPage {
        shell: owner(Area::Teams),
        head: team_head(name, TeamTab::Settings),
        name: Field::refused("backend!", "`backend!` has the character `!`"),
        description: Field::new(HOSTILE),
        confirm: Field::refused("bakend", "That is not the name of this team, expected backend."),
    };
    let empty = TeamRepositoriesPage { rows: vec![], next: None, repository: Field::default(), ..repositories(owner(Area::Teams)) };
    vec![
        ("team", page(&members(owner(Area::Teams), None))),
        ("team-member", page(&TeamPage { user: Field::default(), ..members(member(Area::Teams), None) })),
        ("team-empty", page(&TeamPage { rows: vec![], user: Field::default(), ..members(owner(Area::Teams), None) })),
        ("team-owners", page(&owners)),
        ("team-repositories", page(&repositories(owner(Area::Teams)))),
        ("team-repositories-member", page(&repositories(member(Area::Teams)))),
        ("team-repositories-none", page(&empty)),
        ("team-settings", page(&settings("backend"))),
        ("team-settings-owners", page(&settings("owners"))),
    ]
}

fn audit_rows() -> Vec<AuditRow> {
    let row = |seconds, actor: &str, action: &str, object: &str, changes| AuditRow {
        at: ago(seconds),
        actor: actor.into(),
        via: "session".into(),
        address: "2001:db8:85a3:8d3:1319:8a2e:370:7348".into(),
        action: action.into(),
        object: object.into(),
        namespace: None,
        changes,
    };
    let (old, new) = (json!({ "permission": "read" }), json!({ "permission": "admin", "why": HOSTILE }));
    let wish = json!({ "name": "ci", "scopes": ["repo:read", "repo:write"], "repositories": [], "expires_at": null });
    vec![
        row(30, "ada", "team_repository.set", "acme/shop for the team backend", changes(Some(&old), Some(&new))),
        row(4000, "grace", "token.create", "token `ci`", changes(None, Some(&wish))),
        row(90_000, HOSTILE, "member.remove", HOSTILE, vec![]),
        AuditRow { via: "token `ci`".into(), address: String::new(), ..row(900_000, "ci", "repository.delete", "acme/old", vec![]) },
    ]
}

fn audit() -> Vec<(&'static str, String)> {
    let log = |of: LogOf, shell| AuditPage {
        shell,
        export: format!("{}/export", of.address()),
        of,
        filter: AuditFields::default(),
        rows: audit_rows(),
        next: Some("c".into()),
    };
    let filter = AuditFields {
        actor: Field::new(HOSTILE),
        since: Field::refused("yesterday", "`yesterday` is not a day, expected one like 2026-11-21."),
        ..AuditFields::default()
    };
    let mut installation = log(LogOf::Installation, shell(Area::Administration));
    for row in &mut installation.rows {
        row.namespace = Some("acme".into());
    }
    vec![
        ("audit", page(&log(LogOf::Person, shell(Area::Settings)))),
        ("audit-organization", page(&log(LogOf::Organization("acme".into()), owner(Area::Settings)))),
        ("audit-installation", page(&installation)),
        ("audit-foreign", page(&log(LogOf::Organization("others".into()), shell(Area::Administration)))),
        ("audit-filtered", page(&AuditPage { filter, rows: vec![], next: None, ..log(LogOf::Person, shell(Area::Settings)) })),
        ("audit-empty", page(&AuditPage { rows: vec![], next: None, ..log(LogOf::Person, shell(Area::Settings)) })),
    ]
}

/// Repositories as members and strangers see them.
fn others() -> Vec<(&'static str, String)> {
    let view = |tab| RepositoryHead { may: May::View, source: None, providers: None, ..head(tab) };
    let read = |tab| RepositoryHead { may: May::Read, providers: None, ..head(tab) };
    let public: Vec<RepositoryRow> =
        rows().into_iter().map(|row| RepositoryRow { source: None, last_build: None, may: May::View, ..row }).collect();
    let list = |shell, looks, rows| RepositoryListPage {
        shell,
        namespace: "acme".into(),
        display_name: HOSTILE.into(),
        kind: AccountKind::Organization,
        looks,
        query: String::new(),
        rows,
        link: slipway_model::LinkState::NotLinked,
        next: None,
    };
    let general = |shell, head| GeneralPage {
        shell,
        head,
        description: "The web shop, with its workers".into(),
        pull: "docker pull slipway.acme.example/acme/shop".into(),
        login: "docker login slipway.acme.example".into(),
        tags: tags(),
        builds: builds(),
        watched: None,
        takeover: None,
    };
    vec![
        ("namespace-guest", page(&list(guest(), Looks::Outsider, public))),
        ("namespace-member", page(&list(member(Area::Repositories), Looks::Member, rows()))),
        ("namespace-member-empty", page(&list(member(Area::Repositories), Looks::Member, vec![]))),
        ("repository-guest", page(&general(guest(), view(Tab::General)))),
        ("repository-reader", page(&general(member(Area::Repositories), read(Tab::General)))),
        ("tags-guest", page(&TagsPage { shell: guest(), head: view(Tab::Tags), tags: tags(), next: None })),
        ("autobuild-reader", page(&AutobuildPage { head: read(Tab::Autobuild), shell: member(Area::Repositories), ..autobuild(false) })),
    ]
}
