//! The sliding window that convolutions and poolings share: kernel, stride, dilation, padding.

use super::{ArgError, ArgValue, Args, Change, Kind, ParamDecl, ShapeError, check_size, checked_product};
use crate::tensor::Tensor;
use serde::Serialize;
use std::fmt;
use std::ops::Range;

pub(super) const KERNEL: ParamDecl =
    ParamDecl::required("kernel", Kind::Dims, "size of the window: `3x3`; `3` for 1-D");
pub(super) const DILATION: ParamDecl =
    ParamDecl::named("dilation", Kind::PerDim, "1", "distance between neighbouring taps of the window");
/// The parameters that max and average pooling share.
pub(super) const POOL_PARAMS: [ParamDecl; 5] = [
    KERNEL,
    ParamDecl::named("stride", Kind::PerDim, "", "step of the window; the kernel size if not given"),
    DILATION,
    ParamDecl::named("pad", Kind::Pad, "valid", "padding, at most half of the (dilated) kernel"),
    ParamDecl::named("ceil", Kind::Bool, "false", "round the output size up: the last window may hang over the end"),
];

/// Zeros (or, for max pooling, nothing) around the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Padding {
    /// None.
    Valid,
    /// Half of the effective kernel on each side: floor(k / 2).
    Half,
    /// As much as gives ceil(input / stride) outputs, the odd one behind (TensorFlow SAME, ONNX SAME_UPPER).
    Same,
    /// The same number on every side.
    All(usize),
    /// Front and back of each spatial dimension.
    Sides(Vec<(usize, usize)>),
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Padding::Valid => f.write_str("valid"),
            Padding::Half => f.write_str("half"),
            Padding::Same => f.write_str("same"),
            Padding::All(n) => write!(f, "pad {n}"),
            Padding::Sides(sides) => {
                let sides: Vec<String> = sides.iter().map(|(a, b)| format!("{a}, {b}")).collect();
                write!(f, "pad ({})", sides.join(", "))
            }
        }
    }
}

/// A sliding window over the spatial dimensions. All vectors have one entry a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    pub padding: Padding,
    /// Round the output size up (Caffe's pooling, PyTorch's `ceil_mode`): the last window may hang over the
    /// padded input, but must start inside the input or its front padding.
    pub ceil: bool,
}

/// A window whose padding is known in numbers, for one input size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ResolvedWindow {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// Front and back of each dimension.
    pub pads: Vec<(usize, usize)>,
    /// Input positions before the first window, where there is no padding in front.
    pub skip: Vec<usize>,
    /// Output size.
    pub out: Vec<usize>,
}

impl Window {
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// The window that `args` describe; without a stride it moves by its own size.
    pub(super) fn from_args(args: &Args) -> Result<Window, ArgError> {
        let kernel = args.dims("kernel");
        let rank = kernel.len();
        let stride = match args.get("stride") {
            Some(_) => args.per_dim("stride", rank)?,
            None => kernel.clone(),
        };
        let (dilation, padding) = (args.per_dim("dilation", rank)?, args.pad("pad", rank)?);
        Ok(Window { kernel, stride, dilation, padding, ceil: args.get("ceil") == Some(&ArgValue::Bool(true)) })
    }

    /// One window over a whole input of spatial size `input`.
    pub fn whole(input: &[usize]) -> Window {
        let (kernel, dilation) = (input.to_vec(), vec![1; input.len()]);
        Window { stride: kernel.clone(), kernel, dilation, padding: Padding::Valid, ceil: false }
    }

    /// Pads and output size for an input of spatial size `input`.
    ///
    /// Output size: floor((input + pads - effective) / stride) + 1 with effective = dilation * (kernel - 1) + 1
    /// (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 15).
    ///
    /// # Errors
    /// `E0301` rank differs, `E0302` the kernel is larger than the padded input, `E0303` a size is too large, `E0216` and
    /// `E0217` what its fields hold is no window.
    pub fn resolve(&self, input: &[usize]) -> Result<ResolvedWindow, ShapeError> {
        self.check_rank(input)?;
        let (mut pads, mut out) = (Vec::new(), Vec::new());
        for (dim, &size) in input.iter().enumerate() {
            let (pad, size) = self.resolve_dim(dim, size)?;
            pads.push(pad);
            out.push(size);
        }
        let (kernel, stride, dilation) = (self.kernel.clone(), self.stride.clone(), self.dilation.clone());
        Ok(ResolvedWindow { kernel, stride, dilation, pads, skip: vec![0; input.len()], out })
    }

