//! Why a kernel of a family is not taken.

use std::fmt;

/// What speaks against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The family does no such layers.
    Unfit(String),
    /// It might, but not this one, or it would be slower.
    Unwise(String),
}

impl Why {
    pub fn unfit(why: impl Into<String>) -> Why {
        Why::Unfit(why.into())
    }
}

impl From<String> for Why {
    fn from(why: String) -> Why {
        Why::Unwise(why)
    }
}

impl From<&str> for Why {
    fn from(why: &str) -> Why {
        Why::Unwise(why.into())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Why::Unfit(why) | Why::Unwise(why)) = self;
        f.write_str(why)
    }
}

/// A family that would have been preferred, and what spoke against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub family: &'static str,
    pub why: Why,
}

impl Refusal {
    /// Whether there was a choice.
    pub fn is_choice(&self) -> bool {
        matches!(self.why, Why::Unwise(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.family, self.why)
    }
}
