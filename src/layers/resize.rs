//! Another size by interpolation between positions.

use super::window::{grid, per_dim_text, slide, spread, unravel};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "resize",
    doc: "Gives each spatial dimension another size, by interpolation (as ONNX's Resize): to a size, or floor(scale * in). \
          Output position i is at x = (i + 0.5) / scale - 0.5 of the input (`half_pixel`); the same, but 0 where there is \
          one output (`pytorch_half_pixel`); i * (in - 1) / (out - 1) (`align_corners`); i / scale (`asymmetric`); or as \
          `half_pixel`, moved so that the middles meet (`half_pixel_symmetric`). `nearest` takes the position that x is \
          rounded to, `bilinear` interpolates in each dimension between two, `bicubic` between four (Keys 1981) with a \
          coefficient; positions beyond the border are those at the border.",
    params: &[
        ParamDecl::positional("size", Kind::PerDim, "", "size of the output, for all dimensions, or `14x7`"),
        ParamDecl::positional("mode", Kind::Word(&["nearest", "bilinear", "bicubic"]), "nearest", "interpolation"),
        ParamDecl::named("scale", Kind::Factors, "", "factor for all dimensions, or `(1.5, 2)`; instead of a size"),
        ParamDecl::named("coordinates", Kind::Word(&COORDINATES), "half_pixel", "where an output position is"),
        ParamDecl::named(
            "rounding",
            Kind::Word(&["floor", "ceil", "prefer_floor", "prefer_ceil"]),
            "prefer_floor",
            "of `nearest`; the last two round to the nearest, and differ in the middle",
        ),
        ParamDecl::named(
            "coefficient",
            Kind::Float,
            "0.75",
            "of `bicubic`: how steeply weights fall at a distance of 1",
        ),
    ],
};

const COORDINATES: [&str; 5] =
    ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"];

/// The size of the output.
#[derive(Clone, Debug, PartialEq)]
pub enum Extent {
    /// One for each spatial dimension, or a single one for all.
    Size(Vec<usize>),
    /// Factors, likewise.
    Scale(Vec<f64>),
}

/// How values between the given ones are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Filter {
    Nearest(Rounding),
    /// Linear in each dimension.
    Linear,
    /// Cubic in each dimension; at a distance of 1 the weights fall with this slope. ONNX and Keys have it below 0.
    Cubic(f64),
}

/// Which position is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Floor,
    Ceil,
    /// To the nearest; down from the middle.
    PreferFloor,
    /// To the nearest; up from the middle.
    PreferCeil,
}

/// Where in the input an output position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    HalfPixelSymmetric,
}

/// `resize 14x14, bilinear`
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    pub extent: Extent,
    pub filter: Filter,
    pub coordinates: Coordinates,
}

impl Resize {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| Resize::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<Resize, ArgError> {
        let extent = match (args.get("size"), args.get("scale")) {
            (Some(_), None) => Extent::Size(args.dims("size")),
            (None, Some(ArgValue::Factors(factors))) => Extent::Scale(factors.clone()),
            (None, _) => {
                return Err(ArgError::new("size", "there is neither a size nor a scale")
                    .help("write `resize 14x14` or `resize scale 0.5`")
                    .changes(["14x14", "scale 0.5"].map(Change::Example)));
            }
            (Some(_), Some(_)) => return Err(ArgError::new("scale", "there is a size already")),
        };
        let filter = match (args.word("mode"), args.word("rounding")) {
            ("bilinear", _) => Filter::Linear,
            ("bicubic", _) => Filter::Cubic(args.float("coefficient")),
            (_, "floor") => Filter::Nearest(Rounding::Floor),
            (_, "ceil") => Filter::Nearest(Rounding::Ceil),
            (_, "prefer_ceil") => Filter::Nearest(Rounding::PreferCeil),
            _ => Filter::Nearest(Rounding::PreferFloor),
        };
        let coordinates = match args.word("coordinates") {
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            _ => Coordinates::HalfPixel,
        };
        Ok(Resize { extent, filter, coordinates })
    }

