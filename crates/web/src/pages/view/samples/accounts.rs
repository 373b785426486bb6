//! The pages of the way in, of one's own account, and of the administration.

use super::{HOSTILE, ago, outside, page, shell};
use slipway_model::{AccountKind, Scope};

use crate::pages::view::admin::{
    AccountManagePage, AccountRow, AccountsPage, Administers, InvitationRow, InvitationsPage, Life, NewInvitation, Who,
};
use crate::pages::view::entry::{
    ChooseNamePage, Confirmation, EmailConfirmPage, LeavePage, ProviderButton, SetupPage, SignInCodePage, SignInPage, SignUp, SignUpPage,
    UnknownIdentityPage,
};
use crate::pages::view::form::Field;
use crate::pages::view::invitations::{InvitationPage, InvitationVoidPage, MakesAccount};
use crate::pages::view::providers::ReceiptLine;
use crate::pages::view::security::{
    Cause, EnrolmentView, Factor, IdentityRow, Password, RecoveryCodesPage, SecondFactorPage, SecretErrors, SecurityPage, SessionRow,
    Which, qr,
};
use crate::pages::view::settings::{
    AccountConvertPage, AccountDeletePage, AccountDeletedPage, AccountPage, Mail, TokensPage, WaitingEmail,
};
use crate::pages::view::shell::Area;
use crate::pages::view::tokens::{Expiry, NewToken, Reach, ScopeChoice, TokenArea, TokenForm, TokenLife, TokenOwner, TokenRow};

const SECRET: &str = "slp_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The name and the HTML of every page.
pub fn all() -> Vec<(&'static str, String)> {
    let mut pages = entry();
    pages.extend(codes_and_identities());
    pages.extend(invitations());
    pages.extend(account());
    pages.extend(security());
    pages.extend(admin());
    pages
}

fn providers() -> Vec<ProviderButton> {
    vec![
        ProviderButton { id: "corp".into(), name: "Acme Corp".into() },
        ProviderButton {
            id: "lab".into(),
            name: "A provider whose name is so long that no button holds it in one line of a narrow column".into(),
        },
    ]
}

fn refused_name() -> Field {
    Field::refused("Ada Lovelace", "`Ada Lovelace` has the character `A`, expected only `a-z`, `0-9`, `-` and `_`")
}

fn entry() -> Vec<(&'static str, String)> {
    let setup = SetupPage {
        shell: outside(),
        token: "t".into(),
        name: refused_name(),
        password_error: Some("the password has 4 bytes, expected 8 to 1024".into()),
        refused: None,
    };
    let sign_in = SignInPage {
        shell: outside(),
        name: HOSTILE.into(),
        error: Some("The name or the password is not right.".into()),
        next: "/acme/shop?a=b".into(),
        providers: providers(),
        sign_up: SignUp::Open,
    };
    let sign_up = SignUpPage {
        shell: outside(),
        name: refused_name(),
        password_error: Some("The password has 4 bytes, expected 8 to 1024.".into()),
        error: Some(HOSTILE.into()),
        next: "/".into(),
        providers: providers(),
    };
    vec![
        ("setup", page(&setup)),
        ("setup-used", page(&SetupPage { refused: Some("This address was used already or is not valid.".into()), ..setup })),
        (
            "signin-throttled",
            page(&SignInPage {
                shell: outside(),
                name: "ada".into(),
                error: Some("Too many attempts. Try again in 32 seconds.".into()),
                next: "/".into(),
                providers: vec![],
                sign_up: SignUp::Closed,
            }),
        ),
        ("signin", page(&sign_in)),
        ("signup", page(&sign_up)),
    ]
}