    /// Like [`resolve`](Window::resolve), for windows that must not lie in the padding alone.
    ///
    /// # Errors
    /// As there, and `E0306` if the padding is larger than half of the window (PyTorch's rule), or if a padded
    /// window could step over the whole input.
    pub(super) fn resolve_pool(&self, input: &[usize]) -> Result<ResolvedWindow, ShapeError> {
        let window = self.resolve(input)?;
        for (dim, &(front, back)) in window.pads.iter().enumerate() {
            let (pad, most) = (front.max(back), window.effective(dim) / 2);
            if pad > most {
                let message = format!("a pool of {} may pad by {most} at most, not by {pad}", window.effective(dim));
                let help = "a window must not lie in the padding alone: pad less, or use a larger kernel";
                return Err(ShapeError::new("E0306", message).param("pad").help(help));
            }
            if pad > 0 && self.dilation[dim] > input[dim] {
                let message = format!(
                    "a dilation of {} steps over the whole input of {}, so that a padded window may be empty",
                    self.dilation[dim], input[dim]
                );
                return Err(ShapeError::new("E0306", message).param("dilation"));
            }
        }
        Ok(window)
    }

    /// Whether it is a window for inputs of so many dimensions.
    pub(super) fn check_rank(&self, input: &[usize]) -> Result<(), ShapeError> {
        self.check()?;
        if input.len() != self.rank() {
            return Err(self.rank_error(input.len()));
        }
        input.iter().try_for_each(|&size| check_size("a size of the input", size))?;
        checked_product(&self.kernel, "the kernel").map(|_| ())
    }

    /// Whether its numbers make a window at all.
    fn check(&self) -> Result<(), ShapeError> {
        let rank = self.rank();
        let padded = if let Padding::Sides(sides) = &self.padding { sides.len() } else { rank };
        if rank == 0 || [self.stride.len(), self.dilation.len(), padded].iter().any(|&len| len != rank) {
            let message = format!("a kernel of {rank} dimensions whose stride, dilation or padding has another number");
            return Err(ShapeError::new("E0217", message));
        }
        self.kernel.iter().try_for_each(|&size| check_size("a size of the kernel", size))?;
        self.stride.iter().try_for_each(|&step| check_size("the stride", step))?;
        self.dilation.iter().try_for_each(|&distance| check_size("the dilation", distance))
    }

    fn rank_error(&self, spatial: usize) -> ShapeError {
        let error = ShapeError::new(
            "E0301",
            format!("a {}-D kernel on an input with {spatial} spatial dimension{}", self.rank(), plural(spatial)),
        );
        match spatial {
            0 => error
                .help("the input is flat; a convolution or pooling must stand before `flatten` or `global_avgpool`"),
            _ if self.rank() == 1 => {
                let k = self.kernel[0].to_string();
                let kernel = vec![k; spatial].join("x");
                let error = error.help(format!("write the kernel as `{kernel}`")).param("kernel");
                error.changes([Change::Value(kernel)])
            }
            _ => error,
        }
    }

    fn resolve_dim(&self, dim: usize, input: usize) -> Result<((usize, usize), usize), ShapeError> {
        let (kernel, stride, dilation) = (self.kernel[dim], self.stride[dim], self.dilation[dim]);
        let overflow = || ShapeError::new("E0303", "the padded size does not fit in 64 bits");
        let effective = (kernel - 1).checked_mul(dilation).and_then(|e| e.checked_add(1)).ok_or_else(overflow)?;
        let pads = match &self.padding {
            Padding::Valid => (0, 0),
            Padding::Half => (effective / 2, effective / 2),
            Padding::All(n) => (*n, *n),
            Padding::Sides(sides) => sides[dim],
            Padding::Same => {
                let needed = (input.div_ceil(stride) - 1).checked_mul(stride).and_then(|n| n.checked_add(effective));
                let total = needed.ok_or_else(overflow)?.saturating_sub(input);
                (total / 2, total - total / 2)
            }
        };
        let padded = input.checked_add(pads.0).and_then(|p| p.checked_add(pads.1)).ok_or_else(overflow)?;
        check_size("a padded size of the input", padded)?;
        let hang_over = if self.ceil { stride - 1 } else { 0 };
        let reach = padded.checked_add(hang_over).ok_or_else(overflow)?;
        let Some(room) = reach.checked_sub(effective) else {
            return Err(self.too_small(dim, input, pads, effective));
        };
        let last = room / stride;
        // A window that would start behind the input has nothing to see.
        let out = if self.ceil && last * stride >= input + pads.0 { last } else { last + 1 };
        Ok((pads, out))
    }

