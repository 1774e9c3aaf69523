//! Channels become blocks of positions.

use super::blocks::{BLOCK, ORDER, for_pairs};
use super::window::{per_dim_text, spread};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "depth_to_space",
    doc: "Each position becomes a block of r x r positions, and r * r channels become one (Shi et al. 2016, sub-pixel \
          convolution; PyTorch's PixelShuffle): y[c][h * r + i][w * r + j] = x[(c * r + i) * r + j][h][w].",
    params: &[BLOCK, ORDER],
};

/// `depth_to_space 2`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    /// One for each spatial dimension, or a single one for all.
    pub block: Vec<usize>,
    pub order: BlockOrder,
}

impl DepthToSpace {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| Ok(DepthToSpace { block: args.dims("size"), order: BlockOrder::from_args(args) }.into()),
    }];
}

impl Layer for DepthToSpace {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        self.block.iter().try_for_each(|&size| check_size("a size of the block", size))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let input = inputs[0];
        let block = spread(&self.block, input.spatial().len())?;
        let places = checked_product(&block, "a block").map_err(|error| error.param("size"))?;
        if !input.channels().is_multiple_of(places) {
            let text = per_dim_text(&block);
            let message = format!("{} channels do not divide into blocks of {text}: {places} places", input.channels());
            return Err(ShapeError::new("E0304", message).param("size"));
        }
        let mut dims = vec![input.channels() / places];
        for (size, block) in input.spatial().iter().zip(&block) {
            dims.push(checked_product([size, block], "a dimension").map_err(|error| error.param("size"))?);
        }
        Ok(input.with_dims(dims))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let block = spread(&self.block, x.spatial().len()).expect("checked by the shape rule");
        let channels = x.channels() / block.iter().product::<usize>();
        let fine: Vec<usize> = x.spatial().iter().zip(&block).map(|(size, block)| size * block).collect();
        let mut y = Tensor::zeros([&[x.batch(), channels], &fine[..]].concat());
        for n in 0..x.batch() {
            for_pairs(self.order, &block, channels, &fine, |from, at, c, p| {
                y.plane_mut(n, c)[p] = x.plane(n, from)[at]
            });
        }
        y
    }

    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        if self.block.iter().all(|&size| size == 1) { Lowering::Identity } else { Lowering::Keep }
    }
}

impl fmt::Display for DepthToSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "depth_to_space {}{}", per_dim_text(&self.block), self.order.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn layer<const R: usize>(block: [usize; R], order: &'static str) -> Op {
        make("depth_to_space", &[("size", dims(block)), ("order", ArgValue::Word(order))])
    }

    #[test]
    fn defaults() {
        let op = make("depth_to_space", &[("size", dims([2]))]);
        assert_eq!(op, layer([2], "crd"));
        assert_eq!(
            (text(&op), text(&layer([2, 1], "dcr"))),
            ("depth_to_space 2".into(), "depth_to_space 2x1, dcr".into())
        );
    }

    /// Eight channels of one position, in both orders.
    #[test]
    fn places_of_a_block_are_channels() {
        let x = Tensor::new([1, 8, 1, 1], (0..8).map(|v| v as f32).collect());
        let y = eval(&layer([2], "crd"), &[&x], &[]);
        assert_eq!((y.shape(), y.data()), (&[1, 2, 2, 2][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0][..]));
        let y = eval(&layer([2], "dcr"), &[&x], &[]);
        assert_eq!(y.data(), [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn rows_are_interleaved() {
        let x = Tensor::new([2, 2, 3], (0..12).map(|v| v as f32).collect());
        let y = eval(&layer([2], "crd"), &[&x], &[]);
        assert_eq!(y.shape(), [2, 1, 6]);
        assert_eq!(y.data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&layer([2], "crd"), &[&[12, 4, 5]]), Ok(vec![3, 8, 10]));
        assert_eq!(shape(&layer([2, 3], "dcr"), &[&[12, 4, 5]]), Ok(vec![2, 8, 15]));
        assert_eq!(shape(&layer([2], "crd"), &[&[12, 2, 2, 2]]), Err("E0304"));
        assert_eq!(shape(&layer([2], "crd"), &[&[12]]), Err("E0301"));
        assert_eq!(shape(&layer([usize::MAX], "crd"), &[&[12, 4, 5]]), Err("E0303"));
        assert_eq!(lower(&layer([1], "crd"), &[3, 4, 5]), Lowering::Identity);
    }
}
