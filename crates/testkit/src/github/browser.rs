//! A person with a browser at the provider: signs in, reads the page, presses the button.
//! Invariant: goes through the same pages and forms as a real browser, over HTTP; it never touches the state.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};

use super::FakeGitHub;
use super::script::user_password;

/// Pages that a person clicks through at most.
const STEPS: usize = 16;

/// What the person answers.
enum Answer<'a> {
    Approve,
    /// Presses "use another account" first, and approves as this one.
    ApproveAs(&'a str),
    ApproveOnly(&'a [&'a str]),
    Deny,
}

impl FakeGitHub {
    /// Opens an authorization address as `login`, approves, and returns where the browser is sent back to.
    pub async fn approve_oauth(&self, authorize_url: &str, login: &str) -> Result<String> {
        self.answer_oauth(authorize_url, login, &Answer::Approve).await
    }

    /// Approves, but grants only some of the scopes.
    pub async fn approve_oauth_only(&self, authorize_url: &str, login: &str, scopes: &[&str]) -> Result<String> {
        self.answer_oauth(authorize_url, login, &Answer::ApproveOnly(scopes)).await
    }

    /// Opens an authorization address as `login`, switches to another account at the consent page, and approves as that.
    pub async fn approve_oauth_as_other(&self, authorize_url: &str, login: &str, other: &str) -> Result<String> {
        self.answer_oauth(authorize_url, login, &Answer::ApproveAs(other)).await
    }

    /// Opens a page of the provider as `login` (where `X-GitHub-SSO` leads, for one) and returns its text.
    pub async fn visit(&self, url: &str, login: &str) -> Result<String> {
        let form = [("login", login), ("password", &user_password(login)), ("return_to", "/")];
        let signed_in = self.inner.http.post(format!("{}/session", self.web_url())).form(&form).send().await?;
        let cookie = signed_in.headers().get(SET_COOKIE).context("signing in sets a cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let page = self.inner.http.get(url).header(COOKIE, cookie).send().await?;
        let status = page.status();
        let text = page.text().await?;
        if status.is_success() { Ok(text) } else { bail!("the provider answered {status} at `{url}`: {text}") }
    }

    /// Opens an authorization address as `login`, denies, and returns where the browser is sent back to.
    pub async fn deny_oauth(&self, authorize_url: &str, login: &str) -> Result<String> {
        self.answer_oauth(authorize_url, login, &Answer::Deny).await
    }

    async fn answer_oauth(&self, authorize_url: &str, login: &str, answer: &Answer<'_>) -> Result<String> {
        let (mut cookie, mut login, mut switched) = (String::new(), login, false);
        let mut request = self.inner.http.get(authorize_url);
        for _ in 0..STEPS {
            let response = request.header(COOKIE, &cookie).send().await?;
            if let Some(set) = response.headers().get(SET_COOKIE) {
                cookie = set.to_str()?.split(';').next().unwrap_or_default().to_owned();
            }
            let location = response.headers().get(LOCATION).map(|value| value.to_str().map(str::to_owned));
            if let Some(location) = location.transpose()? {
                let target = response.url().join(&location)?;
                if !target.as_str().starts_with(self.web_url()) {
                    return Ok(target.to_string());
                }
                request = self.inner.http.get(target);
                continue;
            }
            let (status, page_url) = (response.status(), response.url().clone());
            let page = response.text().await?;
            if !status.is_success() {
                bail!("the provider answered {status} at `{page_url}`: {page}");
            }
            if let (Answer::ApproveAs(other), false, true) = (answer, switched, page.contains("id=\"switch\"")) {
                (login, switched) = (other, true);
                let form = page.split("action=\"/logout\"").nth(1).unwrap_or_default();
                request = self.inner.http.post(page_url.join("/logout")?).form(&hidden_fields(form));
                continue;
            }
            // The consent form comes first; the form that switches accounts repeats names of its fields.
            let mut fields = hidden_fields(page.split("action=\"/logout\"").next().unwrap_or_default());
            let action = if page.contains("name=\"password\"") {
                fields.insert("login".to_owned(), login.to_owned());
                fields.insert("password".to_owned(), user_password(login));
                "/session"
            } else {
                let yes = if matches!(answer, Answer::Deny) { "0" } else { "1" };
                fields.insert("authorize".to_owned(), yes.to_owned());
                if let Answer::ApproveOnly(scopes) = answer {
                    fields.insert("granted_scope".to_owned(), scopes.join(" "));
                }
                "/login/oauth/authorize"
            };
            request = self.inner.http.post(page_url.join(action)?).form(&fields);
        }
        Err(anyhow::anyhow!("after {STEPS} pages the provider had not sent the browser back"))
            .with_context(|| format!("authorization at `{authorize_url}`"))
    }
}

/// The hidden inputs of the page's form, in the one way in which `pages` writes them.
fn hidden_fields(page: &str) -> HashMap<String, String> {
    page.split("<input type=\"hidden\" name=\"")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once("\" value=\"")?;
            let (value, _) = rest.split_once('"')?;
            Some((name.to_owned(), unescape(value)))
        })
        .collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}
