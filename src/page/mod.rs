//! Pages that need nothing else: no network, no other file.

mod base64;
mod network;
mod picture;
mod sandbox;
mod tree;
mod unit;
mod values;

pub use network::Network;
pub use picture::Shown;
pub use sandbox::Sandbox;
pub use values::{Numbers, Values};

use crate::analysis::draw::Kind;
use serde::Serialize;
use std::fmt::Write;

/// A page in the making. What it shows, scripts make of its data.
pub struct Page<'a> {
    pub title: &'a str,
    /// HTML.
    pub body: &'a str,
    /// CSS beside that of all pages.
    pub style: &'a str,
    /// Beside those of all pages.
    pub scripts: &'a [&'a str],
    /// By their names, which scripts look for.
    pub data: &'a [(&'a str, String)],
}

/// Body, style and scripts of the page of a network.
pub const SHOW: (&str, &str, &[&str]) = (
    include_str!("show.html"),
    include_str!("show.css"),
    &[
        include_str!("graph.js"),
        include_str!("roofline.js"),
        include_str!("show.js"),
        include_str!("numbers.js"),
        include_str!("field.js"),
        include_str!("maps.js"),
        include_str!("sum.js"),
        include_str!("sandbox.js"),
        include_str!("times.js"),
        include_str!("start.js"),
    ],
);

/// The same of measurements.
pub const BENCH: (&str, &str, &[&str]) = (
    include_str!("bench.html"),
    concat!(include_str!("report.css"), include_str!("bench.css")),
    &[include_str!("graph.js"), include_str!("roofline.js"), include_str!("bench.js")],
);

/// The same of what quantising did.
pub const QUANTISED: (&str, &str, &[&str]) = (
    include_str!("quantised.html"),
    concat!(include_str!("report.css"), include_str!("quantised.css")),
    &[include_str!("quantised.js")],
);

const STYLE: &str = include_str!("style.css");
const SCRIPTS: &[&str] = &[include_str!("base.js")];

/// Nothing is loaded, nothing is sent.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

impl Page<'_> {
    /// The file.
    pub fn to_html(&self) -> String {
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n<title>{}</title>\n\
             <style>\n{STYLE}{}{}</style>\n</head>\n<body>\n{}",
            escape(self.title),
            kinds(),
            self.style,
            self.body
        );
        for (name, json) in self.data {
            let _ = writeln!(html, "<script id=\"data-{name}\" type=\"application/json\">{json}</script>");
        }
        let scripts = [SCRIPTS, self.scripts].concat();
        let _ = write!(html, "<script>\n\"use strict\";\n{}</script>\n</body>\n</html>\n", scripts.concat());
        html
    }
}

/// JSON in which no text can end the script element that holds it.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and finite numbers are JSON").replace('<', "\\u003c")
}

/// The colours of boxes by what they stand for.
fn kinds() -> String {
    Kind::ALL.iter().fold(String::new(), |mut css, kind| {
        let _ = writeln!(css, ".{} {{ --kind: {}; --kind-dark: {}; }}", kind.name(), kind.colour(), kind.dark());
        css
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
