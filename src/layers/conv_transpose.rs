//! Transposed convolution of any rank: what the gradient of a convolution does with its output.

use super::window::{DILATION, KERNEL, dims_text, grid, per_dim_text, unravel};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "conv_transpose",
    doc: "Transposed convolution (as in PyTorch): y[o, p] = bias[o] + sum over c, i, k with stride * i + dilation * k - pad \
          = p of weight[c, o, k] * x[c, i], c running over the input channels of o's group. Its size is stride * (in - 1) + \
          dilation * (kernel - 1) + 1 - pads + output_padding.",
    params: &[
        KERNEL,
        ParamDecl::required("channels", Kind::Int, "output channels"),
        ParamDecl::named("stride", Kind::PerDim, "1", "output positions from one input position to the next"),
        DILATION,
        ParamDecl::named("groups", Kind::Int, "1", "independent groups of channels"),
        ParamDecl::named(
            "pad",
            Kind::Pad,
            "valid",
            "output positions that are left out on each side; `same` gives stride * in of them",
        ),
        ParamDecl::named("output_padding", Kind::Pad, "0", "further output positions at the end of each dimension"),
        ParamDecl::named("bias", Kind::Bool, "false", "add a bias to each output channel"),
    ],
};

/// `conv_transpose 4x4, 64, stride 2, pad 1`
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    pub channels: usize,
    /// Its stride is that of the output, and its padding is left out of it.
    pub window: Window,
    /// For each dimension.
    pub output_padding: Vec<usize>,
    pub groups: usize,
    pub bias: bool,
    /// Weights are [output channels, input channels of a group, kernel], as those of [`Conv`], and not PyTorch's [input
    /// channels, output channels of a group, kernel].
    pub output_major: bool,
}

/// Every `stride`-th position of the output along one dimension. What they see of the input is a window that moves by one
/// position, so that a transposed convolution is one convolution for each combination of phases (Shi et al. 2016, "Is the
/// deconvolution layer the same as a convolutional layer?").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    /// First output position; the others follow at distances of the stride.
    pub start: usize,
    /// Output positions.
    pub count: usize,
    /// The taps of the kernel that meet them: how many, the last one, and the distance between two of them. The window's
    /// taps are these from the last to the first.
    pub taps: usize,
    pub last: usize,
    pub step: usize,
    /// Input positions between the taps of the window.
    pub dilation: usize,
    /// Input position under the window's first tap, for the first output position; negative in front of the input.
    pub origin: i64,
}

impl ConvTranspose {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| ConvTranspose::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<ConvTranspose, ArgError> {
        let window = Window::from_args(args)?;
        let (channels, groups) = (args.int("channels"), args.int("groups"));
        if !channels.is_multiple_of(groups) {
            return Err(ArgError::new(
                "groups",
                format!("{channels} output channels do not divide into {groups} groups"),
            ));
        }
        let output_padding = match args.pad("output_padding", window.rank())? {
            Padding::All(n) => vec![n; window.rank()],
            Padding::Sides(sides) if sides.iter().all(|(front, back)| front == back) => {
                sides.into_iter().map(|(back, _)| back).collect()
            }
            _ => {
                let error = ArgError::new("output_padding", "it is added at the end of each dimension");
                return Err(error.help("give one number, or one for each dimension"));
            }
        };
        Ok(ConvTranspose { channels, window, output_padding, groups, bias: args.flag("bias"), output_major: false })
    }

    /// Input channels of one group.
    pub fn group_in(&self, input: &TensorType) -> usize {
        input.channels() / self.groups
    }

    /// For each dimension of an input of spatial size `input`, output positions that are left out in front, and the size
    /// of the output.
    ///
    /// # Errors
    /// `E0301` rank differs, `E0302` nothing is left of the output, `E0303` a size is too large.
    pub fn resolve(&self, input: &[usize]) -> Result<Vec<(usize, usize)>, ShapeError> {
        self.window.check_rank(input)?;
        (0..input.len()).map(|dim| self.resolve_dim(dim, input[dim])).collect()
    }

