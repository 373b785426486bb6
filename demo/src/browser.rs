//! A person's browser at Slipway: pages, forms, a cookie.
//! Invariant: forms are sent as the page gave them, hidden fields included, with the `Origin` that a browser would send.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Method, Response};
use serde_json::Value;

/// One browser with its cookies for one site.
pub struct Browser {
    http: reqwest::Client,
    site: String,
    cookies: RefCell<BTreeMap<String, String>>,
}

impl Browser {
    /// A browser without cookies.
    pub fn new(http: &reqwest::Client, site: &str) -> Self {
        Self { http: http.clone(), site: site.to_owned(), cookies: RefCell::default() }
    }

    async fn send(&self, method: Method, address: &str, fields: Option<&BTreeMap<String, String>>) -> Result<Response> {
        let url = if address.starts_with('/') { format!("{}{address}", self.site) } else { address.to_owned() };
        let cookies = self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut request = self.http.request(method.clone(), &url).header(COOKIE, cookies);
        if method != Method::GET {
            request = request.header(ORIGIN, &self.site);
        }
        if let Some(fields) = fields {
            request = request.form(fields);
        }
        let answer = request.send().await?;
        for set in answer.headers().get_all(SET_COOKIE) {
            if let Some((name, value)) = set.to_str()?.split(';').next().and_then(|pair| pair.split_once('=')) {
                self.cookies.borrow_mut().insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(answer)
    }

    /// Opens an address and returns the answer as it is, redirect or not.
    pub async fn open(&self, address: &str) -> Result<Response> {
        self.send(Method::GET, address, None).await
    }

    /// Opens a page that must be there.
    pub async fn page(&self, address: &str) -> Result<String> {
        let answer = self.open(address).await?;
        let status = answer.status();
        let text = answer.text().await?;
        if status.is_success() {
            return Ok(text);
        }
        bail!("`{address}` answered {status}: {}", shortened(&text))
    }

    /// Opens a page, fills in the form that goes to `action`, sends it, and returns where it leads.
    pub async fn submit(&self, page: &str, action: &str, filled: &[(&str, &str)]) -> Result<String> {
        let text = self.page(page).await?;
        let mut fields = hidden_fields(&text, action).with_context(|| format!("`{page}` has no form that goes to `{action}`"))?;
        fields.extend(filled.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let answer = self.send(Method::POST, action, Some(&fields)).await?;
        let status = answer.status();
        let location = answer.headers().get(LOCATION).map(|value| value.to_str().map(str::to_owned)).transpose()?;
        match location {
            Some(location) if status.is_redirection() => Ok(location),
            _ => bail!("the form `{action}` answered {status}, expected a redirect: {}", shortened(&answer.text().await?)),
        }
    }

    /// Calls the API as a page's script does, by cookie.
    pub async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let cookies = self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let mut request = self.http.request(method, format!("{}{path}", self.site)).header(COOKIE, cookies).header(ORIGIN, &self.site);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("`{path}` answered {status}: {}", shortened(&text));
        }
        serde_json::from_str(&text).with_context(|| format!("`{path}` answered no JSON: {}", shortened(&text)))
    }
}

/// The hidden inputs of the form with this action.
fn hidden_fields(page: &str, action: &str) -> Option<BTreeMap<String, String>> {
    let marker = format!("action=\"{action}\"");
    let form = page.split("<form").skip(1).find(|form| form.split('>').next().is_some_and(|tag| tag.contains(&marker)))?;
    let form = form.split("</form>").next()?;
    let inputs = form.split("<input").skip(1).filter_map(|input| input.split('>').next());
    let hidden = inputs.filter(|input| attribute(input, "type").as_deref() == Some("hidden"));
    Some(hidden.filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value").unwrap_or_default()))).collect())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    Some(
        value
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&#x27;", "'")
            .replace("&#38;", "&")
            .replace("&amp;", "&"),
    )
}

/// A page's text without tags, cut: enough to see what it says.
fn shortened(text: &str) -> String {
    let mut words = String::new();
    let mut inside_tag = false;
    for character in text.chars() {
        match character {
            '<' => inside_tag = true,
            '>' => {
                inside_tag = false;
                words.push(' ');
            }
            other if !inside_tag => words.push(other),
            _ => {}
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_forms_hidden_fields_are_found() {
        let page = "<form action=\"/a\"><input type=\"hidden\" name=\"x\" value=\"1\"></form>\
                    <form method=\"post\" action=\"/b\" class=\"c\"><input type=\"hidden\" name=\"csrf\" value=\"a&amp;b\"><input name=\"free\" value=\"no\"></form>";
        assert_eq!(hidden_fields(page, "/b"), Some(BTreeMap::from([("csrf".to_owned(), "a&b".to_owned())])));
        assert_eq!(hidden_fields(page, "/c"), None);
    }
}
