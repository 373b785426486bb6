//! A person with a browser at the fake: signs in, reads the page, presses the button.
//! Invariant: goes through the same pages and forms as a real browser, over HTTP; it never touches the state.

use anyhow::Result;

use super::FakeBitbucket;
use super::script::user_password;
use crate::provider::browser::walk;

impl FakeBitbucket {
    /// Opens an authorization address as `nickname`, grants access, and returns where the browser is sent back to.
    pub async fn approve_oauth(&self, authorize_url: &str, nickname: &str) -> Result<String> {
        self.answer_oauth(authorize_url, nickname, "grant").await
    }

    /// Opens an authorization address as `nickname`, cancels, and returns where the browser is sent back to.
    pub async fn deny_oauth(&self, authorize_url: &str, nickname: &str) -> Result<String> {
        self.answer_oauth(authorize_url, nickname, "cancel").await
    }

    async fn answer_oauth(&self, authorize_url: &str, nickname: &str, action: &str) -> Result<String> {
        walk(&self.inner.http, self.web_url(), authorize_url, |page, mut fields| {
            if page.contains("name=\"password\"") {
                fields.insert("username".to_owned(), nickname.to_owned());
                fields.insert("password".to_owned(), user_password(nickname));
                ("/account/signin/", fields)
            } else {
                fields.insert("action".to_owned(), action.to_owned());
                ("/site/oauth2/authorize", fields)
            }
        })
        .await
    }
}
