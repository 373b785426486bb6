//! An organization as its people see it: it is made, linked and filled in the browser; a member sees exactly what the table of
//! permissions says; whoever is outside sees nothing of it, or what is public.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_e2e::inspect::Inspector;
use slipway_e2e::{AUTHOR, Browser, PERSON, Stage};
use slipway_testkit::github::{Visibility, user_password};

const MEMBER: &str = "grace";
const OUTSIDER: &str = "mallory";
/// The value of a variable: only who may change the settings ever sees it.
const VALUE: &str = "the-value-of-the-variable";
/// The texts of all tabs of a repository.
const TABS: &str = "[...document.querySelectorAll('nav[aria-label=Repository] a')].map((tab) => tab.textContent.trim()).join(' ')";
/// The texts of all buttons of the page's content that can be seen.
const BUTTONS: &str = "[...document.querySelectorAll('main button, main summary.button, main a.button')].filter((one) => one.checkVisibility() && \
    !one.matches('.copy, .log *')).map((one) => one.firstChild.textContent.trim()).join(', ')";
/// The words of the navigation at the left.
const NAVIGATION: &str = "[...document.querySelectorAll('.nav .wide')].map((one) => one.textContent).join(', ')";

#[tokio::test]
async fn a_member_sees_what_the_table_says() -> Result<()> {
    let stage = Stage::with_person().await?;
    stage.add_user(MEMBER, &[])?;
    stage.add_user(OUTSIDER, &[])?;
    let owner = Browser::signed_in(&stage, PERSON).await?;
    let member = Browser::signed_in(&stage, MEMBER).await?;
    let mut inspector = Inspector::new(&owner).await?;
    inspector.allow(stage.github.web_url());

    organization(&owner, &mut inspector).await?;
    link(&stage, &owner).await?;
    let builds = repositories(&stage, &owner).await?;
    teams(&owner, &mut inspector).await?;

    let mut seen = Inspector::new(&member).await?;
    namespace_of_a_member(&member, &mut seen).await?;
    read(&member, &mut seen, &builds[0]).await?;
    write(&member, &builds[1]).await?;
    unseen(&member).await?;
    admin(&owner, &member, &mut seen).await?;
    outsiders(&stage, &owner).await?;
    leave(&member).await?;
    owners_stay(&owner, &mut inspector).await?;
    rename_and_delete(&owner, &mut inspector).await?;

    // Pages that were refused on purpose tell so in the console.
    let mut found = Vec::new();
    for mut one in [inspector, seen] {
        one.quiet("the whole story").await?;
        one.forgive("the server responded with a status of 4");
        found.extend(one.end().0);
    }
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
    owner.close().await?;
    member.close().await?;
    stage.finish().await
}

/// From the menu at the top right.
async fn organization(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.click(".person > summary").await?;
    browser.click(".person a[href='/organizations/new']").await?;
    inspector.page("organization-new").await?;
    browser.fill("#name", "Acme").await?;
    browser.press("Create organization").await?;
    browser.see("#name-error", "expected only").await?;
    browser.fill("#name", "acme").await?;
    browser.fill("#display-name", "Acme Corporation").await?;
    browser.press("Create organization").await?;
    browser.see(".switcher-name", "acme").await?;
    assert_eq!(browser.address().await?.path(), "/acme");
    let navigation = browser.run(&format!("return {NAVIGATION}"), &[]).await?;
    assert_eq!(navigation, json!("Repositories, Builds, Source providers, Teams, Members, Settings"));
    inspector.page("organization-first-steps").await?;
    // There and back by the switcher at the left.
    browser.click(".switcher > summary").await?;
    inspector.page("switcher").await?;
    browser.click(&format!(".switcher a[href='/{PERSON}']")).await?;
    browser.see(".switcher-name", PERSON).await?;
    browser.click(".switcher > summary").await?;
    browser.click(".switcher a[href='/acme']").await?;
    browser.see(".switcher-name", "acme").await
}

/// The organization's own link; the provider leads back to its page.
async fn link(stage: &Stage, browser: &Browser) -> Result<()> {
    browser.press("Link a provider").await?;
    browser.see("h2", "Source providers of acme").await?;
    browser.click("#provider-github .card-actions a.primary").await?;
    browser.see("main", "for the namespace acme").await?;
    browser.press("Continue to").await?;
    browser.fill("#login", AUTHOR).await?;
    browser.fill("#password", &user_password(AUTHOR)).await?;
    browser.click("button.go").await?;
    browser.see("h1", "Authorize Slipway").await?;
    browser.click("#authorize").await?;
    browser.see("#provider-github .link-who", AUTHOR).await?;
    let address = browser.address().await?;
    assert_eq!((address.path(), address.as_str().starts_with(stage.site())), ("/o/acme/settings/source-providers", true));
    browser.open("/settings/source-providers").await?;
    browser.see("#provider-github .card-state", "not linked").await
}

