//! Which elements of a sample belong together, where a layer makes them sum to 1 or normalises them.

use super::window::flat_error;
use super::*;

const WORDS: &[&str] = &["channels", "depth", "height", "width", "positions", "all"];

pub(super) const OVER: ParamDecl = ParamDecl::named(
    "over",
    Kind::Word(WORDS),
    "channels",
    "what belongs together: the `channels` of each position, a line along `width` (the last dimension), `height` or \
     `depth` of each channel, all of its `positions`, or `all` of a sample",
);

/// The elements that belong together, for each of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    Channels,
    /// The third dimension from the end.
    Depth,
    /// The last dimension but one.
    Height,
    /// The last dimension.
    Width,
    /// All spatial dimensions.
    Positions,
    All,
}

/// A sample as `[outer, count, inner]`, row-major, of which the elements along `count` belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Runs {
    pub outer: usize,
    pub count: usize,
    pub inner: usize,
}

impl Over {
    /// In the order in which one is preferred where several are the same.
    pub const ALL: [Over; 6] = [Over::Channels, Over::Width, Over::Height, Over::Depth, Over::Positions, Over::All];

    pub(super) fn of(args: &Args) -> Over {
        let word = args.word("over");
        let over = Over::ALL.into_iter().find(|over| over.word() == word);
        over.unwrap_or_else(|| unreachable!("{word}"))
    }

    fn word(self) -> &'static str {
        match self {
            Over::Channels => "channels",
            Over::Depth => "depth",
            Over::Height => "height",
            Over::Width => "width",
            Over::Positions => "positions",
            Over::All => "all",
        }
    }

    /// The argument as it is written; none where it is the default.
    pub(super) fn text(self) -> Option<String> {
        (self != Over::Channels).then(|| format!("over {}", self.word()))
    }

    /// The dimensions of a sample that belong together, 0 being the channels.
    ///
    /// # Errors
    /// If the sample has them not.
    pub fn range(self, dims: &[usize]) -> Result<Range<usize>, ShapeError> {
        let rank = dims.len();
        let from_end = |back: usize| match rank.checked_sub(back).filter(|&dim| dim > 0) {
            Some(dim) => Ok(dim..dim + 1),
            None if rank == 1 => Err(flat_error()),
            None => {
                let message = format!("an input of {} spatial dimensions has no {}", rank - 1, self.word());
                Err(ShapeError::new("E0301", message).param("over"))
            }
        };
        match self {
            Over::Channels => Ok(0..1),
            Over::Depth => from_end(3),
            Over::Height => from_end(2),
            Over::Width => from_end(1),
            Over::Positions => from_end(1).map(|last| 1..last.end),
            Over::All => Ok(0..rank),
        }
    }

    /// # Panics
    /// Where [`Over::range`] fails.
    pub fn runs(self, dims: &[usize]) -> Runs {
        let range = self.range(dims).expect("the shape rule asked");
        let product = |dims: &[usize]| dims.iter().product();
        let [outer, count, inner] = [&dims[..range.start], &dims[range.clone()], &dims[range.end..]].map(product);
        Runs { outer, count, inner }
    }
}

impl Runs {
    /// Applies `f` to the elements of every sample that belong together, and the number of the outer part that they are of.
    pub(super) fn map(self, x: &Tensor, f: impl Fn(usize, &[f32]) -> Vec<f32>) -> Tensor {
        let mut y = x.clone();
        let Runs { count, inner, .. } = self;
        for (index, part) in y.data_mut().chunks_mut(count * inner).enumerate() {
            for first in 0..inner {
                let run: Vec<f32> = part[first..].iter().copied().step_by(inner).collect();
                let mapped = f(index % self.outer, &run);
                part[first..].iter_mut().step_by(inner).zip(mapped).for_each(|(to, value)| *to = value);
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_sample() {
        let of = |over: Over| over.runs(&[3, 4, 5, 6]);
        let runs = |outer, count, inner| Runs { outer, count, inner };
        assert_eq!(of(Over::Channels), runs(1, 3, 120));
        assert_eq!(of(Over::Depth), runs(3, 4, 30));
        assert_eq!(of(Over::Height), runs(12, 5, 6));
        assert_eq!(of(Over::Width), runs(60, 6, 1));
        assert_eq!(of(Over::Positions), runs(3, 120, 1));
        assert_eq!(of(Over::All), runs(1, 360, 1));
        assert_eq!(Over::Positions.runs(&[2, 7]), Over::Width.runs(&[2, 7]));
        assert_eq!((Over::Positions.range(&[5]).unwrap_err().code, Over::All.range(&[5])), ("E0301", Ok(0..1)));
        assert_eq!(Over::Height.range(&[5, 5]).unwrap_err().message, "an input of 1 spatial dimensions has no height");
    }

    #[test]
    fn runs_are_mapped_in_their_order() {
        let x = Tensor::new([2, 2, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let sums = |over: Over| {
            let sum = |run: &[f32]| {
                run.iter()
                    .scan(0.0, |sum, x| {
                        *sum += x;
                        Some(*sum)
                    })
                    .collect()
            };
            over.runs(&[2, 2]).map(&x, |_, run| sum(run)).into_data()
        };
        assert_eq!(sums(Over::Channels), [1.0, 2.0, 4.0, 6.0, 5.0, 6.0, 12.0, 14.0]);
        assert_eq!(sums(Over::Width), [1.0, 3.0, 3.0, 7.0, 5.0, 11.0, 7.0, 15.0]);
        let numbers = |outer: usize, run: &[f32]| vec![outer as f32; run.len()];
        assert_eq!(Over::Width.runs(&[2, 2]).map(&x, numbers).into_data(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    }
}