    /// The size of the output of an input of spatial size `input`.
    ///
    /// # Errors
    /// `E0301` if there are numbers for another rank, `E0302` if nothing would be left, `E0303` if a size is too large.
    pub fn sizes(&self, input: &[usize]) -> Result<Vec<usize>, ShapeError> {
        let factors = match &self.extent {
            Extent::Size(sizes) => return spread(sizes, input.len()),
            Extent::Scale(factors) => spread(factors, input.len())?,
        };
        let scaled = |(&size, &factor): (&usize, &f64)| match (size as f64 * factor).floor() {
            size if size < 1.0 => {
                Err(ShapeError::new("E0302", format!("a factor of {factor:?} leaves nothing")).param("scale"))
            }
            size if size <= MAX_ELEMENTS as f64 => Ok(size as usize),
            _ => Err(ShapeError::new("E0303", format!("a size would be more than {MAX_ELEMENTS}")).param("scale")),
        };
        input.iter().zip(&factors).map(scaled).collect()
    }

    /// How many times as many positions a dimension of `input` positions has in the output, before that is rounded.
    fn factor(&self, dim: usize, input: usize, out: usize) -> f64 {
        match &self.extent {
            Extent::Size(_) => out as f64 / input as f64,
            Extent::Scale(factors) => factors[dim.min(factors.len() - 1)],
        }
    }

    /// Where output position `i` of dimension `dim` is in the input, of whose `input` positions `out` are made.
    pub fn position(&self, dim: usize, i: usize, input: usize, out: usize) -> f64 {
        let factor = self.factor(dim, input, out);
        let scaled = |at: f64| match self.extent {
            // Exact where the result is a whole number.
            Extent::Size(_) => at * input as f64 / out as f64,
            Extent::Scale(_) => at / factor,
        };
        let half_pixel = scaled(i as f64 + 0.5) - 0.5;
        match self.coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if out == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners => i as f64 * (input - 1) as f64 / (out - 1) as f64,
            Coordinates::Asymmetric => scaled(i as f64),
            Coordinates::HalfPixelSymmetric => {
                let whole = out as f64 / (factor * input as f64);
                input as f64 / 2.0 * (1.0 - whole) + half_pixel
            }
        }
    }

    /// The input positions that make up output position `i` of dimension `dim`, and their weights.
    pub fn sources(&self, dim: usize, i: usize, input: usize, out: usize) -> Vec<(usize, f32)> {
        let at = self.position(dim, i, input, out);
        let inside = |position: f64| position.clamp(0.0, (input - 1) as f64) as usize;
        match self.filter {
            Filter::Nearest(rounding) => vec![(inside(rounding.of(at)), 1.0)],
            Filter::Linear => {
                let at = at.clamp(0.0, (input - 1) as f64);
                let fraction = at - at.floor();
                vec![(inside(at.floor()), (1.0 - fraction) as f32), (inside(at.floor() + 1.0), fraction as f32)]
            }
            Filter::Cubic(coefficient) => (-1..3)
                .map(|tap| {
                    let position = at.floor() + f64::from(tap);
                    (inside(position), cubic(-coefficient, (at - position).abs()) as f32)
                })
                .collect(),
        }
    }

    /// The layer on an input, or the same with other weights.
    fn apply(&self, x: &Tensor, accumulate: Accumulate, weight: impl Fn(f32) -> f32) -> Tensor {
        let (input, dims) = (x.spatial(), 0..x.spatial().len());
        let out = self.sizes(input).expect("checked by the shape rule");
        let sources = |p| {
            let at = unravel(p, &out);
            let sources = dims.clone().map(|d| self.sources(d, at[d], input[d], out[d]));
            let (places, weights): (Vec<Vec<usize>>, Vec<Vec<f32>>) = sources.map(|s| s.into_iter().unzip()).unzip();
            (grid(input, &places), products(&weights))
        };
        slide(x, &out, sources, |values, weights| match self.filter {
            Filter::Nearest(_) => values[0],
            _ => {
                let weights: Vec<f32> = weights.iter().map(|&w| weight(w)).collect();
                accumulate.dot(0.0, values, &weights)
            }
        })
    }
}

impl Rounding {
    /// A position as a whole number.
    pub fn of(self, at: f64) -> f64 {
        match self {
            Rounding::Floor => at.floor(),
            Rounding::Ceil => at.ceil(),
            Rounding::PreferFloor => (at - 0.5).ceil(),
            Rounding::PreferCeil => (at + 0.5).floor(),
        }
    }
}

