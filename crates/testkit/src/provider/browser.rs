//! A person with a browser at a provider: follows redirects, reads pages, fills in forms.
//! Invariant: goes through the same pages and forms as a real browser, over HTTP; it never touches a fake's state.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};

/// Pages that a person clicks through at most.
const STEPS: usize = 8;

/// A form as it is sent: its address and its fields.
pub(crate) type Filled = (&'static str, HashMap<String, String>);

/// Opens `start` and fills in forms until the browser is sent away from `site`; returns where to. `fill` is given each page
/// and the hidden fields of its form.
pub(crate) async fn walk(
    http: &reqwest::Client,
    site: &str,
    start: &str,
    fill: impl Fn(&str, HashMap<String, String>) -> Filled,
) -> Result<String> {
    let mut cookie = String::new();
    let mut request = http.get(start);
    for _ in 0..STEPS {
        let response = request.header(COOKIE, &cookie).send().await?;
        if let Some(set) = response.headers().get(SET_COOKIE) {
            cookie = set.to_str()?.split(';').next().unwrap_or_default().to_owned();
        }
        let location = response.headers().get(LOCATION).map(|value| value.to_str().map(str::to_owned));
        if let Some(location) = location.transpose()? {
            let target = response.url().join(&location)?;
            if !target.as_str().starts_with(site) {
                return Ok(target.to_string());
            }
            request = http.get(target);
            continue;
        }
        let (status, page_url) = (response.status(), response.url().clone());
        let page = response.text().await?;
        if !status.is_success() {
            bail!("the provider answered {status} at `{page_url}`: {page}");
        }
        let (action, fields) = fill(&page, hidden_fields(&page));
        request = http.post(page_url.join(action)?).form(&fields);
    }
    Err(anyhow::anyhow!("after {STEPS} pages the provider had not sent the browser back"))
        .with_context(|| format!("authorization at `{start}`"))
}

/// The hidden inputs of the page's form, in the one way in which the fakes write them.
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
