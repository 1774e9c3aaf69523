//! Enlargement by whole factors.

use super::window::{per_dim_text, spread};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "upsample",
    doc: "Enlarges each spatial dimension by a whole factor s (as in PyTorch). `nearest`: y[i] = x[floor(i / s)]. \
          `bilinear`: linear interpolation in each dimension at (i + 0.5) / s - 0.5, not below 0; with \
          `align_corners` at i * (in - 1) / (out - 1).",
    params: &[
        ParamDecl::required("scale", Kind::PerDim, "factor for all dimensions, or `2x1`"),
        ParamDecl::positional("mode", Kind::Word(&["nearest", "bilinear"]), "nearest", "interpolation"),
        ParamDecl::named(
            "align_corners",
            Kind::Bool,
            "false",
            "the corners of input and output coincide; for `bilinear` only",
        ),
    ],
};

/// How the values between the given ones are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    Nearest,
    /// Linear in each dimension.
    Bilinear {
        align_corners: bool,
    },
}

/// `upsample 2, bilinear`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upsample {
    /// One for each spatial dimension, or a single one for all.
    pub scale: Vec<usize>,
    pub mode: Interpolation,
}

impl Upsample {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| Upsample::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<Upsample, ArgError> {
        let mode = match (args.word("mode"), args.flag("align_corners")) {
            ("bilinear", align_corners) => Interpolation::Bilinear { align_corners },
            (_, false) => Interpolation::Nearest,
            (_, true) => {
                let error = ArgError::new("align_corners", "`nearest` does not interpolate");
                let error = error.help("write `bilinear, align_corners`, or leave `align_corners` out");
                let bilinear = [Change::Argument("mode", "bilinear"), Change::Word("mode", "bilinear")];
                return Err(error.changes([&bilinear[..], &[Change::Without("align_corners")]].concat()));
            }
        };
        Ok(Upsample { scale: args.dims("scale"), mode })
    }
}

impl Upsample {
    /// The same by the layer for all sizes, whose factors here are whole.
    fn resize(&self) -> Resize {
        let (filter, coordinates) = match self.mode {
            Interpolation::Nearest => (Filter::Nearest(Rounding::Floor), Coordinates::Asymmetric),
            Interpolation::Bilinear { align_corners: false } => (Filter::Linear, Coordinates::HalfPixel),
            Interpolation::Bilinear { align_corners: true } => (Filter::Linear, Coordinates::AlignCorners),
        };
        let factors = self.scale.iter().map(|&scale| scale as f64).collect();
        Resize { extent: Extent::Scale(factors), filter, coordinates }
    }
}

impl Layer for Upsample {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        self.scale.iter().try_for_each(|&scale| check_size("a factor", scale))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let input = inputs[0];
        let scale = spread(&self.scale, input.spatial().len())?;
        let mut dims = vec![input.channels()];
        for (size, scale) in input.spatial().iter().zip(&scale) {
            dims.push(checked_product([size, scale], "a dimension").map_err(|error| error.param("scale"))?);
        }
        Ok(input.with_dims(dims))
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        self.resize().eval(inputs, params, accumulate)
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        self.resize().magnitude(inputs, params)
    }

    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        match self.scale.iter().all(|&scale| scale == 1) {
            true => Lowering::Identity,
            false => Lowering::As(self.resize().into()),
        }
    }
}

impl fmt::Display for Upsample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upsample {}", per_dim_text(&self.scale))?;
        match self.mode {
            Interpolation::Nearest => Ok(()),
            Interpolation::Bilinear { align_corners: false } => f.write_str(", bilinear"),
            Interpolation::Bilinear { align_corners: true } => f.write_str(", bilinear, align_corners"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn upsample<const R: usize>(scale: [usize; R], mode: &'static str, align_corners: bool) -> Op {
        let options = [("mode", ArgValue::Word(mode)), ("align_corners", ArgValue::Bool(align_corners))];
        make("upsample", &[&[("scale", dims(scale))], &options[..]].concat())
    }

    #[test]
    fn defaults() {
        let op = make("upsample", &[("scale", dims([2, 2]))]);
        assert_eq!(op, upsample([2, 2], "nearest", false));
        assert_eq!(text(&op), "upsample 2");
        assert_eq!(text(&upsample([2, 1], "bilinear", true)), "upsample 2x1, bilinear, align_corners");
    }

    #[test]
    fn nearest_repeats() {
        let x = Tensor::new([1, 1, 1, 2], vec![1.0, f32::INFINITY]);
        let y = eval(&upsample([2, 3], "nearest", false), &[&x], &[]);
        let row = [1.0, 1.0, 1.0, f32::INFINITY, f32::INFINITY, f32::INFINITY];
        assert_eq!((y.shape(), y.data()), (&[1, 1, 2, 6][..], [row, row].as_flattened()));
    }

    #[test]
    fn bilinear_has_half_pixel_centres() {
        let x = Tensor::new([1, 1, 2], vec![0.0, 4.0]);
        assert_close(eval(&upsample([2], "bilinear", false), &[&x], &[]).data(), &[0.0, 1.0, 3.0, 4.0]);
        assert_close(eval(&upsample([2], "bilinear", true), &[&x], &[]).data(), &[0.0, 4.0 / 3.0, 8.0 / 3.0, 4.0]);
    }

    #[test]
    fn bilinear_in_two_dimensions() {
        let x = Tensor::new([1, 1, 2, 2], vec![0.0, 4.0, 8.0, 12.0]);
        let y = eval(&upsample([2], "bilinear", false), &[&x], &[]);
        let rows = [[0.0, 1.0, 3.0, 4.0], [2.0, 3.0, 5.0, 6.0], [6.0, 7.0, 9.0, 10.0], [8.0, 9.0, 11.0, 12.0]];
        assert_close(y.data(), rows.as_flattened());
    }

    #[test]
    fn one_position_stays_constant() {
        let x = Tensor::new([1, 1, 1], vec![3.0]);
        for align_corners in [false, true] {
            assert_close(eval(&upsample([3], "bilinear", align_corners), &[&x], &[]).data(), &[3.0; 3]);
        }
    }

    #[test]
    fn shapes_and_arguments() {
        assert_eq!(shape(&upsample([2], "nearest", false), &[&[3, 4, 5]]), Ok(vec![3, 8, 10]));
        assert_eq!(shape(&upsample([2, 3], "nearest", false), &[&[3, 4]]), Err("E0301"));
        assert_eq!(shape(&upsample([2], "nearest", false), &[&[3]]), Err("E0301"));
        assert_eq!(shape(&upsample([usize::MAX], "nearest", false), &[&[3, 4]]), Err("E0303"));
        let error = try_make("upsample", &[("scale", dims([2])), ("align_corners", ArgValue::Bool(true))]).unwrap_err();
        assert_eq!(error.param, "align_corners");
        assert_eq!(lower(&upsample([1], "bilinear", false), &[3, 4]), Lowering::Identity);
    }
}