    fn resolve_dim(&self, dim: usize, input: usize) -> Result<(usize, usize), ShapeError> {
        let too_large = || ShapeError::new("E0303", "the size of the output does not fit in 64 bits");
        let Window { kernel, stride, dilation, padding, .. } = &self.window;
        let extra = self.output_padding[dim];
        let effective = (kernel[dim] - 1).checked_mul(dilation[dim]).and_then(|e| e.checked_add(1));
        let effective = effective.ok_or_else(too_large)?;
        let reach = (input - 1).checked_mul(stride[dim]).and_then(|size| size.checked_add(effective));
        let reach = reach.and_then(|size| size.checked_add(extra)).ok_or_else(too_large)?;
        let (front, back) = match padding {
            Padding::Valid => (0, 0),
            Padding::Half => (effective / 2, effective / 2),
            Padding::All(n) => (*n, *n),
            Padding::Sides(sides) => sides[dim],
            Padding::Same => {
                let size = checked_product([&input, &stride[dim]], "a dimension")?;
                return Ok((reach.saturating_sub(size) / 2, size));
            }
        };
        let left_out = front.checked_add(back).ok_or_else(too_large)?;
        match reach.checked_sub(left_out) {
            Some(size @ 1..=MAX_ELEMENTS) => Ok((front, size)),
            Some(1..) => Err(too_large()),
            _ => Err(ShapeError::new("E0302", format!("all {reach} positions of the output are left out"))
                .param("pad")
                .help("pad less, or use a larger kernel")),
        }
    }

    /// The phases along one dimension, of which `(front, size)` is what [`resolve`](ConvTranspose::resolve) gives.
    pub fn phases(&self, dim: usize, (front, size): (usize, usize)) -> impl Iterator<Item = Phase> + use<> {
        let Window { kernel, stride, dilation, .. } = &self.window;
        let (kernel, stride, dilation) = (kernel[dim], stride[dim], dilation[dim]);
        let common = gcd(stride, dilation);
        let (step, spread) = (stride / common, dilation / common);
        let inverse = inverse(spread, step);
        (0..stride.min(size)).map(move |start| {
            let count = (size - start).div_ceil(stride);
            // Where a tap k and input position i meet, start + front - dilation * k = stride * i.
            let at = start + front;
            let first = (at / common) as u128 * inverse as u128 % step as u128;
            let meets = at.is_multiple_of(common) && first < kernel as u128;
            let Some(first) = meets.then_some(first as usize) else {
                let origin = (at / stride) as i64;
                return Phase { start, count, taps: 0, last: 0, step, dilation: spread, origin };
            };
            let taps = (kernel - first).div_ceil(step);
            let last = first + (taps - 1) * step;
            let origin = (at as i64 - (last * dilation) as i64) / stride as i64;
            Phase { start, count, taps, last, step, dilation: spread, origin }
        })
    }

    /// The positions in the kernel of the taps of a window, one phase for each dimension. Row-major, as they are; one where
    /// there are none, which then sees nothing.
    pub fn window_taps(&self, phases: &[Phase]) -> Vec<usize> {
        let taps = |phase: &Phase| (0..phase.taps.max(1)).map(|tap| phase.last - tap * phase.step).collect();
        grid(&self.window.kernel, &phases.iter().map(taps).collect::<Vec<_>>())
    }

    /// For each output position of a dimension, the taps and input positions that meet there.
    fn meetings(&self, dim: usize, input: usize, (front, size): (usize, usize)) -> Vec<Vec<(usize, usize)>> {
        let mut meetings = vec![Vec::new(); size];
        for i in 0..input {
            for k in 0..self.window.kernel[dim] {
                let position = (i * self.window.stride[dim] + k * self.window.dilation[dim]).checked_sub(front);
                if let Some(at) = position.and_then(|position| meetings.get_mut(position)) {
                    at.push((k, i));
                }
            }
        }
        meetings
    }
}

/// x < n with a * x = 1 modulo n, where a and n have no common factor (Knuth, "The art of computer programming", 4.5.2,
/// algorithm X).
fn inverse(a: usize, n: usize) -> usize {
    let (mut rest, mut next) = (n as i128, a as i128);
    let (mut x, mut next_x) = (0i128, 1i128);
    while next != 0 {
        let times = rest / next;
        (rest, next) = (next, rest - times * next);
        (x, next_x) = (next_x, x - times * next_x);
    }
    x.rem_euclid(n as i128) as usize
}

