//! From text to syntax tree and back: the grammar is `grammar/svertka.pest`.

pub mod ast;
mod expected;
pub mod format;
mod kept;
mod letters;
pub mod parser;
mod scan;
mod spans;

pub use kept::Kept;
pub use parser::is_keyword;
pub use scan::{ITEM_KEYWORDS, MAX_NESTING};
