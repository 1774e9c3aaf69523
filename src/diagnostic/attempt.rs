//! What was made of a text although something in it is wrong.

use super::Diagnostic;

/// What could be made, and what is wrong with what it was made of.
#[derive(Clone, Debug, Default)]
pub struct Attempt<T> {
    pub made: T,
    /// Where there are none, it is whole.
    pub errors: Vec<Diagnostic>,
}

impl<T> Attempt<T> {
    /// What was made, if nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn complete(self) -> Result<T, Vec<Diagnostic>> {
        if self.errors.is_empty() { Ok(self.made) } else { Err(self.errors) }
    }
}
