//! Pooling by a norm.

use super::window::{POOL_PARAMS, dims_text, slide};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "lp_pool",
    doc: "y[c, i] = (sum over k of |x[c, stride * i + dilation * k - pad]|^p)^(1/p), with zeros as padding: between the sum of \
          the magnitudes (p = 1) and the largest of them (Sermanet et al. 2012; ONNX's LpPool). Powers are f32: below 1.2e-38 \
          they count as 0, beyond 3.4e38 they are infinite.",
    params: &{
        let [kernel, stride, dilation, pad, ceil] = POOL_PARAMS;
        [kernel, stride, dilation, pad, ceil, ParamDecl::named("p", Kind::Int, "2", "the power, at most 6")]
    },
};

/// `lp_pool 2x2, p 3`
#[derive(Clone, Debug, PartialEq)]
pub struct LpPool {
    pub window: Window,
    pub p: usize,
}

impl LpPool {
    /// Larger powers of numbers that occur leave the range of f32.
    pub const MAX_P: usize = 6;

    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| LpPool::from_args(args).map(Op::from) }];

    fn from_args(args: &Args) -> Result<LpPool, ArgError> {
        let pool = LpPool { window: Window::from_args(args)?, p: args.int("p") };
        pool.check().map_err(|error| ArgError::new("p", error.message))?;
        Ok(pool)
    }
}

impl Layer for LpPool {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        let (p, most) = (self.p, Self::MAX_P);
        let error = || ShapeError::new("E0216", format!("p is {p}, and must be from 1 to {most}"));
        (1..=most).contains(&p).then_some(()).ok_or_else(error)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let window = self.window.resolve_pool(inputs[0].spatial())?;
        Ok(inputs[0].with_dims([vec![inputs[0].channels()], window.out].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let window = self.window.resolve(x.spatial()).expect("checked by the shape rule");
        let positions = |p| window.taps(p, x.spatial()).into_iter().map(|(_, index)| index).collect();
        let norm = |values: &[f32], (): &()| {
            let power = |&x: &f32| f64::from(x.abs()).powi(self.p as i32) as f32;
            let powers: Vec<f32> = values.iter().map(power).map(without_denormals).collect();
            accumulate.sum(&powers).powf(1.0 / self.p as f64) as f32
        };
        slide(x, &window.out, |p| (positions(p), ()), norm)
    }

    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        self.window.resolve(inputs[0].spatial()).ok()
    }
}

/// Engines may flush them or not; a sixth power of 4e-7 is one.
fn without_denormals(power: f32) -> f32 {
    if power < f32::MIN_POSITIVE { 0.0 } else { power }
}

impl fmt::Display for LpPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lp_pool {}", dims_text(&self.window.kernel))?;
        self.window.fmt_options(f, &self.window.kernel)?;
        if self.p == 2 { Ok(()) } else { write!(f, ", p {}", self.p) }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn pool(p: usize) -> Op {
        make("lp_pool", &[("kernel", dims([2])), ("p", int(p))])
    }

    #[test]
    fn norms() {
        let x = Tensor::new([1, 1, 4], vec![3.0, -4.0, 0.0, -2.0]);
        assert_close(eval(&pool(1), &[&x], &[]).data(), &[7.0, 2.0]);
        assert_close(eval(&pool(2), &[&x], &[]).data(), &[5.0, 2.0]);
        assert_close(eval(&pool(3), &[&x], &[]).data(), &[91f32.powf(1.0 / 3.0), 2.0]);
        let odd = Tensor::new([1, 2, 2], vec![f32::NAN, 1.0, f32::NEG_INFINITY, 1.0]);
        assert_close(eval(&pool(3), &[&odd], &[]).data(), &[f32::NAN, f32::INFINITY]);
    }

    #[test]
    fn texts_and_shapes() {
        assert_eq!((text(&pool(2)), text(&pool(3))), ("lp_pool 2".into(), "lp_pool 2, p 3".into()));
        assert_eq!(shape(&pool(2), &[&[3, 9]]), Ok(vec![3, 4]));
        assert_eq!(shape(&pool(2), &[&[3]]), Err("E0301"));
        assert!(try_make("lp_pool", &[("kernel", dims([2])), ("p", int(7))]).is_err());
    }
}
