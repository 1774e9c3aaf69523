//! The sliding window that convolutions and poolings share: kernel, stride, dilation, padding.

use super::ShapeError;
use std::fmt;

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResolvedWindow {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// Front and back of each dimension.
    pub pads: Vec<(usize, usize)>,
    /// Output size.
    pub out: Vec<usize>,
}

impl Window {
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// Pads and output size for an input of spatial size `input`.
    ///
    /// Output size: floor((input + pads - effective) / stride) + 1 with effective = dilation * (kernel - 1) + 1
    /// (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 15).
    ///
    /// # Errors
    /// `E0301` rank differs, `E0302` the kernel is larger than the padded input, `E0303` a size overflows.
    pub fn resolve(&self, input: &[usize]) -> Result<ResolvedWindow, ShapeError> {
        if input.len() != self.rank() {
            return Err(self.rank_error(input.len()));
        }
        let (mut pads, mut out) = (Vec::new(), Vec::new());
        for dim in 0..self.rank() {
            let (pad, size) = self.resolve_dim(dim, input[dim])?;
            pads.push(pad);
            out.push(size);
        }
        let (kernel, stride, dilation) = (self.kernel.clone(), self.stride.clone(), self.dilation.clone());
        Ok(ResolvedWindow { kernel, stride, dilation, pads, out })
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
                error.help(format!("write the kernel as `{}`", vec![k; spatial].join("x")))
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
        if padded < effective {
            return Err(self.too_small(dim, input, pads, effective));
        }
        let mut out = (padded - effective) / stride + 1;
        if self.ceil && (padded - effective) % stride != 0 && out * stride < input + pads.0 {
            out += 1;
        }
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
    }
}

impl ResolvedWindow {
    /// Kernel size with dilation: dilation * (kernel - 1) + 1.
    pub fn effective(&self, dim: usize) -> usize {
        self.dilation[dim] * (self.kernel[dim] - 1) + 1
    }

    /// Calls `f(kernel position, input position)` for every kernel position (row-major) of the window at output
    /// position `at` that falls inside an input of size `input`.
    pub fn visit(&self, at: &[usize], input: &[usize], mut f: impl FnMut(usize, usize)) {
        let positions: usize = self.kernel.iter().product();
        for k in 0..positions {
            let tap = unravel(k, &self.kernel);
            let mut index = 0;
            let inside = (0..input.len()).all(|d| {
                let position = (at[d] * self.stride[d] + tap[d] * self.dilation[d]).wrapping_sub(self.pads[d].0);
                index = index * input[d] + position;
                position < input[d]
            });
            if inside {
                f(k, index);
            }
        }
    }
}

/// The coordinates of a row-major index.
pub fn unravel(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for d in (0..dims.len()).rev() {
        at[d] = index % dims[d];
        index /= dims[d];
    }
    at
}

/// `3x3`
pub fn dims_text(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

impl Window {
    /// `, stride 2, dilation 2x1, half`: what differs from the defaults.
    pub fn fmt_options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, values) in [("stride", &self.stride), ("dilation", &self.dilation)] {
            if values.iter().all(|v| v == &values[0]) {
                if values[0] != 1 {
                    write!(f, ", {name} {}", values[0])?;
                }
            } else {
                write!(f, ", {name} {}", dims_text(values))?;
            }
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
