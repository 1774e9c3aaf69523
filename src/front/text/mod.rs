//! The model language: [`syntax`] makes a tree of a text, [`build`] a checked graph of the tree, and [`mod@write`] a text of a
//! graph.

pub mod build;
pub mod forms;
pub mod names;
pub mod places;
pub mod reference;
pub mod stop;
pub mod syntax;
pub mod write;