    fn too_small(&self, dim: usize, input: usize, pads: (usize, usize), effective: usize) -> ShapeError {
        let dilated = if self.dilation[dim] > 1 { format!(" (dilated to {effective})") } else { String::new() };
        let padded = if pads == (0, 0) { String::new() } else { format!(" padded to {}", input + pads.0 + pads.1) };
        ShapeError::new(
            "E0302",
            format!("a kernel of {}{dilated} does not fit into an input of {input}{padded}", self.kernel[dim]),
        )
        .help(
            "pad the input (`half`, `same`, `pad 1`), use a smaller kernel, or reduce the size less before this layer",
        )
        .changes(["half", "same"].map(|word| Change::Argument("pad", word)))
    }
}

impl ResolvedWindow {
    /// Whether each window is one position, none lies in the padding, and the first is that of the first position.
    pub fn is_pointwise(&self) -> bool {
        let starts = self.pads.iter().all(|&pad| pad == (0, 0)) && self.skip.iter().all(|&skip| skip == 0);
        starts && self.kernel.iter().all(|&k| k == 1)
    }

    /// The same with a further dimension of size 1 behind the others.
    pub fn with_column(mut self) -> ResolvedWindow {
        [&mut self.kernel, &mut self.stride, &mut self.dilation, &mut self.out].into_iter().for_each(|v| v.push(1));
        self.pads.push((0, 0));
        self.skip.push(0);
        self
    }

    /// The same without the dimensions before `dim`.
    pub fn from_dim(&self, dim: usize) -> ResolvedWindow {
        ResolvedWindow {
            kernel: self.kernel[dim..].to_vec(),
            stride: self.stride[dim..].to_vec(),
            dilation: self.dilation[dim..].to_vec(),
            pads: self.pads[dim..].to_vec(),
            skip: self.skip[dim..].to_vec(),
            out: self.out[dim..].to_vec(),
        }
    }

    /// Kernel size with dilation: dilation * (kernel - 1) + 1.
    pub fn effective(&self, dim: usize) -> usize {
        self.dilation[dim] * (self.kernel[dim] - 1) + 1
    }

    /// The taps of the window at output position `position` that fall inside an input of size `input`:
    /// (kernel position, input position). All positions are row-major indices.
    pub fn taps(&self, position: usize, input: &[usize]) -> Vec<(usize, usize)> {
        let at = unravel(position, &self.out);
        let dims = 0..input.len();
        let taps: Vec<Vec<usize>> = dims.clone().map(|d| self.inside(d, at[d], input[d]).collect()).collect();
        let places: Vec<Vec<usize>> =
            dims.map(|d| taps[d].iter().map(|&tap| self.place(d, at[d], tap)).collect()).collect();
        grid(&self.kernel, &taps).into_iter().zip(grid(input, &places)).collect()
    }

    /// The positions of an input of size `input` that output position `at` reads in dimension `dim`.
    pub fn positions(&self, dim: usize, at: usize, input: usize) -> impl Iterator<Item = usize> {
        self.inside(dim, at, input).map(move |tap| self.place(dim, at, tap))
    }

    /// The input position of a tap that falls inside the input.
    fn place(&self, dim: usize, at: usize, tap: usize) -> usize {
        (self.origin(dim, at) + (tap * self.dilation[dim]) as i64) as usize
    }

    /// The input position under the first tap in dimension `dim` at output position `at`; negative inside the padding.
    pub fn origin(&self, dim: usize, at: usize) -> i64 {
        (at * self.stride[dim] + self.skip[dim]) as i64 - self.pads[dim].0 as i64
    }

    /// Taps in dimension `dim` at output position `at` that fall inside an input of size `input`.
    pub fn inside(&self, dim: usize, at: usize, input: usize) -> Range<usize> {
        let (origin, dilation) = (self.origin(dim, at), self.dilation[dim]);
        let below = |position: i64| (position - origin).max(0) as usize;
        let first = below(0).div_ceil(dilation).min(self.kernel[dim]);
        let end = below(input as i64).div_ceil(dilation).min(self.kernel[dim]);
        first..end.max(first)
    }

