//! Pages in a browser: what they show is what the library and the interpreter say.

mod access;
mod browser;
mod data;
mod devtools;
mod numbers;
mod parts;
mod quantised;
mod sandbox;

use crate::common::lab::Lab;

/// A page that was made with these arguments, and its text.
fn show(lab: &Lab, args: &[&str]) -> String {
    lab.run(&[&["show", "-o", &lab.path("page.html")], args].concat(), 0);
    std::fs::read_to_string(lab.folder().join("page.html")).unwrap()
}
