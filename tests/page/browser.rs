//! A page in headless Chromium.

use super::devtools::Tab;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Told before the page's own scripts, so that no error is missed.
const WATCH: &str = "<script>const errors = []; \
    addEventListener('error', e => errors.push(e.message)); \
    addEventListener('unhandledrejection', e => errors.push(String(e.reason))); \
    addEventListener('securitypolicyviolation', e => errors.push('loads ' + e.blockedURI)); \
    console.error = console.warn = (...words) => errors.push(words.join(' '));</script>";

/// What the page had from elsewhere.
const LOADED: &str = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))";

/// Runs a script behind those of a page, an expression of JavaScript that may wait, and gives its value.
///
/// # Panics
/// If the page or the script has an error, or the page loads anything.
pub fn evaluate<T: DeserializeOwned>(page: &str, script: &str) -> T {
    let mut tab = Tab::open(&page.replacen("<head>", &format!("<head>{WATCH}"), 1), 800, "light");
    let value = tab.evaluate(&format!("(async () => await ({script}))()"));
    assert_eq!(tab.evaluate("errors"), json!([]), "errors in the console");
    assert_eq!(tab.evaluate(LOADED), json!([]), "loaded from outside");
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}