fn codes_and_identities() -> Vec<(&'static str, String)> {
    let confirm = |shell, state| page(&EmailConfirmPage { shell, state });
    vec![
        ("signin-code", page(&SignInCodePage { shell: outside(), error: Some("The code is not right.".into()), next: "/".into() })),
        ("email-confirm", confirm(outside(), Confirmation::Asked { token: HOSTILE.into() })),
        ("email-confirmed", confirm(shell(Area::Settings), Confirmation::Done)),
        ("email-void", confirm(outside(), Confirmation::Void)),
        (
            "oidc-leave",
            page(&LeavePage {
                shell: outside(),
                provider: HOSTILE.into(),
                url: "https://id.example/authorize?a=b&c=\"><script>alert(3)".into(),
            }),
        ),
        ("oidc-unknown", page(&UnknownIdentityPage { shell: outside(), provider: HOSTILE.into() })),
        (
            "oidc-name",
            page(&ChooseNamePage {
                shell: outside(),
                id: "corp".into(),
                provider: "Acme Corp".into(),
                label: HOSTILE.into(),
                token: SECRET.into(),
                name: refused_name(),
                next: "/".into(),
            }),
        ),
    ]
}

fn invitations() -> Vec<(&'static str, String)> {
    let invitation = |shell| InvitationPage {
        shell,
        token: "sli_0123".into(),
        organization: Some("acme".into()),
        team: Some("builders".into()),
        makes_account: MakesAccount::Yes,
        expires_at: ago(-600_000),
        name: Field::default(),
        password_error: None,
        problem: None,
        providers: providers(),
    };
    let refused = InvitationPage {
        name: refused_name(),
        password_error: Some("the password has 4 bytes, expected 8 to 1024".into()),
        problem: Some(HOSTILE.into()),
        organization: None,
        team: None,
        ..invitation(outside())
    };
    vec![
        ("invitation", page(&invitation(outside()))),
        ("invitation-refused", page(&refused)),
        ("invitation-member", page(&InvitationPage { makes_account: MakesAccount::No, ..invitation(outside()) })),
        ("invitation-signed-in", page(&invitation(shell(Area::Elsewhere)))),
        ("invitation-signed-in-already", page(&InvitationPage { organization: None, team: None, ..invitation(shell(Area::Elsewhere)) })),
        ("invitation-void", page(&InvitationVoidPage { shell: outside() })),
        ("invitation-void-signed-in", page(&InvitationVoidPage { shell: shell(Area::Elsewhere) })),
    ]
}

fn scopes() -> Vec<ScopeChoice> {
    Scope::ALL
        .iter()
        .map(|scope| ScopeChoice {
            name: scope.as_str(),
            text: "Read repositories, builds and settings; pull.",
            ticked: matches!(scope, Scope::RepoRead | Scope::RepoWrite),
        })
        .collect()
}

/// Tokens of somebody, in every condition.
pub(in crate::pages::view) fn tokens(owner: TokenOwner, action: &str) -> TokenArea {
    let token = TokenRow {
        id: "1".into(),
        name: HOSTILE.into(),
        scopes: vec!["repo:read".into(), "repo:write".into()],
        repositories: None,
        created_at: ago(90_000),
        used_at: None,
        used_from: None,
        expires_at: None,
        life: TokenLife::Valid,
    };
    let limited = TokenRow {
        id: "2".into(),
        name: "ci of the shop".into(),
        repositories: Some(vec!["acme/shop".into(), "acme/base".into()]),
        used_at: Some(ago(300)),
        used_from: Some("203.0.113.9".into()),
        expires_at: Some(ago(-8_000_000)),
        ..token.clone()
    };
    let many = (1..9).map(|n| format!("acme/service-{n}")).collect();
    let ended = TokenRow {
        id: "3".into(),
        name: "old laptop".into(),
        scopes: Scope::ALL.iter().map(ToString::to_string).collect(),
        repositories: Some(many),
        used_at: Some(ago(9_000_000)),
        used_from: Some("2001:db8:85a3:8d3:1319:8a2e:370:7348".into()),
        expires_at: Some(ago(100_000)),
        life: TokenLife::Ended,
        ..token.clone()
    };
    let none = TokenRow { id: "4".into(), name: "forgotten".into(), repositories: Some(vec![]), ..token.clone() };
    TokenArea {
        owner,
        action: action.to_owned(),
        rows: vec![token, limited, ended, none],
        created: Some(NewToken { name: "laptop".into(), token: SECRET.into(), login: "docker login slipway.acme.example -u ada".into() }),
        form: TokenForm { scopes: scopes(), ..TokenForm::default() },
    }
}

