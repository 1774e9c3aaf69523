//! The model language: [`syntax`] makes a tree of a text, [`build`] a checked graph of the tree.

pub mod build;
pub mod forms;
pub mod reference;
pub mod syntax;
