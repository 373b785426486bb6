//! One Chromium with a profile of its own, driven over WebDriver and, where WebDriver has no word for it, over Chromium's own protocol.
//! Invariant: nothing is waited for by time, only by what the page shows; a wait that fails says what the page showed instead.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use slipway_testkit::wait;

use crate::process::{Group, find};
use crate::{PASSWORD, Stage};

/// A folder for the screenshots of [`Browser::picture`]; without it none are made.
const PICTURES: &str = "SLIPWAY_E2E_PICTURES";
const PATIENCE: Duration = Duration::from_secs(60);
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--window-size=1280,900",
];

/// The system's wish for colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Light, Self::Dark];

    /// The media feature's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// A browser with one page.
pub struct Browser {
    client: Client,
    site: String,
    /// Before the folder, so that it ends first.
    _driver: Group,
    _profile: tempfile::TempDir,
}

/// A command that only chromedriver knows.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Starts a browser for a site.
    ///
    /// # Errors
    /// When driver or browser do not start.
    pub async fn start(site: &str) -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("slipway-e2e-profile-").tempdir()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let driver = Group::start(&find("chromedriver")?, &[OsString::from("--port=0")], profile.path(), &path)?;
        let port = driver.word_after("started successfully on port ").await?;
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().join("data").display()));
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": find("chromium")?, "args": flags, "perfLoggingPrefs": { "enableNetwork": true, "enablePage": false } },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let wanted: Capabilities = serde_json::from_value(wanted)?;
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let client = builder.capabilities(wanted).connect(&format!("http://127.0.0.1:{}", port.trim_end_matches('.'))).await;
        let client = client.map_err(|error| anyhow::anyhow!("the browser did not start: {error}\n{}", driver.tail()))?;
        Ok(Self { client, site: site.to_owned(), _driver: driver, _profile: profile })
    }

    /// Starts a browser and signs in.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn signed_in(stage: &Stage, name: &str) -> Result<Self> {
        let browser = Self::start(stage.site()).await?;
        browser.sign_in(name).await?;
        Ok(browser)
    }

    /// Signs in by the form.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn sign_in(&self, name: &str) -> Result<()> {
        self.open("/signin").await?;
        self.fill("#name", name).await?;
        self.fill("#password", PASSWORD).await?;
        self.click("main button.primary").await?;
        self.see(".person-name", name).await
    }

    /// What WebDriver itself offers.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The site that is tested.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Opens a page of the site, or any address.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn open(&self, address: &str) -> Result<()> {
        let url = if address.starts_with('/') { format!("{}{address}", self.site) } else { address.to_owned() };
        self.client.goto(&url).await.with_context(|| format!("opening `{url}`"))
    }

    /// The address of the page.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn address(&self) -> Result<url::Url> {
        Ok(self.client.current_url().await?)
    }

    /// Runs a function's body in the page.
    ///
    /// # Errors
    /// When it throws.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.client
            .execute(script, arguments.to_vec())
            .await
            .with_context(|| format!("in the page: {}", script.chars().take(200).collect::<String>()))
    }

    /// Waits until an expression is true in the page, and gives its value. While a page changes for the next one, it is asked again.
    ///
    /// # Errors
    /// With what the page shows instead.
    pub async fn until(&self, what: &str, expression: &str, arguments: &[Value]) -> Result<Value> {
        let script = format!("return ({expression}) || null");
        let waited = wait::until(what, PATIENCE, || async { Ok(self.run(&script, arguments).await.ok().filter(|value| !value.is_null())) });
        match waited.await {
            Ok(value) => Ok(value),
            Err(error) => Err(error.context(self.shown().await)),
        }
    }

    /// The address and text of the page, for messages.
    pub async fn shown(&self) -> String {
        let text = self.run("return location.href + '\\n' + document.body.innerText.slice(0, 3000)", &[]).await;
        // The picture is an aid; it may fail like everything else at this point.
        self.picture("failure").await.ok();
        format!("the page shows: {}", text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default())
    }

    /// Waits until an element that can be seen has this text in it.
    ///
    /// # Errors
    /// With what the page shows instead.
    pub async fn see(&self, css: &str, text: &str) -> Result<()> {
        let expression =
            "[...document.querySelectorAll(arguments[0])].some((one) => one.checkVisibility() && one.textContent.includes(arguments[1]))";
        self.until(&format!("`{css}` with `{text}`"), expression, &[json!(css), json!(text)]).await.map(|_| ())
    }

    /// The text of the first element.
    ///
    /// # Errors
    /// When there is none.
    pub async fn text(&self, css: &str) -> Result<String> {
        let expression = "document.querySelector(arguments[0])?.textContent.trim().replace(/\\s+/g, ' ')";
        let found = self.until(&format!("`{css}`"), expression, &[json!(css)]).await?;
        Ok(found.as_str().unwrap_or_default().to_owned())
    }

    /// How many elements there are.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn count(&self, css: &str) -> Result<u64> {
        let count = self.run("return document.querySelectorAll(arguments[0]).length", &[json!(css)]).await?;
        count.as_u64().context("a length is a number")
    }

    /// Presses the first element with the mouse, as soon as it is there.
    ///
    /// # Errors
    /// When it is missing, hidden or covered.
    pub async fn click(&self, css: &str) -> Result<()> {
        self.click_in(Locator::Css(css)).await
    }

    /// Presses the button or link with this text.
    ///
    /// # Errors
    /// When it is missing, hidden or covered.
    pub async fn press(&self, text: &str) -> Result<()> {
        let path = format!("//main//*[self::a or self::button][contains(normalize-space(.), \"{text}\")]");
        self.click_in(Locator::XPath(&path)).await
    }

    async fn click_in(&self, locator: Locator<'_>) -> Result<()> {
        let what = format!("{locator:?} to be pressed");
        let pressed = wait::until(&what, PATIENCE, || async {
            let Ok(element) = self.client.find(locator).await else { return Ok(None) };
            match element.click().await {
                Ok(()) => Ok(Some(())),
                // A part that renews itself may replace the element between the two; anything else stays so and ends the wait.
                Err(_) => Ok(None),
            }
        });
        match pressed.await {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.shown().await)),
        }
    }

    /// Writes into a field in place of what is there.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let field = self.client.wait().for_element(Locator::Css(css)).await.with_context(|| format!("the field `{css}`"))?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Presses a key; the focus is where it is.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn key(&self, key: Key) -> Result<()> {
        let value = char::from(key);
        let keys = KeyActions::new("keyboard".to_owned()).then(KeyAction::Down { value }).then(KeyAction::Up { value });
        Ok(self.client.perform_actions(keys).await?)
    }

    /// Types a text; the focus is where it is.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn keys(&self, text: &str) -> Result<()> {
        let keys = text
            .chars()
            .fold(KeyActions::new("keyboard".to_owned()), |keys, value| keys.then(KeyAction::Down { value }).then(KeyAction::Up { value }));
        Ok(self.client.perform_actions(keys).await?)
    }

    /// A command of Chromium's own protocol.
    ///
    /// # Errors
    /// When Chromium refuses it.
    pub async fn chromium(&self, command: &str, parameters: Value) -> Result<Value> {
        let body = json!({ "cmd": command, "params": parameters });
        self.client.issue_cmd(Extension { path: "goog/cdp/execute", body }).await.with_context(|| format!("`{command}`"))
    }

    /// What the browser logged since the last time.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn log(&self, kind: &str) -> Result<Vec<Value>> {
        let list = self.client.issue_cmd(Extension { path: "se/log", body: json!({ "type": kind }) }).await?;
        Ok(list.as_array().cloned().unwrap_or_default())
    }

    /// Looks at the page in a window of this width and with the system's wish for colours.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn look(&self, theme: Theme, width: u32) -> Result<()> {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.chromium("Emulation.setDeviceMetricsOverride", size).await?;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme.as_str() }] });
        self.chromium("Emulation.setEmulatedMedia", features).await?;
        let seen = self.run("return [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]", &[]).await?;
        ensure!(seen == json!([width, theme == Theme::Dark]), "the page sees {seen}, expected {width} px and {}", theme.as_str());
        Ok(())
    }

    /// Keeps a picture of the whole page for people, when they asked for it.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub async fn picture(&self, name: &str) -> Result<()> {
        let Some(folder) = std::env::var_os(PICTURES).filter(|path| !path.is_empty()) else { return Ok(()) };
        let size =
            self.run("return [innerWidth, Math.min(6000, Math.max(innerHeight, document.documentElement.scrollHeight))]", &[]).await?;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let parameters = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.chromium("Page.captureScreenshot", parameters).await?;
        let data = picture["data"].as_str().context("a picture has data")?;
        let folder = std::path::PathBuf::from(folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("{name}.png")), base64::engine::general_purpose::STANDARD.decode(data)?)?;
        Ok(())
    }

    /// Closes the browser.
    ///
    /// # Errors
    /// When it was gone already.
    pub async fn close(self) -> Result<()> {
        Ok(self.client.clone().close().await?)
    }
}
