//! What must hold for every page: no violation of axe-core, no sideways scrolling, nothing in the console, no request to elsewhere.
//! Invariant: findings are collected, so that one run names all of them; `tests/browser/inspections.rs` shows that each kind is found.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::Browser;
use crate::browser::Theme;

const MODULES: &str = "SLIPWAY_E2E_MODULES";
/// The widths that the pages are made for.
pub const WIDTHS: [u32; 2] = [1280, 390];

const AXE: &str = "const done = arguments[arguments.length - 1]; axe.run(document, { resultTypes: ['violations'] }).then( \
    (found) => done(found.violations.map((one) => `${one.impact} ${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => \
    node.target.join(' ') + ' (' + (node.any[0] ?? node.all[0] ?? node.none[0])?.message + ')').join('; ')}`)), \
    (error) => done([`axe failed: ${error}`]))";
/// Elements that stand out to the right, when the page can be scrolled there.
const WIDE: &str = "const page = document.scrollingElement; if (page.scrollWidth <= innerWidth) return []; \
    const out = [...document.body.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1); \
    return [`${page.scrollWidth} px`, ...out.slice(0, 5).map((one) => one.tagName + '.' + one.className)]";

fn modules() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(MODULES).filter(|path| !path.is_empty()) {
        return Ok(folder.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("slipway/e2e/node_modules"))
}

fn axe() -> Result<String> {
    let file = modules()?.join("axe-core/axe.min.js");
    std::fs::read_to_string(&file).with_context(|| format!("`{}` cannot be read; hint: scripts/install-test-parts", file.display()))
}

/// Looks at pages and keeps what it finds.
pub struct Inspector<'b> {
    browser: &'b Browser,
    axe: String,
    /// Origins that pages may ask; the site's own alone, unless a test leads elsewhere.
    origins: Vec<String>,
    found: Vec<String>,
    seen: usize,
}

impl<'b> Inspector<'b> {
    /// Begins with an empty log.
    ///
    /// # Errors
    /// When axe-core is not installed or the browser is gone.
    pub async fn new(browser: &'b Browser) -> Result<Self> {
        for kind in ["browser", "performance"] {
            browser.log(kind).await?;
        }
        Ok(Self { browser, axe: axe()?, origins: vec![browser.site().to_owned()], found: Vec::new(), seen: 0 })
    }

    /// Another origin whose pages belong to the story.
    pub fn allow(&mut self, origin: &str) {
        self.origins.push(origin.to_owned());
    }

    fn find(&mut self, text: String) {
        self.found.push(text);
    }

    /// Opens a page and looks at it in all ways.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn visit(&mut self, name: &str, address: &str) -> Result<()> {
        self.browser.open(address).await?;
        self.page(name).await
    }

    /// Looks at the page in both themes and all widths.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn page(&mut self, name: &str) -> Result<()> {
        self.seen += 1;
        self.browser.run(&self.axe, &[]).await?;
        for width in WIDTHS {
            for theme in Theme::ALL {
                self.browser.look(theme, width).await?;
                let place = format!("{name}, {} {width} px", theme.as_str());
                let violations = self.browser.client().execute_async(AXE, Vec::new()).await?;
                for text in texts(&violations) {
                    self.find(format!("{place}: {text}"));
                }
                let wide = texts(&self.browser.run(WIDE, &[]).await?);
                if !wide.is_empty() {
                    self.find(format!("{place}: can be scrolled sideways: {}", wide.join(", ")));
                }
                self.browser.picture(&format!("{name}-{}-{width}", theme.as_str())).await?;
            }
        }
        self.quiet(name).await?;
        // For people with a wide screen, as it was.
        self.browser.look(Theme::Light, WIDTHS[0]).await
    }

    /// Reads the logs: nothing in the console from warnings up, no refusal of the content policy, no request to elsewhere.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn quiet(&mut self, name: &str) -> Result<()> {
        for entry in self.browser.log("browser").await? {
            let text = entry["message"].as_str().unwrap_or_default();
            // What goes wrong on another site's pages is that site's.
            let foreign = self.origins[1..].iter().any(|origin| text.starts_with(origin.as_str()));
            if matches!(entry["level"].as_str(), Some("WARNING" | "SEVERE")) && !foreign {
                self.find(format!("{name}: console: {text}"));
            }
        }
        for entry in self.browser.log("performance").await? {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())?;
            let (method, of) = (&event["message"]["method"], &event["message"]["params"]);
            // The browser's own start page is loaded once, before the first page of the test.
            if of["documentURL"].as_str().is_some_and(|page| page.starts_with("chrome:")) {
                continue;
            }
            let address = match method.as_str() {
                Some("Network.requestWillBeSent") => of["request"]["url"].as_str(),
                Some("Network.webSocketCreated") => of["url"].as_str(),
                _ => None,
            };
            if let Some(address) = address.filter(|address| !self.is_ours(address)) {
                self.find(format!("{name}: a request left the origin: {address}"));
            }
        }
        Ok(())
    }

    fn is_ours(&self, address: &str) -> bool {
        let origin = url::Url::parse(address).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        address.starts_with("data:image/") || self.origins.contains(&origin)
    }

    /// Forgets findings with this text: the page was meant to be refused, and the console says so.
    pub fn forgive(&mut self, text: &str) {
        self.found.retain(|found| !found.contains(text));
    }

    /// What was found, and at how many pages was looked.
    #[must_use]
    pub fn end(self) -> (Vec<String>, usize) {
        (self.found, self.seen)
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|one| one.as_str().map_or_else(|| json!(one).to_string(), str::to_owned)).collect()
}
