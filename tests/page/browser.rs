//! A page in headless Chromium.

use serde::de::DeserializeOwned;
use std::process::Command;

/// Told before the page's own scripts, so that no error is missed.
const WATCH: &str = "<script>const errors = []; \
    addEventListener('error', e => errors.push(e.message)); \
    addEventListener('unhandledrejection', e => errors.push(String(e.reason))); \
    addEventListener('securitypolicyviolation', e => errors.push('loads ' + e.blockedURI)); \
    console.error = console.warn = (...words) => errors.push(words.join(' '));</script>";

/// Runs a script behind those of a page, an expression of JavaScript that may wait, and gives its value.
///
/// # Panics
/// If the page or the script has an error, or the page loads anything.
pub fn evaluate<T: DeserializeOwned>(page: &str, script: &str) -> T {
    let tell = format!(
        "<script>(async () => {{ let value = null; try {{ value = await ({script}); }} catch (e) {{ errors.push(String(e)); }} \
         const loaded = performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:')); \
         const told = document.createElement('pre'); told.id = 'told'; \
         told.textContent = encodeURIComponent(JSON.stringify({{ errors, loaded, value }})); \
         document.body.append(told); }})()</script></body>"
    );
    let page = page.replacen("<head>", &format!("<head>{WATCH}"), 1).replacen("</body>", &tell, 1);
    let told = told(&page);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["errors"], serde_json::json!([]), "errors in the console");
    assert_eq!(told["loaded"], serde_json::json!([]), "loaded from outside");
    serde_json::from_value(told["value"].clone()).unwrap_or_else(|error| panic!("{error}: {}", told["value"]))
}

fn told(page: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    std::fs::write(&path, page).unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let start = dom.find("<pre id=\"told\">").unwrap_or_else(|| panic!("the script did not end: {dom}"));
    decoded(dom[start..].trim_start_matches("<pre id=\"told\">").split('<').next().unwrap())
}

/// Of `encodeURIComponent`.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
