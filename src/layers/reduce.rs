//! One number of all channels of a position, or of all positions of a channel.

use super::global_avgpool::{global_shape, map_planes};
use super::maxpool::larger;
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "reduce",
    doc: "The mean, sum, largest or smallest of the channels at each position, y[p] = mean over c of x[c, p], as one channel; \
          or of the positions of each channel, as one position. NaN is the largest and the smallest.",
    params: &[
        ParamDecl::required("how", Kind::Word(&["mean", "sum", "max", "min"]), "what is made of the numbers"),
        ParamDecl::named("over", Kind::Word(&["channels", "positions"]), "channels", "what becomes one"),
    ],
};

/// What is made of several numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
}

/// What a layer takes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduced {
    /// Of each position.
    Channels,
    /// Of each channel.
    Positions,
}

/// `reduce mean`, `reduce sum, over positions`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduce {
    pub how: Reduction,
    pub over: Reduced,
}

impl Reduction {
    const ALL: [(&'static str, Reduction); 4] =
        [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("max", Reduction::Max), ("min", Reduction::Min)];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, how)| *how == self).expect("all are there").0
    }

    fn of(self, values: &[f32], accumulate: Accumulate) -> f32 {
        match self {
            Reduction::Mean => (accumulate.sum(values) / values.len() as f64) as f32,
            Reduction::Sum => accumulate.sum(values) as f32,
            Reduction::Max => values.iter().copied().fold(f32::NEG_INFINITY, larger),
            Reduction::Min => -values.iter().map(|&value| -value).fold(f32::NEG_INFINITY, larger),
        }
    }
}

impl Reduce {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| Ok(Reduce::from_args(args).into()) }];

    fn from_args(args: &Args) -> Reduce {
        let how = Reduction::ALL.iter().find(|(word, _)| *word == args.word("how")).expect("one of the words").1;
        let over = if args.word("over") == "positions" { Reduced::Positions } else { Reduced::Channels };
        Reduce { how, over }
    }
}

impl Layer for Reduce {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        match self.over {
            Reduced::Channels => Ok(inputs[0].with_dims([&[1], inputs[0].spatial()].concat())),
            Reduced::Positions => global_shape(inputs[0]),
        }
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        match self.over {
            Reduced::Positions => map_planes(inputs[0], |plane| self.how.of(plane, accumulate)),
            Reduced::Channels => {
                let all = map_channels(inputs[0], |x| vec![self.how.of(x, accumulate); x.len()]);
                let first = (0..all.batch()).flat_map(|n| all.plane(n, 0).to_vec()).collect();
                Tensor::new([&[all.batch(), 1], all.spatial()].concat(), first)
            }
        }
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        match self.how {
            Reduction::Mean | Reduction::Sum => magnitude_of_sums(self, inputs, params),
            Reduction::Max | Reduction::Min => absolute(&self.eval(inputs, params, Accumulate::F64)),
        }
    }

    /// What a pooling does is one.
    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        match (self.over, self.how) {
            (Reduced::Positions, Reduction::Mean) => GlobalAvgPool.lower(inputs),
            (Reduced::Positions, Reduction::Max) => GlobalMaxPool.lower(inputs),
            _ => Lowering::Keep,
        }
    }

    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        match self.over {
            Reduced::Channels => None,
            Reduced::Positions => GlobalAvgPool.window(inputs),
        }
    }
}

impl fmt::Display for Reduce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", SPEC.keyword, self.how.word())?;
        if self.over == Reduced::Positions { f.write_str(", over positions") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn reduce(how: &'static str, over: &'static str) -> Op {
        make("reduce", &[("how", ArgValue::Word(how)), ("over", ArgValue::Word(over))])
    }

    #[test]
    fn channels_become_one() {
        let x = Tensor::new([1, 3, 2], vec![1.0, f32::NAN, 2.0, -4.0, 6.0, 8.0]);
        let of = |how| eval(&reduce(how, "channels"), &[&x], &[]).into_data();
        assert_close(&of("mean"), &[3.0, f32::NAN]);
        assert_close(&of("sum"), &[9.0, f32::NAN]);
        assert_close(&of("max"), &[6.0, f32::NAN]);
        assert_close(&of("min"), &[1.0, f32::NAN]);
        assert_eq!(shape(&reduce("min", "channels"), &[&[5, 7, 9]]), Ok(vec![1, 7, 9]));
        assert_eq!(shape(&reduce("min", "channels"), &[&[5]]), Ok(vec![1]));
    }

    #[test]
    fn positions_become_one() {
        let x = Tensor::new([1, 2, 2], vec![1.0, 2.0, -4.0, 8.0]);
        let of = |how| eval(&reduce(how, "positions"), &[&x], &[]).into_data();
        assert_eq!(of("mean"), [1.5, 2.0]);
        assert_eq!(of("sum"), [3.0, 4.0]);
        assert_eq!(of("max"), [2.0, 8.0]);
        assert_eq!(of("min"), [1.0, -4.0]);
        assert_eq!(shape(&reduce("sum", "positions"), &[&[5, 7, 9]]), Ok(vec![5, 1, 1]));
        assert_eq!(shape(&reduce("sum", "positions"), &[&[5]]), Err("E0301"));
    }

    #[test]
    fn texts() {
        assert_eq!(text(&reduce("mean", "channels")), "reduce mean");
        assert_eq!(text(&reduce("sum", "positions")), "reduce sum, over positions");
        let Lowering::As(pool) = lower(&reduce("mean", "positions"), &[2, 1, 3]) else { panic!("does not lower") };
        assert_eq!(text(&pool), "avgpool 1x3");
    }
}