impl Layer for ConvTranspose {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_size("the number of output channels", self.channels)?;
        check_size("the number of groups", self.groups)?;
        if !self.channels.is_multiple_of(self.groups) {
            let message = format!("{} output channels do not divide into {} groups", self.channels, self.groups);
            return Err(ShapeError::new("E0217", message).param("groups"));
        }
        if self.window.ceil || self.output_padding.len() != self.window.rank() {
            return Err(ShapeError::new("E0217", "its window or output padding is none of a transposed convolution"));
        }
        checked_product(&self.window.kernel, "the kernel").map(|_| ())
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let input = inputs[0];
        let sizes = self.resolve(input.spatial())?;
        if !input.channels().is_multiple_of(self.groups) {
            let message = format!("{} input channels do not divide into {} groups", input.channels(), self.groups);
            return Err(ShapeError::new("E0304", message).param("groups"));
        }
        let pairs = [self.channels, self.group_in(input)];
        checked_product(pairs.iter().chain(&self.window.kernel), "the weights")?;
        let spatial: Vec<usize> = sizes.into_iter().map(|(_, size)| size).collect();
        Ok(input.with_dims([vec![self.channels], spatial].concat()))
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        let (channels_in, group_in) = (inputs[0].channels(), self.group_in(inputs[0]));
        let channels = match self.output_major {
            true => [self.channels, group_in],
            false => [channels_in, self.channels / self.groups],
        };
        let dims = [&channels[..], &self.window.kernel].concat();
        // Each output position meets so many taps, in the mean.
        let taps = self.window.kernel.iter().zip(&self.window.stride).map(|(&k, &s)| k.div_ceil(s)).product::<usize>();
        let init = Init::FanIn(group_in.saturating_mul(taps));
        let mut params = vec![ParamSpec { role: "weight", dims, fixed: None, init }];
        if self.bias {
            params.push(ParamSpec { role: "bias", dims: vec![self.channels], fixed: None, init: Init::Small });
        }
        params
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let (x, weight, bias) = (inputs[0], params[0], params.get(1));
        let sizes = self.resolve(x.spatial()).expect("checked by the shape rule");
        let meetings: Vec<_> = (0..sizes.len()).map(|dim| self.meetings(dim, x.spatial()[dim], sizes[dim])).collect();
        let out: Vec<usize> = sizes.iter().map(|&(_, size)| size).collect();
        let (group_in, group_out) = (x.channels() / self.groups, self.channels / self.groups);
        let kernel: usize = self.window.kernel.iter().product();
        let mut y = Tensor::zeros([vec![x.batch(), self.channels], out.clone()].concat());
        for p in 0..out.iter().product() {
            let at = unravel(p, &out);
            let met = at.iter().zip(&meetings).map(|(&at, meetings)| meetings[at].iter().copied().unzip());
            let (taps, places): (Vec<Vec<usize>>, Vec<Vec<usize>>) = met.unzip();
            let (taps, places) = (grid(&self.window.kernel, &taps), grid(x.spatial(), &places));
            let mut weights = Vec::with_capacity(group_in * taps.len());
            for (n, group) in (0..x.batch()).flat_map(|n| (0..self.groups).map(move |group| (n, group))) {
                // What the output sees in one group of channels: [group_in, taps that meet it].
                let channels = group * group_in..(group + 1) * group_in;
                let seen = channels.flat_map(|c| places.iter().map(move |&place| x.plane(n, c)[place]));
                let values: Vec<f32> = seen.collect();
                for member in 0..group_out {
                    let o = group * group_out + member;
                    weights.clear();
                    for i in 0..group_in {
                        let pair = if self.output_major {
                            o * group_in + i
                        } else {
                            (group * group_in + i) * group_out + member
                        };
                        weights.extend(taps.iter().map(|&tap| weight[pair * kernel + tap]));
                    }
                    y.plane_mut(n, o)[p] = accumulate.dot(bias.map_or(0.0, |b| b[o]), &weights, &values);
                }
            }
        }
        y
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }

    /// Each input element meets each weight of its channel once; those that meet in what is left out are counted too.
    fn macs(&self, inputs: &[&TensorType]) -> u64 {
        let taps: usize = self.window.kernel.iter().product();
        let group_out = (self.channels / self.groups) as u64;
        [inputs[0].elements(), taps].iter().fold(group_out, |a, &b| a.saturating_mul(b as u64))
    }
}