    /// How many taps of the window at output position `position` fall inside the input.
    pub fn seen_taps(&self, position: usize, input: &[usize]) -> usize {
        let at = unravel(position, &self.out);
        (0..input.len()).map(|d| self.inside(d, at[d], input[d]).len()).product()
    }

    /// How many taps of the window at output position `position` fall inside the input or its padding.
    pub fn padded_taps(&self, position: usize, input: &[usize]) -> usize {
        let at = unravel(position, &self.out);
        let count = |d: usize| {
            let left = (input[d] as i64 + self.pads[d].1 as i64 - self.origin(d, at[d])) as usize;
            left.div_ceil(self.dilation[d]).min(self.kernel[d])
        };
        (0..input.len()).map(count).product()
    }
}

/// y[n, c, p] = f(values, extra) for all n, c and output positions p, where `window(p)` gives the positions in
/// x[n, c] of the values, and anything extra that belongs to p. `out` is the spatial size of y; positions are
/// row-major indices.
pub(super) fn slide<T>(
    x: &Tensor,
    out: &[usize],
    window: impl Fn(usize) -> (Vec<usize>, T),
    f: impl Fn(&[f32], &T) -> f32,
) -> Tensor {
    let mut y = Tensor::zeros([&[x.batch(), x.channels()], out].concat());
    let mut values = Vec::new();
    for p in 0..out.iter().product() {
        let (indices, extra) = window(p);
        for n in 0..x.batch() {
            for c in 0..x.channels() {
                let plane = x.plane(n, c);
                values.clear();
                values.extend(indices.iter().map(|&i| plane[i]));
                y.plane_mut(n, c)[p] = f(&values, &extra);
            }
        }
    }
    y
}

/// Row-major indices, in an array of size `dims`, of all combinations of `places[d]` in each dimension d.
pub(super) fn grid(dims: &[usize], places: &[Vec<usize>]) -> Vec<usize> {
    dims.iter().zip(places).fold(vec![0], |indices, (&size, places)| {
        indices.iter().flat_map(|&i| places.iter().map(move |&place| i * size + place)).collect()
    })
}

/// The coordinates of a row-major index.
pub(super) fn unravel(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for d in (0..dims.len()).rev() {
        at[d] = index % dims[d];
        index /= dims[d];
    }
    at
}

/// One of `values` for each of the input's `rank` spatial dimensions; a single one serves all.
///
/// # Errors
/// `E0301` if there are none or the number differs.
pub(super) fn spread<T: Copy>(values: &[T], rank: usize) -> Result<Vec<T>, ShapeError> {
    match (values.len(), rank) {
        (_, 0) => Err(flat_error()),
        (1, _) => Ok(vec![values[0]; rank]),
        (n, _) if n == rank => Ok(values.to_vec()),
        (n, _) => {
            let message = format!("{n} sizes for an input with {rank} spatial dimension{}", plural(rank));
            Err(ShapeError::new("E0301", message).help("give one size for all dimensions, or one for each"))
        }
    }
}

/// For layers that work on positions where there are none.
pub(super) fn flat_error() -> ShapeError {
    ShapeError::new("E0301", "the input is flat: it has no spatial dimensions")
        .help("put this layer before `flatten` and `dense`, or leave it out")
}

