//! Takes some positions of each dimension, at equal distances.

use super::window::{grid, per_dim_text, slide, spread, unravel};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "subsample",
    doc: "Every s-th position of each spatial dimension, from position a on: y[i] = x[a + i * s], as x[..., a::s] in \
          Python. Four of them in a `concat` are YOLO's Focus.",
    params: &[
        ParamDecl::required("step", Kind::PerDim, "distance of the positions in all dimensions, or `2x1`"),
        ParamDecl::named("at", Kind::Counts, "0", "the first position in all dimensions, or in each: `(0, 1)`"),
    ],
};

/// `subsample 2, at (0, 1)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsample {
    /// One for each spatial dimension, or a single one for all.
    pub step: Vec<usize>,
    /// The same.
    pub at: Vec<usize>,
}

impl Subsample {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(Subsample { step: args.dims("step"), at: args.dims("at") }.into()) }];

    /// Distance and first position for each of `rank` dimensions.
    ///
    /// # Errors
    /// `E0301` if there are numbers for another rank.
    pub fn per_dim(&self, rank: usize) -> Result<[Vec<usize>; 2], ShapeError> {
        let step = spread(&self.step, rank).map_err(|error| error.param("step"))?;
        Ok([step, spread(&self.at, rank).map_err(|error| error.param("at"))?])
    }
}

impl Layer for Subsample {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        self.step.iter().try_for_each(|&step| check_size("a step", step))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let [step, at] = self.per_dim(inputs[0].spatial().len())?;
        let mut dims = vec![inputs[0].channels()];
        for ((size, step), at) in inputs[0].spatial().iter().zip(step).zip(at) {
            if at >= *size {
                let message = format!("from position {at} on, of {size} positions");
                return Err(ShapeError::new("E0307", message).param("at").help("the first position is 0"));
            }
            dims.push((size - at).div_ceil(step));
        }
        Ok(inputs[0].with_dims(dims))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let [step, at] = self.per_dim(x.spatial().len()).expect("checked by the shape rule");
        let sizes = x.spatial().iter().zip(&step).zip(&at);
        let out: Vec<usize> = sizes.map(|((size, step), at)| (size - at).div_ceil(*step)).collect();
        let source = |p| {
            let places = unravel(p, &out).into_iter().enumerate().map(|(d, i)| vec![at[d] + i * step[d]]);
            (grid(x.spatial(), &places.collect::<Vec<_>>()), ())
        };
        slide(x, &out, source, |values, ()| values[0])
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        match self.shape(inputs) {
            Ok(ty) if ty == *inputs[0] => Lowering::Identity,
            _ => Lowering::Keep,
        }
    }
}

impl fmt::Display for Subsample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subsample {}", per_dim_text(&self.step))?;
        match &self.at[..] {
            at if at.iter().all(|&at| at == 0) => Ok(()),
            [at] => write!(f, ", at {at}"),
            at => {
                let at: Vec<String> = at.iter().map(usize::to_string).collect();
                write!(f, ", at ({})", at.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn subsample<const R: usize>(step: [usize; R], at: &[usize]) -> Op {
        make("subsample", &[("step", dims(step)), ("at", ArgValue::Dims(at.to_vec()))])
    }

    #[test]
    fn takes_positions_at_equal_distances() {
        let op = subsample([2, 3], &[1, 0]);
        assert_eq!(text(&op), "subsample 2x3, at (1, 0)");
        let x = Tensor::new([1, 2, 3, 4], (0..24).map(|v| v as f32).collect());
        let y = eval(&op, &[&x], &[]);
        assert_eq!((y.shape(), y.data()), (&[1, 2, 1, 2][..], &[4.0, 7.0, 16.0, 19.0][..]));
    }

    #[test]
    fn defaults() {
        let op = make("subsample", &[("step", dims([2]))]);
        assert_eq!((text(&op), op), ("subsample 2".into(), subsample([2], &[0])));
        assert_eq!(text(&subsample([2], &[1])), "subsample 2, at 1");
        assert_eq!(lower(&subsample([1], &[0]), &[3, 4]), Lowering::Identity);
        assert_eq!(lower(&subsample([1], &[1]), &[3, 4]), Lowering::Keep);
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&subsample([2], &[0]), &[&[3, 5, 6]]), Ok(vec![3, 3, 3]));
        assert_eq!(shape(&subsample([2], &[1]), &[&[3, 5, 6]]), Ok(vec![3, 2, 3]));
        assert_eq!(shape(&subsample([7], &[4]), &[&[3, 5]]), Ok(vec![3, 1]));
        assert_eq!(shape(&subsample([2], &[5]), &[&[3, 5]]), Err("E0307"));
        assert_eq!(shape(&subsample([2], &[0, 0]), &[&[3, 5]]), Err("E0301"));
        assert_eq!(shape(&subsample([2], &[0]), &[&[3]]), Err("E0301"));
    }
}