impl fmt::Display for ConvTranspose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conv_transpose {}, {}", dims_text(&self.window.kernel), self.channels)?;
        self.window.fmt_options(f, &vec![1; self.window.rank()])?;
        if self.output_padding.iter().any(|&n| n > 0) {
            match &self.output_padding[..] {
                [first, rest @ ..] if rest.iter().all(|n| n == first) => write!(f, ", output_padding {first}")?,
                all => write!(f, ", output_padding ({})", per_dim_text(all).replace('x', ", "))?,
            }
        }
        if self.groups != 1 {
            write!(f, ", groups {}", self.groups)?;
        }
        f.write_str(if self.bias { ", bias" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn transposed(text_args: &[(&'static str, ArgValue)]) -> Op {
        make("conv_transpose", text_args)
    }

    /// One input and one output channel, in one dimension.
    fn line(kernel: usize, stride: usize, dilation: usize, pad: PadArg, output_padding: usize) -> Op {
        transposed(&[
            ("kernel", dims([kernel])),
            ("channels", int(1)),
            ("stride", dims([stride])),
            ("dilation", dims([dilation])),
            ("pad", ArgValue::Pad(pad)),
            ("output_padding", ArgValue::Pad(PadArg::All(output_padding))),
        ])
    }

    #[test]
    fn defaults() {
        let op = transposed(&[("kernel", dims([3, 2])), ("channels", int(8))]);
        assert_eq!(text(&op), "conv_transpose 3x2, 8");
        assert_eq!(shape(&op, &[&[3, 10, 12]]), Ok(vec![8, 12, 13]));
        assert_eq!(param_dims(&op, &[&[3, 10, 12]]), [("weight", vec![3, 8, 3, 2])]);
    }

    #[test]
    fn prints_all_options() {
        let op = transposed(&[
            ("kernel", dims([3, 1])),
            ("channels", int(8)),
            ("stride", dims([2])),
            ("dilation", dims([1, 2])),
            ("groups", int(2)),
            ("pad", ArgValue::Pad(PadArg::List(vec![1, 0]))),
            ("output_padding", ArgValue::Pad(PadArg::List(vec![1, 0]))),
            ("bias", ArgValue::Bool(true)),
        ]);
        let expected =
            "conv_transpose 3x1, 8, stride 2, dilation 1x2, pad (1, 1, 0, 0), output_padding (1, 0), groups 2, bias";
        assert_eq!(text(&op), expected);
        assert_eq!(text(&line(3, 2, 1, PadArg::All(1), 1)), "conv_transpose 3, 1, stride 2, pad 1, output_padding 1");
    }

    #[test]
    fn each_input_is_spread_over_the_kernel() {
        let x = Tensor::new([1, 1, 3], vec![1.0, 10.0, 100.0]);
        let weight: &[f32] = &[1.0, 2.0, 3.0];
        let y = |op| eval(&op, &[&x], &[weight]).data().to_vec();
        assert_eq!(y(line(3, 2, 1, PadArg::Valid, 0)), [1.0, 2.0, 13.0, 20.0, 130.0, 200.0, 300.0]);
        assert_eq!(y(line(3, 2, 1, PadArg::All(1), 1)), [2.0, 13.0, 20.0, 130.0, 200.0, 300.0]);
        assert_eq!(y(line(3, 1, 2, PadArg::Valid, 2)), [1.0, 10.0, 102.0, 20.0, 203.0, 30.0, 300.0, 0.0, 0.0]);
        assert_eq!(y(line(3, 4, 1, PadArg::List(vec![0, 8]), 0)), [1.0, 2.0, 3.0]);
        assert_eq!(y(line(3, 2, 1, PadArg::Same, 0)), [1.0, 2.0, 13.0, 20.0, 130.0, 200.0]);
    }

    #[test]
    fn groups_see_their_own_channels_only() {
        let op = transposed(&[
            ("kernel", dims([1])),
            ("channels", int(4)),
            ("groups", int(2)),
            ("bias", ArgValue::Bool(true)),
        ]);
        let x = Tensor::new([1, 2, 1], vec![1.0, 10.0]);
        let y = eval(&op, &[&x], &[&[1.0, 2.0, 3.0, 4.0], &[0.5, 0.0, 0.0, 0.25]]);
        assert_eq!(y.data(), [1.5, 2.0, 30.0, 40.25]);
        assert_eq!(shape(&op, &[&[3, 4]]), Err("E0304"));
    }

    /// Of each phase, the taps and input positions of all of its windows.
    #[test]
    fn phases_are_convolutions() {
        for (kernel, stride, dilation, front, back, extra, input) in [
            (3, 2, 1, 1, 1, 1, 4),
            (4, 2, 1, 1, 1, 0, 5),
            (2, 3, 1, 0, 0, 0, 3),
            (5, 4, 6, 9, 2, 0, 3),
            (3, 2, 1, 2, 2, 1, 3),
            (7, 3, 2, 1, 0, 5, 2),
            (1, 5, 1, 0, 0, 0, 1),
            (4, 6, 4, 3, 0, 0, 3),
        ] {
            let op = line(kernel, stride, dilation, PadArg::List(vec![front, back]), extra);
            let Op::ConvTranspose(conv) = op else { panic!("{op:?}") };
            let sizes = conv.resolve(&[input]).unwrap();
            let expected = conv.meetings(0, input, sizes[0]);
            let mut found = vec![None; expected.len()];
            for phase in conv.phases(0, sizes[0]) {
                let taps = conv.window_taps(&[phase]);
                for index in 0..phase.count {
                    let place = |tap: usize| phase.origin + (index + tap * phase.dilation) as i64;
                    let inside = |tap: &usize| (0..input as i64).contains(&place(*tap));
                    let met: Vec<_> =
                        (0..phase.taps).filter(inside).map(|tap| (taps[tap], place(tap) as usize)).collect();
                    assert!(found[phase.start + index * stride].replace(met).is_none());
                }
            }
            let found: Vec<_> = found.into_iter().map(|met| met.expect("in a phase")).collect();
            assert_eq!(found, expected, "{conv}");
        }
    }

    #[test]
    fn sizes_and_arguments() {
        let size = |op: Op, input: usize| shape(&op, &[&[3, input]]).map(|dims| dims[1]);
        assert_eq!(size(line(4, 2, 1, PadArg::All(1), 0), 7), Ok(14));
        assert_eq!(size(line(3, 2, 1, PadArg::Same, 0), 7), Ok(14));
        assert_eq!(size(line(3, 2, 3, PadArg::Half, 1), 7), Ok(14));
        assert_eq!(size(line(1, 2, 1, PadArg::Same, 0), 7), Ok(14));
        assert_eq!(size(line(1, 1, 1, PadArg::All(1), 0), 2), Err("E0302"));
        assert_eq!(size(line(1, usize::MAX, 1, PadArg::All(1), 0), 2), Err("E0303"));
        assert_eq!(size(line(1, 1 << 35, 1, PadArg::All(1), 0), 9), Err("E0303"));
        assert_eq!(size(line(1, 1, 1, PadArg::All(usize::MAX), 0), 2), Err("E0303"));
        assert_eq!(shape(&line(1, 1, 1, PadArg::All(0), 0), &[&[3]]), Err("E0301"));
        let arguments = |more: &[(&'static str, ArgValue)]| {
            let all = [&[("kernel", dims([3, 3])), ("channels", int(6))], more].concat();
            try_make("conv_transpose", &all).map_err(|e| e.param)
        };
        assert_eq!(arguments(&[("groups", int(4))]), Err("groups"));
        assert_eq!(arguments(&[("output_padding", ArgValue::Pad(PadArg::Half))]), Err("output_padding"));
        assert_eq!(
            arguments(&[("output_padding", ArgValue::Pad(PadArg::List(vec![0, 1, 0, 1])))]),
            Err("output_padding")
        );
    }

    #[test]
    fn multiply_accumulates() {
        let op =
            transposed(&[("kernel", dims([3, 3])), ("channels", int(8)), ("groups", int(2)), ("stride", dims([2]))]);
        assert_eq!(op.layer().unwrap().macs(&[&ty(&[4, 10, 12])]), 4 * 4 * 9 * 10 * 12);
    }
}