/// `3x3`
pub(super) fn dims_text(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// `2` if all are equal, else `2x1`.
pub(super) fn per_dim_text(values: &[usize]) -> String {
    if values.iter().all(|v| v == &values[0]) { values[0].to_string() } else { dims_text(values) }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

impl Window {
    /// `, stride 2, dilation 2x1, half`: what differs from the defaults, of which that of the stride is given.
    pub(super) fn fmt_options(&self, f: &mut fmt::Formatter<'_>, default_stride: &[usize]) -> fmt::Result {
        if self.stride != default_stride {
            write!(f, ", stride {}", per_dim_text(&self.stride))?;
        }
        if self.dilation.iter().any(|&d| d != 1) {
            write!(f, ", dilation {}", per_dim_text(&self.dilation))?;
        }
        if self.padding != Padding::Valid {
            write!(f, ", {}", self.padding)?;
        }
        if self.ceil {
            f.write_str(", ceil")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, dilation: usize, padding: Padding, ceil: bool) -> Window {
        Window { kernel: vec![kernel], stride: vec![stride], dilation: vec![dilation], padding, ceil }
    }

    fn out(window: &Window, input: usize) -> usize {
        window.resolve(&[input]).unwrap().out[0]
    }

    #[test]
    fn output_sizes() {
        assert_eq!(out(&window(7, 2, 1, Padding::All(3), false), 224), 112);
        assert_eq!(out(&window(3, 1, 2, Padding::Half, false), 10), 10);
        assert_eq!(out(&window(3, 2, 1, Padding::Valid, false), 8), 3);
        assert_eq!(out(&window(3, 2, 1, Padding::Valid, true), 8), 4);
        assert_eq!(out(&window(5, 1, 1, Padding::Sides(vec![(1, 2)]), false), 10), 9);
    }

    #[test]
    fn ceil_follows_pytorch() {
        // The kernel is larger than the input, but may hang over.
        assert_eq!(out(&window(3, 2, 1, Padding::Valid, true), 2), 1);
        // The third window would start at 4, behind the input and its front padding.
        assert_eq!(out(&window(2, 2, 1, Padding::All(1), true), 2), 2);
        assert_eq!(out(&window(1, 3, 1, Padding::Valid, true), 6), 2);
        assert_eq!(window(4, 2, 1, Padding::Valid, true).resolve(&[2]).unwrap_err().code, "E0302");
    }

    #[test]
    fn same_puts_the_odd_one_behind() {
        let resolved = window(3, 2, 1, Padding::Same, false).resolve(&[224]).unwrap();
        assert_eq!((resolved.out[0], resolved.pads[0]), (112, (0, 1)));
        let resolved = window(1, 2, 1, Padding::Same, false).resolve(&[7]).unwrap();
        assert_eq!((resolved.out[0], resolved.pads[0]), (4, (0, 0)));
    }

    #[test]
    fn sizes_are_checked() {
        let code = |window: Window, input: &[usize]| window.resolve(input).unwrap_err().code;
        assert_eq!(code(window(5, 1, 1, Padding::Valid, false), &[4]), "E0302");
        assert_eq!(code(window(5, 1, 1, Padding::Valid, false), &[4, 4]), "E0301");
        assert_eq!(code(window(3, 1, usize::MAX, Padding::Valid, false), &[4]), "E0303");
        assert_eq!(code(window(1, 1, 1, Padding::All(usize::MAX), false), &[4]), "E0303");
        assert_eq!(code(window(usize::MAX, 1, 1, Padding::Half, false), &[4]), "E0303");
        assert_eq!(code(window(1, usize::MAX, 1, Padding::Valid, true), &[4]), "E0303");
    }

    #[test]
    fn pools_may_not_see_padding_alone() {
        let code = |window: Window, input: usize| window.resolve_pool(&[input]).map(|w| w.out[0]).map_err(|e| e.code);
        assert_eq!(code(window(3, 2, 1, Padding::All(1), false), 8), Ok(4));
        assert_eq!(code(window(3, 2, 1, Padding::All(2), false), 8), Err("E0306"));
        assert_eq!(code(window(2, 1, 5, Padding::Half, false), 1), Err("E0306"));
    }

    #[test]
    fn taps_stay_inside_the_input() {
        let window = window(3, 2, 2, Padding::All(2), false).resolve(&[5]).unwrap();
        assert_eq!(window.out, [3]);
        let taps: Vec<_> = (0..3).map(|p| window.taps(p, &[5])).collect();
        assert_eq!(taps, [vec![(1, 0), (2, 2)], vec![(0, 0), (1, 2), (2, 4)], vec![(0, 2), (1, 4)]]);
    }

    #[test]
    fn taps_of_two_dimensions_are_row_major() {
        let window = Window {
            kernel: vec![2, 2],
            stride: vec![1, 1],
            dilation: vec![1, 1],
            padding: Padding::Sides(vec![(1, 0), (0, 0)]),
            ceil: false,
        };
        let window = window.resolve(&[2, 3]).unwrap();
        assert_eq!(window.out, [2, 2]);
        assert_eq!(window.taps(1, &[2, 3]), [(2, 1), (3, 2)]);
        assert_eq!(window.taps(3, &[2, 3]), [(0, 1), (1, 2), (2, 4), (3, 5)]);
    }

    #[test]
    fn per_dimension_values() {
        assert_eq!(spread(&[2], 2).unwrap(), [2, 2]);
        assert_eq!(spread(&[2, 1], 2).unwrap(), [2, 1]);
        assert_eq!(spread(&[2, 1], 1).unwrap_err().code, "E0301");
        assert_eq!(spread(&[2], 0).unwrap_err().code, "E0301");
    }
}