/// The weight of a value at a distance (Keys 1981, "Cubic convolution interpolation for digital image processing", equation
/// 4 with any coefficient).
fn cubic(a: f64, distance: f64) -> f64 {
    let d = distance;
    if d <= 1.0 { ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0 } else { ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a }
}

/// Products of one weight of each list, the last list fastest.
fn products(weights: &[Vec<f32>]) -> Vec<f32> {
    weights.iter().fold(vec![1.0], |products, weights| {
        products.iter().flat_map(|product| weights.iter().map(move |weight| product * weight)).collect()
    })
}

impl Layer for Resize {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        match &self.extent {
            Extent::Size(sizes) => sizes.iter().try_for_each(|&size| check_size("a size", size))?,
            Extent::Scale(factors) => {
                if let Some(factor) = factors.iter().find(|factor| !(**factor > 0.0 && factor.is_finite())) {
                    let message = format!("a factor is {factor:?}, and must be above 0");
                    return Err(ShapeError::new("E0216", message).param("scale"));
                }
            }
        }
        match self.filter {
            Filter::Cubic(coefficient) => check_finite("the coefficient", coefficient),
            _ => Ok(()),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let sizes = self.sizes(inputs[0].spatial())?;
        Ok(inputs[0].with_dims([vec![inputs[0].channels()], sizes].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        self.apply(inputs[0], accumulate, |weight| weight)
    }

    fn magnitude(&self, inputs: &[&Tensor], _params: &[&[f32]]) -> Tensor {
        self.apply(&absolute(inputs[0]), Accumulate::F64, f32::abs)
    }

    /// Of the same size, every position is its own.
    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        let spatial = inputs[0].spatial();
        let is_scaled = matches!(&self.extent, Extent::Scale(factors) if factors.iter().any(|&factor| factor != 1.0));
        match self.sizes(spatial) {
            Ok(sizes) if sizes == spatial && !is_scaled => Lowering::Identity,
            _ => Lowering::Keep,
        }
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.extent {
            Extent::Size(sizes) => write!(f, "resize {}", per_dim_text(sizes))?,
            Extent::Scale(factors) if factors.iter().all(|factor| *factor == factors[0]) => {
                write!(f, "resize scale {:?}", factors[0])?;
            }
            Extent::Scale(factors) => {
                let factors: Vec<String> = factors.iter().map(|factor| format!("{factor:?}")).collect();
                write!(f, "resize scale ({})", factors.join(", "))?;
            }
        }
        match self.filter {
            Filter::Nearest(Rounding::PreferFloor) => {}
            Filter::Nearest(Rounding::Floor) => f.write_str(", rounding floor")?,
            Filter::Nearest(Rounding::Ceil) => f.write_str(", rounding ceil")?,
            Filter::Nearest(Rounding::PreferCeil) => f.write_str(", rounding prefer_ceil")?,
            Filter::Linear => f.write_str(", bilinear")?,
            Filter::Cubic(0.75) => f.write_str(", bicubic")?,
            Filter::Cubic(coefficient) => write!(f, ", bicubic, coefficient = {coefficient:?}")?,
        }
        match self.coordinates {
            Coordinates::HalfPixel => Ok(()),
            Coordinates::PytorchHalfPixel => f.write_str(", coordinates pytorch_half_pixel"),
            Coordinates::AlignCorners => f.write_str(", coordinates align_corners"),
            Coordinates::Asymmetric => f.write_str(", coordinates asymmetric"),
            Coordinates::HalfPixelSymmetric => f.write_str(", coordinates half_pixel_symmetric"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn resize(extent: Extent, filter: Filter, coordinates: Coordinates) -> Op {
        Resize { extent, filter, coordinates }.into()
    }

    fn line(op: &Op, values: &[f32]) -> Vec<f32> {
        let x = Tensor::new([1, 1, values.len()], values.to_vec());
        eval(op, &[&x], &[]).data().to_vec()
    }

    #[test]
    fn defaults_and_texts() {
        let op = make("resize", &[("size", dims([3, 2]))]);
        let nearest = Filter::Nearest(Rounding::PreferFloor);
        assert_eq!(op, resize(Extent::Size(vec![3, 2]), nearest, Coordinates::HalfPixel));
        assert_eq!(text(&op), "resize 3x2");
        let scale = Extent::Scale(vec![1.5, 2.0]);
        let op = resize(scale, Filter::Cubic(0.5), Coordinates::AlignCorners);
        assert_eq!(text(&op), "resize scale (1.5, 2.0), bicubic, coefficient = 0.5, coordinates align_corners");
        let op = resize(Extent::Scale(vec![0.5]), Filter::Nearest(Rounding::Ceil), Coordinates::Asymmetric);
        assert_eq!(text(&op), "resize scale 0.5, rounding ceil, coordinates asymmetric");
        assert_eq!(
            lower(&resize(Extent::Size(vec![4]), Filter::Linear, Coordinates::HalfPixel), &[3, 4]),
            Lowering::Identity
        );
    }

    /// Of ONNX's Resize; the cubic one is PyTorch's.
    #[test]
    fn examples_of_others() {
        let nearest = |rounding, coordinates| {
            line(&resize(Extent::Size(vec![8]), Filter::Nearest(rounding), coordinates), &[1.0, 2.0, 3.0, 4.0])
        };
        let pairs = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0];
        assert_eq!(nearest(Rounding::Floor, Coordinates::Asymmetric), pairs);
        assert_eq!(nearest(Rounding::PreferFloor, Coordinates::HalfPixel), pairs);
        assert_eq!(nearest(Rounding::Ceil, Coordinates::HalfPixel), [1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
        assert_eq!(nearest(Rounding::PreferFloor, Coordinates::AlignCorners), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
        let down =
            |filter, coordinates| line(&resize(Extent::Scale(vec![0.6]), filter, coordinates), &[1.0, 2.0, 3.0, 4.0]);
        assert_close(&down(Filter::Linear, Coordinates::HalfPixel), &[1.333_333_3, 3.0]);
        assert_close(&down(Filter::Linear, Coordinates::AlignCorners), &[1.0, 4.0]);
        assert_close(&down(Filter::Linear, Coordinates::HalfPixelSymmetric), &[1.666_666_7, 3.333_333_3]);
        let cubic = resize(Extent::Scale(vec![2.0]), Filter::Cubic(0.75), Coordinates::HalfPixel);
        let found = line(&cubic, &[1.0, 2.0, 3.0, 4.0]);
        assert_close(&found[..4], &[0.894_531_25, 1.191_406_3, 1.667_968_8, 2.296_875]);
    }

    #[test]
    fn one_output_is_where_pytorch_has_it() {
        let one = |coordinates| line(&resize(Extent::Size(vec![1]), Filter::Linear, coordinates), &[1.0, 2.0, 3.0]);
        assert_eq!(one(Coordinates::PytorchHalfPixel), [1.0]);
        assert_eq!(one(Coordinates::AlignCorners), [1.0]);
        assert_eq!(one(Coordinates::HalfPixel), [2.0]);
    }

    #[test]
    fn sizes_and_arguments() {
        let size = |extent| shape(&resize(extent, Filter::Linear, Coordinates::HalfPixel), &[&[3, 4, 5]]);
        assert_eq!(size(Extent::Size(vec![7])), Ok(vec![3, 7, 7]));
        assert_eq!(size(Extent::Scale(vec![0.5, 1.5])), Ok(vec![3, 2, 7]));
        assert_eq!(size(Extent::Size(vec![7, 7, 7])), Err("E0301"));
        assert_eq!(size(Extent::Size(vec![0])), Err("E0216"));
        assert_eq!(size(Extent::Scale(vec![0.1])), Err("E0302"));
        assert_eq!(size(Extent::Scale(vec![f64::NAN])), Err("E0216"));
        assert_eq!(size(Extent::Scale(vec![1e300])), Err("E0303"));
        assert!(try_make("resize", &[]).is_err());
        let both = [("size", dims([2])), ("scale", ArgValue::Factors(vec![2.0]))];
        assert_eq!(try_make("resize", &both).unwrap_err().param, "scale");
    }
}
