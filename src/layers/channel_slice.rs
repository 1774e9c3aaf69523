//! Takes a run of channels.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "slice",
    doc: "The channels a..b, from a up to but without b: y[c] = x[a + c]. `slice 0..in.c / 2` is the first half, \
          `slice 8..in.c` all but the first eight, of the input of a block.",
    params: &[ParamDecl::required("channels", Kind::Range, "the first channel and the one behind the last")],
};

/// `slice 0..58`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSlice {
    pub channels: Range<usize>,
}

impl ChannelSlice {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| ChannelSlice::new(args.range("channels")).map(Op::from) }];

    fn new(channels: Range<usize>) -> Result<ChannelSlice, ArgError> {
        if channels.is_empty() {
            let message = format!("{}..{} are no channels", channels.start, channels.end);
            let help = "write the first channel and the one behind the last: `0..8` are eight channels";
            return Err(ArgError::new("channels", message).help(help));
        }
        Ok(ChannelSlice { channels })
    }
}

impl Layer for ChannelSlice {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        ChannelSlice::new(self.channels.clone()).map(|_| ()).map_err(|error| ShapeError::new("E0217", error.message))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let (Range { start, end }, channels) = (self.channels.clone(), inputs[0].channels());
        if end > channels {
            let message = format!("the channels {start}..{end} of {channels} channels");
            let help = "the number behind `..` is the first channel that is not taken";
            return Err(ShapeError::new("E0307", message).param("channels").help(help));
        }
        Ok(inputs[0].with_dims([&[end - start], inputs[0].spatial()].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let mut y = Tensor::zeros([&[x.batch(), self.channels.len()], x.spatial()].concat());
        for n in 0..x.batch() {
            for (c, from) in self.channels.clone().enumerate() {
                y.plane_mut(n, c).copy_from_slice(x.plane(n, from));
            }
        }
        y
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        if self.channels.len() == inputs[0].channels() { Lowering::Identity } else { Lowering::Keep }
    }
}

impl fmt::Display for ChannelSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slice {}..{}", self.channels.start, self.channels.end)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn slice(channels: Range<usize>) -> Op {
        make("slice", &[("channels", ArgValue::Range(channels))])
    }

    #[test]
    fn takes_channels_of_every_sample() {
        let op = slice(1..3);
        assert_eq!(text(&op), "slice 1..3");
        let x = Tensor::new([2, 4, 2], (0..16).map(|v| v as f32).collect());
        let y = eval(&op, &[&x], &[]);
        assert_eq!(y.shape(), [2, 2, 2]);
        assert_eq!(y.data(), [2.0, 3.0, 4.0, 5.0, 10.0, 11.0, 12.0, 13.0]);
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&slice(2..7), &[&[8, 4, 5]]), Ok(vec![5, 4, 5]));
        assert_eq!(shape(&slice(2..7), &[&[7]]), Ok(vec![5]));
        assert_eq!(shape(&slice(2..7), &[&[6, 4]]), Err("E0307"));
        assert_eq!(lower(&slice(0..8), &[8, 4]), Lowering::Identity);
        assert_eq!(lower(&slice(0..7), &[8, 4]), Lowering::Keep);
    }

    #[test]
    fn a_range_without_channels_is_refused() {
        for (start, end) in [(3, 3), (3, 2)] {
            let error = try_make("slice", &[("channels", ArgValue::Range(Range { start, end }))]).unwrap_err();
            assert_eq!(error.param, "channels");
        }
    }
}
