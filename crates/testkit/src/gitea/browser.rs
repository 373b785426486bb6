//! A person with a browser at the provider: signs in, reads pages, presses buttons.
//! Invariant: goes through the same pages and forms as a real browser, over HTTP, and keeps cookies as one would.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Method, Response};

use super::{Gitea, user_password};

/// Redirects that a browser follows at most.
const STEPS: usize = 8;

/// What a person answers on the page that asks for access.
#[derive(Clone, Copy)]
enum Answer {
    Approve,
    Deny,
}

/// A delivery as the webhook's page lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownDelivery {
    /// Its id: the header `X-Gitea-Delivery`.
    pub id: String,
    /// Whether the receiver answered 2xx; `None` while it was not sent.
    pub succeeded: Option<bool>,
}

/// A signed-in browser.
struct Browser<'a> {
    gitea: &'a Gitea,
    cookies: BTreeMap<String, String>,
}

/// Where a request ended.
enum Landing {
    Page(String),
    Elsewhere(String),
}

impl Gitea {
    /// Opens an authorization address as `login`, approves, and returns where the browser is sent back to.
    pub async fn approve_oauth(&self, authorize_url: &str, login: &str) -> Result<String> {
        self.answer_oauth(authorize_url, login, Answer::Approve).await
    }

    /// Opens an authorization address as `login`, denies, and returns where the browser is sent back to.
    pub async fn deny_oauth(&self, authorize_url: &str, login: &str) -> Result<String> {
        self.answer_oauth(authorize_url, login, Answer::Deny).await
    }

    async fn answer_oauth(&self, authorize_url: &str, login: &str, answer: Answer) -> Result<String> {
        let mut browser = Browser::sign_in(self, login).await?;
        let page = match browser.open(authorize_url).await? {
            // Whoever granted before is sent back at once.
            Landing::Elsewhere(target) => return Ok(target),
            Landing::Page(page) => page,
        };
        let form = page.split_once("/login/oauth/grant").with_context(|| format!("no form that asks for access: {page}"))?.1;
        let mut fields = hidden_fields(form.split_once("</form>").map_or(form, |(form, _)| form));
        let granted = matches!(answer, Answer::Approve);
        fields.push(("granted".to_owned(), granted.to_string()));
        match browser.submit("/login/oauth/grant", fields).await? {
            Landing::Elsewhere(target) => Ok(target),
            Landing::Page(page) => bail!("the browser was not sent back: {page}"),
        }
    }

    /// Withdraws what `login` granted to an application, on the page Settings > Applications.
    pub async fn revoke_grant(&self, login: &str, client_id: &str) -> Result<()> {
        let number = self.application_number(client_id).await?;
        let mut browser = Browser::sign_in(self, login).await?;
        let page = browser.page("/user/settings/applications").await?;
        let before = format!("/user/settings/applications/oauth2/{number}/revoke/");
        let grant: String = match page.split_once(&before) {
            Some((_, rest)) => rest.chars().take_while(char::is_ascii_digit).collect(),
            None => bail!("`{login}` granted nothing to `{client_id}`"),
        };
        browser.submit(&format!("{before}{grant}"), Vec::new()).await.map(drop)
    }

    /// The names of the applications that `login` granted access to, as the page shows them.
    pub async fn granted_applications(&self, login: &str) -> Result<Vec<String>> {
        let page = Browser::sign_in(self, login).await?.page("/user/settings/applications").await?;
        let parts: Vec<&str> = page.split("flex-item-title\">").collect();
        // Each title is followed by the button that revokes; other lists of the page have other buttons.
        let granted = parts.into_iter().skip(1).filter(|part| part.contains("revoke-gitea-oauth2-grant"));
        Ok(granted.filter_map(|part| Some(unescape(part.split_once("</div>")?.0.trim()))).collect())
    }

