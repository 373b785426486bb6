//! A person with a browser at the provider: signs in, reads the page, presses the button.
//! Invariant: goes through the same pages and forms as a real browser, over HTTP; it never touches the state.

use anyhow::Result;

use super::FakeGitHub;
use super::script::user_password;
use crate::provider::browser::walk;

/// What the person answers.
enum Answer<'a> {
    Approve,
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

    /// Opens an authorization address as `login`, denies, and returns where the browser is sent back to.
    pub async fn deny_oauth(&self, authorize_url: &str, login: &str) -> Result<String> {
        self.answer_oauth(authorize_url, login, &Answer::Deny).await
    }

    async fn answer_oauth(&self, authorize_url: &str, login: &str, answer: &Answer<'_>) -> Result<String> {
        walk(&self.inner.http, self.web_url(), authorize_url, |page, mut fields| {
            if page.contains("name=\"password\"") {
                fields.insert("login".to_owned(), login.to_owned());
                fields.insert("password".to_owned(), user_password(login));
                return ("/session", fields);
            }
            let yes = if matches!(answer, Answer::Deny) { "0" } else { "1" };
            fields.insert("authorize".to_owned(), yes.to_owned());
            if let Answer::ApproveOnly(scopes) = answer {
                fields.insert("granted_scope".to_owned(), scopes.join(" "));
            }
            ("/login/oauth/authorize", fields)
        })
        .await
    }
}