/// Three repositories; two build from a source. Gives the addresses of their builds.
async fn repositories(stage: &Stage, browser: &Browser) -> Result<[String; 2]> {
    for name in ["lib", "app", "secret"] {
        browser.open("/acme").await?;
        browser.press("New repository").await?;
        let chosen = browser.run("return document.querySelector('#namespace').value", &[]).await?;
        assert_eq!(chosen, json!("acme"), "the namespace is that of the page before");
        browser.fill("#name", name).await?;
        browser.press("Create").await?;
        browser.see("h1", name).await?;
    }
    let mut builds = Vec::new();
    for name in ["lib", "app"] {
        let source = format!("{AUTHOR}/{name}");
        stage.github.repository(&source, Visibility::Private).await?;
        let body = json!({
            "provider": "github", "source": source, "autotest": "off",
            "rules": [{ "source_type": "branch", "source": "main", "tags": "latest" }], "env": [{ "name": "GREETING", "value": VALUE }],
        });
        stage.put(&format!("/repositories/acme/{name}/autobuild"), &body).await?;
        stage.wait_for("the webhook to stand", || async { Ok((!stage.github.hooks(&source).is_empty()).then_some(())) }).await?;
        stage.github.settle().await;
        stage.github.commit(&source, "main", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")], "Begin").await?;
        stage.github.settle().await;
        builds.push(built(stage, name).await?);
    }
    builds.try_into().map_err(|_| anyhow::anyhow!("there are two builds"))
}

async fn built(stage: &Stage, name: &str) -> Result<String> {
    let done = stage.wait_for("the build to succeed", || async {
        let list = stage.get(&format!("/repositories/acme/{name}/builds")).await?;
        let build = list["items"].as_array().and_then(|all| all.first()).cloned();
        let state = |build: &Value| build["state"].as_str().map(str::to_owned);
        anyhow::ensure!(build.as_ref().and_then(state).as_deref() != Some("failed"), "the build failed: {build:?}");
        Ok(build.filter(|build| build["state"] == "success"))
    });
    let id = done.await?["id"].as_str().context("a build has an id")?.to_owned();
    Ok(format!("/acme/{name}/builds/{id}"))
}

async fn team(browser: &Browser, name: &str) -> Result<()> {
    browser.open("/o/acme/teams").await?;
    browser.press("New team").await?;
    browser.fill("#name", name).await?;
    browser.press("Create team").await?;
    browser.see("h1", name).await
}

/// `backend` has the member and two repositories, `others` has neither.
async fn teams(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    team(browser, "others").await?;
    team(browser, "backend").await?;
    inspector.page("team-empty").await?;
    browser.fill("#user", "nobody-of-that-name").await?;
    browser.press("Add").await?;
    browser.see("#user-error", "").await?;
    inspector.page("team-refused").await?;
    browser.fill("#user", MEMBER).await?;
    browser.press("Add").await?;
    browser.see(".person-row", MEMBER).await?;
    inspector.page("team").await?;
    browser.press("Repositories").await?;
    for (name, permission) in [("lib", "read"), ("app", "write")] {
        browser.fill("#repository", name).await?;
        browser.click(&format!("#permission option[value={permission}]")).await?;
        browser.press("Add").await?;
        browser.see(".grant-row", &format!("acme/{name}")).await?;
    }
    inspector.page("team-repositories").await?;
    for (name, address) in [
        ("organization", "/acme"),
        ("teams", "/o/acme/teams"),
        ("team-owners", "/o/acme/teams/owners"),
        ("team-new", "/o/acme/teams/new"),
        ("team-settings", "/o/acme/teams/backend/settings"),
        ("members", "/o/acme/members"),
        ("organization-builds", "/o/acme/builds"),
        ("organization-settings", "/o/acme/settings"),
        ("organization-delete", "/o/acme/settings/delete"),
        ("organization-tokens", "/o/acme/settings/tokens"),
        ("organization-invitations", "/o/acme/settings/invitations"),
        ("organization-audit", "/o/acme/settings/audit"),
        ("organization-providers", "/o/acme/settings/source-providers"),
        ("audit", "/settings/audit"),
        ("installation-audit", "/admin/audit"),
    ] {
        inspector.visit(name, address).await?;
    }
    // The log tells what was just done, and its filter finds it.
    browser.open("/o/acme/settings/audit?action=team_repository&object=app").await?;
    browser.see(".audit-row", "team_repository.set").await?;
    assert_eq!(browser.count(".audit-row").await?, 1, "{}", browser.shown().await);
    assert!(browser.text(".audit-changes").await?.contains("write"), "{}", browser.shown().await);
    // An invitation's link is shown once.
    browser.open("/o/acme/settings/invitations?team=others").await?;
    browser.press("Make invitation").await?;
    browser.see(".once .command", "/invitations/").await?;
    inspector.page("invitation-made").await?;
    browser.open("/o/acme/settings/invitations").await?;
    assert_eq!(browser.count(".once").await?, 0);
    browser.press("Take back").await?;
    browser.see("main", "None is open").await
}

async fn all(browser: &Browser, expression: &str) -> Result<String> {
    let found = browser.run(&format!("return {expression}"), &[]).await?;
    Ok(found.as_str().context("a text")?.to_owned())
}

/// Opens an address that answers with this status. Gives the page's text without the id of the request.
async fn refused(browser: &Browser, address: &str, status: u16) -> Result<String> {
    browser.open(address).await?;
    browser.see(".error-status", &status.to_string()).await.with_context(|| format!("{address} is not answered {status}"))?;
    browser.text(".error-page > p:nth-of-type(2)").await
}

async fn namespace_of_a_member(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/").await?;
    browser.click(".person > summary").await?;
    browser.click(".person a[href='/acme']").await?;
    browser.see(".switcher-name", "acme").await?;
    assert_eq!(all(browser, NAVIGATION).await?, "Repositories, Builds, Teams");
    let names = "[...document.querySelectorAll('.repository-row .strong')].map((one) => one.textContent).join(' ')";
    assert_eq!(all(browser, names).await?, "acme/app acme/lib");
    assert_eq!(all(browser, BUTTONS).await?, "Filter");
    inspector.page("member-organization").await?;
    browser.open("/search?q=acme/").await?;
    assert_eq!(all(browser, names).await?, "acme/app acme/lib");
    browser.open("/o/acme/builds").await?;
    browser.see("#queue", "acme/lib #1").await?;
    inspector.page("member-builds").await?;

    browser.open("/o/acme/teams").await?;
    let teams = "[...document.querySelectorAll('.team-row .strong')].map((one) => one.textContent).join(' ')";
    assert_eq!(all(browser, teams).await?, "backend");
    inspector.page("member-teams").await?;
    browser.press("backend").await?;
    browser.see(".person-row", MEMBER).await?;
    assert_eq!(all(browser, BUTTONS).await?, "Leave");
    inspector.page("member-team").await?;
    browser.press("Repositories").await?;
    browser.see(".grant-row", "write").await?;
    assert_eq!(all(browser, BUTTONS).await?, "");
    inspector.page("member-team-repositories").await
}

/// `read`: builds and settings without values; nothing can be done.
async fn read(browser: &Browser, inspector: &mut Inspector<'_>, build: &str) -> Result<()> {
    browser.open("/acme/lib").await?;
    assert_eq!(all(browser, TABS).await?, "General Builds Autobuild Tags Deliveries");
    browser.see("#latest-builds .build-row", "Begin").await?;
    inspector.page("reader-repository").await?;
    browser.open("/acme/lib/builds").await?;
    browser.see("#builds .build-row", "Begin").await?;
    assert_eq!(all(browser, BUTTONS).await?, "Filter");
    browser.open(build).await?;
    browser.see(".build-heading", "Build #1").await?;
    assert_eq!(all(browser, BUTTONS).await?, "");
    inspector.page("reader-build").await?;
    browser.open("/acme/lib/tags").await?;
    browser.see("#tags", "latest").await?;
    assert_eq!(all(browser, BUTTONS).await?, "");
    browser.open("/acme/lib/deliveries").await?;
    browser.see(".delivery-row", "is built as #1").await?;
    // The settings with the name of the variable; its value is nowhere, however it is asked for.
    browser.open("/acme/lib/autobuild?values=shown").await?;
    browser.see("main", "GREETING").await?;
    assert_eq!(all(browser, BUTTONS).await?, "");
    assert_eq!(browser.run("return document.documentElement.outerHTML.includes(arguments[0])", &[json!(VALUE)]).await?, json!(false));
    inspector.page("reader-autobuild").await?;
    refused(browser, "/acme/lib/settings", 403).await?;
    refused(browser, "/acme/lib/autobuild/source", 403).await.map(|_| ())
}

/// `write`: also builds and tags.
async fn write(browser: &Browser, build: &str) -> Result<()> {
    browser.open("/acme/app").await?;
    assert_eq!(all(browser, TABS).await?, "General Builds Autobuild Tags Deliveries");
    browser.open(build).await?;
    assert_eq!(all(browser, BUTTONS).await?, "Retry, Retry without cache");
    browser.press("Retry").await?;
    browser.see(".build-heading", "Build #2").await?;
    browser.until("the retry's success", "document.getElementById('build-top')?.dataset.state === 'success'", &[]).await?;
    refused(browser, "/acme/app/settings", 403).await?;
    browser.open("/acme/app/tags").await?;
    browser.click("#tags summary").await?;
    browser.press("Delete tag").await?;
    browser.see("main .notice", "The tag is deleted").await?;
    browser.see("main", "No tags yet").await
}

/// What the teams do not give does not exist: neither the third repository, nor other teams, nor the organization's own pages.
async fn unseen(browser: &Browser) -> Result<()> {
    let nothing = refused(browser, "/acme/nothing-of-that-name", 404).await?;
    for address in ["/acme/secret", "/acme/secret/builds", "/acme/secret/tags", "/acme/secret/settings", "/acme/secret/autobuild"] {
        assert_eq!(refused(browser, address, 404).await?, nothing, "{address}");
    }
    for team in ["others", "owners", "nothing"] {
        refused(browser, &format!("/o/acme/teams/{team}"), 404).await?;
        refused(browser, &format!("/o/acme/teams/{team}/repositories"), 404).await?;
    }
    for page in
        ["members", "settings", "settings/tokens", "settings/audit", "settings/invitations", "settings/source-providers", "teams/new"]
    {
        refused(browser, &format!("/o/acme/{page}"), 403).await?;
    }
    Ok(())
}

/// `admin`, given while the member is signed in: also the settings and the values of variables, but not the end of anything.
async fn admin(owner: &Browser, member: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    owner.open("/o/acme/teams/backend/repositories").await?;
    owner.click("#permission-lib option[value=admin]").await?;
    owner.click(".grant-row:last-child form button").await?;
    owner.see("main .notice", "The permission is given").await?;
    let chosen = owner.run("return document.querySelector('#permission-lib').value", &[]).await?;
    assert_eq!(chosen, json!("admin"));

    member.open("/acme/lib").await?;
    assert_eq!(all(member, TABS).await?, "General Builds Autobuild Tags Deliveries Settings");
    member.open("/acme/lib/autobuild").await?;
    let shown = "return [...document.querySelectorAll('textarea')].some((field) => field.value === arguments[0])";
    assert_eq!(member.run(shown, &[json!(VALUE)]).await?, json!(false), "values are shown to who asks for them");
    member.press("Show the stored values").await?;
    assert_eq!(member.run(shown, &[json!(VALUE)]).await?, json!(true), "{}", member.shown().await);
    inspector.page("admin-autobuild").await?;
    assert!(!all(member, "document.querySelector('main').textContent").await?.contains("Choose another"));
    member.open("/acme/lib/settings").await?;
    member.fill("#description", "Changed by a member").await?;
    member.press("Save").await?;
    member.see("main .notice", "Saved").await?;
    assert_eq!(member.count(".danger").await?, 0, "only owners delete");
    inspector.page("admin-settings").await
}

/// Somebody else, signed in or not: nothing of the organization is there until a repository is public; of that, pages and tags.
async fn outsiders(stage: &Stage, owner: &Browser) -> Result<()> {
    let outsider = Browser::signed_in(stage, OUTSIDER).await?;
    let stranger = Browser::start(stage.site()).await?;
    for address in ["/acme", "/acme/lib", "/o/acme", "/o/acme/teams", "/o/acme/members", "/o/acme/settings", "/o/acme/builds"] {
        refused(&outsider, address, 404).await?;
        stranger.open(address).await?;
        assert_eq!(stranger.address().await?.path(), "/signin", "{address}");
    }
    owner.open("/acme/lib/settings").await?;
    owner.click("input[value=public]").await?;
    owner.press("Save").await?;
    owner.see("main .notice", "Saved").await?;

    let mut inspector = Inspector::new(&stranger).await?;
    for browser in [&outsider, &stranger] {
        browser.open("/acme").await?;
        let names = "[...document.querySelectorAll('.repository-row .strong')].map((one) => one.textContent).join(' ')";
        assert_eq!(all(browser, names).await?, "acme/lib");
        assert!(!all(browser, "document.querySelector('main').textContent").await?.contains("octo/lib"), "the source is for readers");
        browser.press("acme/lib").await?;
        assert_eq!(all(browser, TABS).await?, "General Tags");
        browser.see(".tag-row", "latest").await?;
        assert_eq!(browser.count(".build-row").await?, 0);
        browser.open("/acme/lib/tags").await?;
        browser.see("#tags", "latest").await?;
        assert_eq!(all(browser, BUTTONS).await?, "");
    }
    refused(&outsider, "/acme/lib/builds", 404).await?;
    refused(&outsider, "/acme/app", 404).await?;
    refused(&outsider, "/o/acme/teams", 404).await?;
    inspector.forgive("the server responded with a status of 4");
    inspector.visit("stranger-namespace", "/acme").await?;
    inspector.visit("stranger-repository", "/acme/lib").await?;
    inspector.visit("stranger-tags", "/acme/lib/tags").await?;
    // The way in leads back here.
    stranger.open("/acme/lib").await?;
    stranger.click(".top a.button").await?;
    stranger.fill("#name", OUTSIDER).await?;
    stranger.fill("#password", slipway_e2e::PASSWORD).await?;
    stranger.click("main button.primary").await?;
    stranger.see(".person-name", OUTSIDER).await?;
    assert_eq!(stranger.address().await?.path(), "/acme/lib");
    let (found, _) = inspector.end();
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
    outsider.close().await?;
    stranger.close().await
}

/// Whoever leaves their last team is an outsider from the next page on.
async fn leave(browser: &Browser) -> Result<()> {
    browser.open("/o/acme/teams/backend").await?;
    browser.press("Leave").await?;
    browser.see("main .notice", "You have left the team").await?;
    assert_eq!(browser.count(".switcher a[href='/acme']").await?, 0);
    refused(browser, "/acme/app", 404).await?;
    refused(browser, "/o/acme/teams", 404).await.map(|_| ())
}

/// The last owner cannot go, and is told so where they tried.
async fn owners_stay(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/o/acme/teams/owners").await?;
    browser.press("Leave").await?;
    browser.see(".notice-failed", "last owner").await?;
    inspector.page("last-owner").await?;
    browser.open("/o/acme/members").await?;
    browser.press("Remove").await?;
    browser.see(".notice-failed", "last owner").await?;
    browser.open("/o/acme/teams/owners/settings").await?;
    browser.see("main", "cannot be renamed or deleted").await?;
    assert_eq!(browser.count("button.destroy").await?, 0);
    // A team goes by its name.
    browser.open("/o/acme/teams/others/settings").await?;
    browser.fill("#confirm", "other").await?;
    browser.press("Delete team").await?;
    browser.see("#confirm-error", "expected others").await?;
    browser.fill("#confirm", "others").await?;
    browser.press("Delete team").await?;
    browser.see("main .notice", "The team is deleted").await
}

/// Former addresses lead on, and in the end nothing is left.
async fn rename_and_delete(browser: &Browser, inspector: &mut Inspector<'_>) -> Result<()> {
    browser.open("/o/acme/settings").await?;
    browser.fill("#new-name", "api").await?;
    browser.press("Rename organization").await?;
    browser.see("#new-name-error", "reserved").await?;
    browser.fill("#new-name", "umbrella").await?;
    browser.press("Rename organization").await?;
    browser.see("main .notice", "Renamed").await?;
    assert_eq!(browser.address().await?.path(), "/o/umbrella/settings");
    for (former, now) in [
        ("/acme", "/umbrella"),
        ("/acme/lib/tags", "/umbrella/lib/tags"),
        ("/o/acme/teams/backend", "/o/umbrella/teams/backend"),
        ("/acme/app/builds?state=success", "/umbrella/app/builds"),
    ] {
        browser.open(former).await?;
        assert_eq!(browser.address().await?.path(), now, "{former}");
    }
    browser.open("/o/umbrella/settings/delete").await?;
    browser.see(".doomed", "umbrella/secret").await?;
    browser.fill("#confirm", "acme").await?;
    browser.click("button.destroy").await?;
    browser.see("#confirm-error", "").await?;
    inspector.page("organization-delete-refused").await?;
    browser.fill("#confirm", "umbrella").await?;
    browser.click("button.destroy").await?;
    browser.see("h1", "umbrella is deleted").await?;
    browser.see(".receipt", "Webhook").await?;
    inspector.page("organization-deleted").await?;
    assert_eq!(browser.count(".switcher a[href='/umbrella']").await?, 0);
    refused(browser, "/umbrella", 404).await?;
    refused(browser, "/acme", 404).await.map(|_| ())
}