    /// The last deliveries of a webhook, newest first, as its page shows them to `login`.
    pub async fn deliveries(&self, full_name: &str, hook: u64, login: &str) -> Result<Vec<ShownDelivery>> {
        let page = Browser::sign_in(self, login).await?.page(&format!("/{full_name}/settings/hooks/{hook}")).await?;
        let parts: Vec<&str> = page.split("data-panel=\"#info-").collect();
        let shown = parts.windows(2).map(|pair| {
            let mark = pair[0].rsplit("flex-text-inline").next().unwrap_or_default();
            let succeeded = if mark.contains("octicon-check") { Some(true) } else { mark.contains("octicon-alert").then_some(false) };
            let id = pair[1].split_once('>').and_then(|(_, rest)| rest.split_once('<')).map(|(id, _)| id.trim().to_owned());
            id.map(|id| ShownDelivery { id, succeeded })
        });
        shown.collect::<Option<Vec<_>>>().context("a delivery on the page has no id")
    }

    /// Presses the button that sends a delivery once more.
    pub async fn redeliver(&self, full_name: &str, hook: u64, delivery: &str, login: &str) -> Result<()> {
        let mut browser = Browser::sign_in(self, login).await?;
        browser.submit(&format!("/{full_name}/settings/hooks/{hook}/replay/{delivery}"), Vec::new()).await.map(drop)
    }
}

impl<'a> Browser<'a> {
    async fn sign_in(gitea: &'a Gitea, login: &str) -> Result<Self> {
        let mut browser = Self { gitea, cookies: BTreeMap::new() };
        let page = browser.page("/user/login").await?;
        let form = page.split_once("action=\"/user/login\"").map_or("", |(_, rest)| rest);
        let mut fields = hidden_fields(form.split_once("</form>").map_or(form, |(form, _)| form));
        fields.push(("user_name".to_owned(), login.to_owned()));
        fields.push(("password".to_owned(), user_password(login)));
        match browser.submit("/user/login", fields).await? {
            Landing::Page(page) if !page.contains("action=\"/user/login\"") => Ok(browser),
            _ => bail!("`{login}` could not sign in"),
        }
    }

    async fn page(&mut self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.gitea.web_url());
        match self.open(&url).await? {
            Landing::Page(page) => Ok(page),
            Landing::Elsewhere(target) => bail!("`{path}` leads to `{target}`"),
        }
    }

    async fn open(&mut self, url: &str) -> Result<Landing> {
        let response = self.send(Method::GET, url, &[]).await?;
        self.follow(response).await
    }

    async fn submit(&mut self, path: &str, mut fields: Vec<(String, String)>) -> Result<Landing> {
        // Versions before 1.26 want the token of their cookie back with every form; scripts of the page add it where a form lacks it.
        if let Some(token) = self.cookies.get("_csrf")
            && !fields.iter().any(|(name, _)| name == "_csrf")
        {
            fields.push(("_csrf".to_owned(), token.clone()));
        }
        let url = format!("{}{path}", self.gitea.web_url());
        let response = self.send(Method::POST, &url, &fields).await?;
        self.follow(response).await
    }

    async fn send(&mut self, method: Method, url: &str, fields: &[(String, String)]) -> Result<Response> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.gitea.http.request(method.clone(), url).header(COOKIE, cookies.join("; "));
        if method == Method::POST {
            request = request.form(fields);
        }
        let response = request.send().await?;
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(response)
    }

    async fn follow(&mut self, mut response: Response) -> Result<Landing> {
        for _ in 0..STEPS {
            let location = response.headers().get(LOCATION).map(|value| value.to_str().map(str::to_owned)).transpose()?;
            let Some(location) = location else {
                let (status, url) = (response.status(), response.url().clone());
                let page = response.text().await?;
                if !status.is_success() {
                    bail!("Gitea answered {status} at `{url}`: {page}");
                }
                return Ok(Landing::Page(page));
            };
            let target = response.url().join(&location)?;
            if !target.as_str().starts_with(&format!("{}/", self.gitea.web_url())) {
                return Ok(Landing::Elsewhere(target.to_string()));
            }
            response = self.send(Method::GET, target.as_str(), &[]).await?;
        }
        bail!("more than {STEPS} redirects in a row")
    }
}

/// The hidden inputs of a form, in the one way in which Gitea's templates write them.
fn hidden_fields(form: &str) -> Vec<(String, String)> {
    form.split("<input type=\"hidden\" name=\"")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once("\" value=\"")?;
            let (value, _) = rest.split_once('"')?;
            Some((name.to_owned(), unescape(value)))
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let plus = text.replace("&#43;", "+").replace("&#34;", "\"").replace("&#39;", "'");
    plus.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}
