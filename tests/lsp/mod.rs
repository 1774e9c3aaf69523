//! The language server: every request, what it says while texts are wrong, and that it never falls behind.

mod editor;
mod files;
mod grammar;
mod neovim;
mod random;
mod requests;
mod session;
mod tree_sitter;
mod typing;
mod zoo;