fn account_page() -> AccountPage {
    AccountPage {
        shell: shell(Area::Settings),
        name: "ada".into(),
        images: "slipway.acme.example/ada".into(),
        created_at: ago(9_000_000),
        display_name: Field::new("Ada Lovelace"),
        email: Some("ada@acme.example".into()),
        waiting: Some(WaitingEmail { address: "ada.lovelace@acme.example".into(), expires_at: ago(-80_000) }),
        new_email: Field::default(),
        password_error: None,
        password: Password::Set,
        mail: Mail::Sent,
    }
}

fn delete_page() -> AccountDeletePage {
    AccountDeletePage {
        shell: shell(Area::Settings),
        name: "ada".into(),
        repositories: (1..=20).map(|n| format!("ada/project-{n}")).collect(),
        more: 17,
        goes: vec![
            "37 repositories with their images, tags and rules".into(),
            "1204 builds with their logs".into(),
            "2 access tokens and all sessions".into(),
            "the link to github".into(),
        ],
        sole_owner_of: vec![],
        last_administrator: false,
        problem: None,
        confirm: Field::refused("adda", "`adda` is not the name of this account, expected `ada`"),
        password_error: Some("The password is not right.".into()),
        password: Password::Set,
    }
}

fn convert_page() -> AccountConvertPage {
    AccountConvertPage {
        shell: shell(Area::Settings),
        name: "ada".into(),
        warnings: vec![
            "You can no longer sign in as `ada`; your password, second factor and sessions are gone.".into(),
            "Your access tokens stop working.".into(),
            "You leave every organization and team.".into(),
            "It cannot be undone.".into(),
        ],
        refused: None,
        first_owner: Field::default(),
        confirm: Field::default(),
        password_error: None,
        password: Password::Set,
        problem: None,
    }
}

fn account() -> Vec<(&'static str, String)> {
    let refused = AccountPage {
        display_name: Field::refused(HOSTILE, HOSTILE),
        new_email: Field::refused(HOSTILE, "`x` is not an e-mail address"),
        password_error: Some("The password is not right.".into()),
        email: None,
        waiting: None,
        ..account_page()
    };
    let last_owner = AccountDeletePage {
        sole_owner_of: vec!["acme".into(), "lab".into()],
        last_administrator: true,
        repositories: vec!["ada/one".into()],
        more: 0,
        ..delete_page()
    };
    let convert = AccountConvertPage {
        first_owner: Field::refused(HOSTILE, "there is no account of that name"),
        confirm: Field::refused("x", "`x` is not the name of this account, expected `ada`"),
        problem: Some(HOSTILE.into()),
        ..convert_page()
    };
    let not_now = AccountConvertPage {
        refused: Some(("you are the last owner of `acme`".into(), Some("add another owner there first".into()))),
        ..convert_page()
    };
    let tokens_page = |tokens| page(&TokensPage { shell: shell(Area::Settings), tokens });
    let form = TokenForm {
        name: Field::refused("", "a token needs a name"),
        scopes: scopes(),
        scopes_error: Some("Choose at least one.".into()),
        reach: Reach::Listed,
        repositories: Field::refused(format!("acme/shop\n{HOSTILE}"), "`x` is not a repository that you may use"),
        expiry: Expiry::Date,
        until: Field::refused("2020-01-01", "The day has passed."),
    };
    let deleted = |shell| {
        let line = |what: &str, url: &str| ReceiptLine { what: what.into(), left: None, url: Some(url.into()) };
        let left = vec![line("The webhook of ada/one.", "https://github.com/ada/one/settings/hooks"), line(HOSTILE, "javascript:alert(1)")];
        page(&AccountDeletedPage { shell, name: "ada".into(), left })
    };
    let mine = || tokens(TokenOwner::Person, "/settings/tokens");
    vec![
        ("account", page(&account_page())),
        ("account-refused", page(&refused)),
        ("account-no-mail", page(&AccountPage { mail: Mail::Off, email: None, waiting: None, ..account_page() })),
        ("account-delete", page(&delete_page())),
        ("account-delete-last-owner", page(&last_owner)),
        ("account-deleted", deleted(outside())),
        ("account-deleted-other", deleted(shell(Area::Administration))),
        ("account-convert", page(&convert_page())),
        ("account-convert-refused", page(&convert)),
        ("account-convert-not-now", page(&not_now)),
        ("tokens", tokens_page(mine())),
        ("tokens-refused", tokens_page(TokenArea { created: None, rows: vec![], form, ..mine() })),
        ("tokens-organization", tokens_page(tokens(TokenOwner::Organization("acme".into()), "/o/acme/settings/tokens"))),
    ]
}

