//! Icons as inline SVG: drawn for 16 px, coloured by `currentColor`, hidden from screen readers because a word always stands beside them.

use super::ui::Markup;

/// The drawing inside of a 16 by 16 box; an unknown name gives an empty box, so that a page never fails over an icon.
fn drawing(name: &str) -> &'static str {
    match name {
        // States: each has a shape of its own, so that none is told by colour alone.
        "queued" => r#"<circle cx="8" cy="8" r="5.25" fill="none" stroke="currentColor" stroke-width="1.5"/>"#,
        "running" => {
            r#"<circle cx="8" cy="8" r="5.25" fill="none" stroke="currentColor" stroke-width="1.5"/><path class="turning" d="M8 2.75a5.25 5.25 0 0 1 0 10.5z" fill="currentColor"/>"#
        }
        "success" => r#"<circle cx="8" cy="8" r="6" fill="currentColor"/>"#,
        "failed" => r#"<path d="M3.5 3.5l9 9m0-9l-9 9" stroke="currentColor" stroke-width="2.25" stroke-linecap="round"/>"#,
        "cancelled" => {
            r#"<circle cx="8" cy="8" r="5.25" fill="none" stroke="currentColor" stroke-width="1.5"/><path d="M4.3 11.7l7.4-7.4" stroke="currentColor" stroke-width="1.5"/>"#
        }
        "attention" => r#"<path d="M8 2l6.5 11.5h-13z" fill="currentColor" stroke="currentColor" stroke-linejoin="round"/>"#,
        // The plug in its three states.
        "plug-linked" => {
            r#"<path d="M5 1.5v3m6-3v3" stroke="currentColor" stroke-width="1.75" stroke-linecap="round"/><path d="M3 5h10v2.2a5 5 0 0 1-4 4.9v2.4H7v-2.4a5 5 0 0 1-4-4.9z" fill="currentColor"/>"#
        }
        "plug-hollow" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"><path d="M5.25 1.5V5m5.5-3.5V5" stroke-linecap="round"/><path d="M3.25 5h9.5v2.2a4.75 4.75 0 0 1-9.5 0z"/><path d="M8 12v2.75" stroke-linecap="round"/></g>"#
        }
        "plug-slash" => {
            r#"<path d="M5 1.5v3m6-3v3" stroke="currentColor" stroke-width="1.75" stroke-linecap="round"/><path d="M3 5h10v2.2a5 5 0 0 1-4 4.9v2.4H7v-2.4a5 5 0 0 1-4-4.9z" fill="currentColor"/><path class="plug-slash-gap" d="M1.5 2.5l13 12" stroke-width="4"/><path d="M1.5 2.5l13 12" stroke="currentColor" stroke-width="1.75" stroke-linecap="round"/>"#
        }
        "github" => {
            r#"<path fill="currentColor" d="M8 .2a8 8 0 0 0-2.53 15.59c.4.07.55-.17.55-.38v-1.33c-2.23.48-2.7-1.07-2.7-1.07-.36-.93-.89-1.17-.89-1.17-.73-.5.05-.49.05-.49.8.06 1.23.83 1.23.83.72 1.22 1.88.87 2.33.66.07-.52.28-.87.51-1.07-1.78-.2-3.65-.89-3.65-3.95 0-.88.31-1.59.82-2.15-.08-.2-.36-1.02.08-2.12 0 0 .67-.22 2.2.82a7.6 7.6 0 0 1 4 0c1.53-1.04 2.2-.82 2.2-.82.44 1.1.16 1.92.08 2.12.51.56.82 1.27.82 2.15 0 3.07-1.87 3.75-3.66 3.95.29.25.54.73.54 1.48v2.19c0 .21.15.46.55.38A8 8 0 0 0 8 .2z"/>"#
        }
        // A bucket that is full.
        "bitbucket" => {
            r#"<path d="M1.5 2.5h13l-1.900 11h-9.200z" fill="none" stroke="currentColor" stroke-width="1.500" stroke-linejoin="round"/><path d="M4.300 6h7.400l-.8 4.500H5.100z" fill="currentColor"/>"#
        }
        // A cup of tea.
        "gitea" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.500" stroke-linecap="round" stroke-linejoin="round"><path d="M2 5.500h9v4.250a3.750 3.750 0 0 1-3.750 3.750h-1.500A3.750 3.750 0 0 1 2 9.750z"/><path d="M11 6.500h1.250a2.250 2.250 0 0 1 0 4.500H11M5 1.750v1.500M8 1.750v1.500"/></g>"#
        }
        // Things.
        "repositories" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round"><path d="M8 1.5l6 3v7l-6 3-6-3v-7z"/><path d="M2 4.5l6 3 6-3M8 7.5v7"/></g>"#
        }
        "builds" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"><path d="M2.5 4h6M5 8h8.5M2.5 12h9"/></g>"#
        }
        "settings" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"><path d="M2 4.5h5m4 0h3M2 11.5h3m4 0h5"/><circle cx="9" cy="4.5" r="1.8"/><circle cx="7" cy="11.5" r="1.8"/></g>"#
        }
        "nodes" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round"><rect x="2" y="2.5" width="12" height="4.5" rx="1"/><rect x="2" y="9" width="12" height="4.5" rx="1"/><path d="M4.5 4.75h.01M4.5 11.25h.01" stroke-width="1.9" stroke-linecap="round"/></g>"#
        }
        "search" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"><circle cx="7" cy="7" r="4.5"/><path d="M10.5 10.5L14 14"/></g>"#
        }
        "caret" => {
            r#"<path d="M4.5 6.5L8 10l3.5-3.5" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"/>"#
        }
        "copy" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round"><rect x="5.5" y="5.5" width="8" height="8.5" rx="1.5"/><path d="M10.5 5.5V3.5A1.5 1.5 0 0 0 9 2H4a1.5 1.5 0 0 0-1.5 1.5V9A1.5 1.5 0 0 0 4 10.5h1.5"/></g>"#
        }
        "lock" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4"><rect x="3" y="7" width="10" height="7" rx="1.5"/><path d="M5.25 7V5a2.75 2.75 0 0 1 5.5 0v2"/></g>"#
        }
        "globe" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.3"><circle cx="8" cy="8" r="6.2"/><path d="M1.8 8h12.4M8 1.8c2.2 2.1 2.9 4.1 2.9 6.2S10.200 12.100 8 14.200C5.800 12.100 5.100 10.100 5.100 8S5.800 3.900 8 1.800z"/></g>"#
        }
        "branch" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4"><circle cx="4.500" cy="3.500" r="1.700"/><circle cx="4.500" cy="12.500" r="1.700"/><circle cx="11.500" cy="5" r="1.700"/><path d="M4.500 5.200v5.600M11.500 6.700c0 2.600-7 1.600-7 4.100"/></g>"#
        }
        "tag" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round"><path d="M2 2.500h5.500L14 9l-5 5-6.500-6.500z"/><path d="M5 5.500h.01" stroke-width="2" stroke-linecap="round"/></g>"#
        }
        "commit" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.5"><circle cx="8" cy="8" r="2.750"/><path d="M1 8h4.200M10.800 8H15"/></g>"#
        }
        "plus" => r#"<path d="M8 3v10M3 8h10" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"/>"#,
        "external" => {
            r#"<path d="M9 2.500h4.500V7M13.200 2.800L7.500 8.500M6.500 3.500h-3v9h9v-3" fill="none" stroke="currentColor" stroke-width="1.400" stroke-linejoin="round"/>"#
        }
        "clock" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.400" stroke-linecap="round"><circle cx="8" cy="8" r="6"/><path d="M8 4.500V8l2.500 1.500"/></g>"#
        }
        "arrow" => {
            r#"<path d="M3 8h9.500M9 4.500L12.500 8 9 11.500" fill="none" stroke="currentColor" stroke-width="1.500" stroke-linecap="round" stroke-linejoin="round"/>"#
        }
        "key" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.400"><circle cx="5" cy="11" r="3"/><path d="M7.200 8.800L13.500 2.500M11 5l2 2"/></g>"#
        }
        "teams" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round"><circle cx="6" cy="5.500" r="2.500"/><path d="M1.500 13.500c0-2.700 1.900-4.300 4.500-4.300s4.500 1.600 4.500 4.300M10.800 3.200a2.400 2.400 0 0 1 0 4.600M12 9.700c1.600.5 2.500 1.800 2.500 3.800"/></g>"#
        }
        "members" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round"><circle cx="8" cy="5" r="2.750"/><path d="M2.500 14c0-3 2.300-4.700 5.500-4.700s5.500 1.700 5.500 4.700"/></g>"#
        }
        "shield" => {
            r#"<path d="M8 1.500l5.500 2v4.200c0 3.200-2.200 5.600-5.500 6.800-3.300-1.200-5.500-3.600-5.500-6.800V3.500z" fill="none" stroke="currentColor" stroke-width="1.400" stroke-linejoin="round"/>"#
        }
        "download" => {
            r#"<path d="M8 2v8M4.500 7L8 10.500 11.500 7M2.500 13.500h11" fill="none" stroke="currentColor" stroke-width="1.500" stroke-linecap="round" stroke-linejoin="round"/>"#
        }
        "mark" => {
            r#"<g fill="none" stroke="currentColor" stroke-width="1.700" stroke-linecap="round" stroke-linejoin="round"><path d="M1.500 13.500h13"/><path d="M2.500 10.500L13.500 5v5.500"/><path d="M5.500 6.500v-4h3.500v2.200"/></g>"#
        }
        _ => "",
    }
}

/// The icon of that name.
#[must_use]
pub fn icon(name: &str) -> Markup {
    Markup::trusted(format!(
        r#"<svg class="icon icon-{}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">{}</svg>"#,
        if drawing(name).is_empty() { "none" } else { name },
        drawing(name)
    ))
}
