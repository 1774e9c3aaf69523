//! Mixes the channels of groups.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "channel_shuffle",
    doc: "Mixes the channels of g groups: y[i * g + j] = x[j * C / g + i] (Zhang et al. 2018, ShuffleNet).",
    params: &[ParamDecl::required("groups", Kind::Int, "number of groups")],
};

/// `channel_shuffle 2`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelShuffle {
    pub groups: usize,
}

impl ChannelShuffle {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(ChannelShuffle { groups: args.int("groups") }.into()) }];

    /// The channel of the input that becomes channel `c` of `channels`.
    pub fn source(&self, c: usize, channels: usize) -> usize {
        c % self.groups * (channels / self.groups) + c / self.groups
    }
}

impl Layer for ChannelShuffle {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_size("the number of groups", self.groups)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let channels = inputs[0].channels();
        if !channels.is_multiple_of(self.groups) {
            let message = format!("{channels} channels do not divide into {} groups", self.groups);
            return Err(ShapeError::new("E0304", message).param("groups"));
        }
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let mut y = Tensor::zeros(x.shape());
        for n in 0..x.batch() {
            for c in 0..x.channels() {
                y.plane_mut(n, c).copy_from_slice(x.plane(n, self.source(c, x.channels())));
            }
        }
        y
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        if self.groups == 1 || self.groups == inputs[0].channels() { Lowering::Identity } else { Lowering::Keep }
    }
}

impl fmt::Display for ChannelShuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel_shuffle {}", self.groups)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn takes_one_channel_of_each_group_in_turn() {
        let op = make("channel_shuffle", &[("groups", int(2))]);
        assert_eq!(text(&op), "channel_shuffle 2");
        let x = Tensor::new([2, 6, 1], (0..12).map(|v| v as f32).collect());
        assert_eq!(eval(&op, &[&x], &[]).data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
    }

    #[test]
    fn shapes() {
        let op = make("channel_shuffle", &[("groups", int(3))]);
        assert_eq!(shape(&op, &[&[6, 2, 2]]), Ok(vec![6, 2, 2]));
        assert_eq!(shape(&op, &[&[8, 2, 2]]), Err("E0304"));
        assert_eq!(lower(&op, &[3, 2, 2]), Lowering::Identity);
        assert_eq!(lower(&op, &[6, 2, 2]), Lowering::Keep);
    }
}