fn security_page() -> SecurityPage {
    let session = |device: &str, address: &str, which| SessionRow {
        id: "1".into(),
        device: device.into(),
        address: address.into(),
        created_at: ago(700_000),
        seen_at: ago(if which == Which::This { 2 } else { 90_000 }),
        which,
    };
    SecurityPage {
        shell: shell(Area::Settings),
        name: "ada".into(),
        password: Password::Set,
        password_errors: SecretErrors::default(),
        factor: Factor::Off,
        factor_errors: SecretErrors::default(),
        codes_errors: SecretErrors::default(),
        sessions: vec![
            session("Firefox on Linux", "203.0.113.9", Which::This),
            session("Safari on iPhone", "2001:db8:85a3:8d3:1319:8a2e:370:7348", Which::Other),
            session(HOSTILE, "", Which::Other),
        ],
        identities: vec![IdentityRow {
            id: "1".into(),
            provider: "Acme Corp".into(),
            label: "ada@acme.example".into(),
            created_at: ago(700_000),
            used_at: Some(ago(4000)),
            error: None,
        }],
        identity_problem: None,
        addition_error: None,
        providers: providers(),
    }
}

fn security() -> Vec<(&'static str, String)> {
    let errors = SecretErrors {
        current: Some("The password is not right.".into()),
        new: Some("The password has 4 bytes, expected 8 to 1024.".into()),
        code: Some("The code is not right.".into()),
    };
    let on = |codes_left| SecurityPage { factor: Factor::On { codes_left }, ..security_page() };
    let mut refused = SecurityPage { password_errors: errors.clone(), factor_errors: errors.clone(), ..on(0) };
    refused.addition_error.clone_from(&errors.current);
    refused.identities[0].error.clone_from(&errors.current);
    refused.codes_errors = errors;
    let without = SecurityPage { password: Password::None, identity_problem: Some(HOSTILE.into()), ..security_page() };
    let alone = SecurityPage { identities: vec![], providers: vec![], ..on(8) };
    let alone = SecurityPage { sessions: alone.sessions.iter().take(1).cloned().collect(), ..alone };
    let modules: String = (0..33_u32)
        .flat_map(|y| {
            (0..33_u32).filter(move |x| (x * y + x / 3 + y % 5).is_multiple_of(3)).map(move |x| format!("M{} {}h1v1h-1z", x + 4, y + 4))
        })
        .collect();
    let drawn = format!(r##"<svg viewBox="0 0 41 41"><path d="M0 0h41v41H0V0" fill="#fff"/><path d="{modules}" fill="#000"/></svg>"##);
    let enrolment = EnrolmentView {
        picture: qr(&drawn),
        secret: "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP".into(),
        uri: "otpauth://totp/Slipway:ada?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Slipway".into(),
    };
    let factor = |enrolment, error| page(&SecondFactorPage { shell: shell(Area::Settings), enrolment, error });
    let codes: Vec<String> = (0..10).map(|n| format!("k7qd-{n}m2x-p9rt-w4hz")).collect();
    let codes = |cause| page(&RecoveryCodesPage { shell: shell(Area::Settings), codes: codes.clone(), cause });
    vec![
        ("security", page(&security_page())),
        ("security-on", page(&alone)),
        ("security-refused", page(&refused)),
        ("security-no-password", page(&without)),
        ("second-factor", factor(Some(enrolment), None)),
        ("second-factor-refused", factor(None, Some("The code is not right.".into()))),
        ("recovery-codes", codes(Cause::SwitchedOn)),
        ("recovery-codes-renewed", codes(Cause::Renewed)),
    ]
}

fn account_row(name: &str, kind: AccountKind, administers: Administers) -> AccountRow {
    AccountRow {
        name: name.into(),
        display_name: if kind == AccountKind::Organization { "Acme Inc.".into() } else { String::new() },
        kind,
        administers,
        email: (kind == AccountKind::User).then(|| format!("{name}@acme.example")),
        created_at: ago(9_000_000),
    }
}

fn admin() -> Vec<(&'static str, String)> {
    let list = || AccountsPage {
        shell: shell(Area::Administration),
        rows: vec![
            account_row("acme", AccountKind::Organization, Administers::No),
            AccountRow {
                display_name: HOSTILE.into(),
                email: Some(HOSTILE.into()),
                ..account_row("ada", AccountKind::User, Administers::Yes)
            },
            account_row("ci-robot", AccountKind::Service, Administers::No),
            account_row("a-person-with-a-name-of-as-many-letters-as-a-name-can-have-here64", AccountKind::User, Administers::No),
        ],
        kind: None,
        query: String::new(),
        next: Some("c".into()),
        service: Field::default(),
    };
    let none = AccountsPage {
        rows: vec![],
        kind: Some(AccountKind::Service),
        query: HOSTILE.into(),
        service: Field::refused("ada", "there is an account `ada` already"),
        ..list()
    };
    let manage = |account, who| AccountManagePage {
        shell: shell(Area::Administration),
        account,
        who,
        role_problem: None,
        tokens: None,
        confirm: Field::default(),
        delete_problem: None,
    };
    let person = AccountManagePage {
        role_problem: Some(HOSTILE.into()),
        delete_problem: Some("`grace` is the last owner of `acme`.".into()),
        confirm: Field::refused("grac", "`grac` is not the name of this account, expected `grace`"),
        ..manage(account_row("grace", AccountKind::User, Administers::Yes), Who::Other)
    };
    let robot = AccountManagePage {
        tokens: Some(tokens(TokenOwner::Service("ci-robot".into()), "/admin/accounts/ci-robot/tokens")),
        ..manage(account_row("ci-robot", AccountKind::Service, Administers::No), Who::Other)
    };
    let row = |email: Option<&str>| InvitationRow {
        id: "1".into(),
        email: email.map(str::to_owned),
        by: "ada".into(),
        created_at: ago(4000),
        expires_at: ago(-600_000),
    };
    let invitations = |created| InvitationsPage {
        shell: shell(Area::Administration),
        rows: vec![row(Some("grace@acme.example")), row(None), row(Some(HOSTILE))],
        created,
        next: Some("c".into()),
        email: Field::refused(HOSTILE, "`x` is not an e-mail address"),
        life: Life::Week,
        mail: Mail::Sent,
    };
    let new = NewInvitation {
        url: "https://slipway.acme.example/invitations/sli_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
        expires_at: ago(-600_000),
        mailed_to: Some(HOSTILE.into()),
    };
    vec![
        ("admin-accounts", page(&list())),
        ("admin-accounts-none", page(&none)),
        ("admin-account-person", page(&person)),
        ("admin-account-oneself", page(&manage(account_row("ada", AccountKind::User, Administers::Yes), Who::Oneself))),
        ("admin-account-organization", page(&manage(account_row("acme", AccountKind::Organization, Administers::No), Who::Other))),
        ("admin-account-service", page(&robot)),
        ("admin-invitations", page(&invitations(Some(new)))),
        (
            "admin-invitations-none",
            page(&InvitationsPage { rows: vec![], next: None, mail: Mail::Off, email: Field::default(), ..invitations(None) }),
        ),
    ]
}
