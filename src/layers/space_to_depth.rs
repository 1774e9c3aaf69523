//! Blocks of positions become channels.

use super::blocks::{BLOCK, ORDER, for_pairs};
use super::window::{Padding, per_dim_text, spread};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "space_to_depth",
    doc: "Each block of r x r positions becomes one position with r * r times the channels (PyTorch's PixelUnshuffle): \
          y[(c * r + i) * r + j][h][w] = x[c][h * r + i][w * r + j]. ONNX's SpaceToDepth is `space_to_depth r, dcr`.",
    params: &[BLOCK, ORDER],
};

/// `space_to_depth 2`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    /// One for each spatial dimension, or a single one for all.
    pub block: Vec<usize>,
    pub order: BlockOrder,
}

impl SpaceToDepth {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| Ok(SpaceToDepth { block: args.dims("size"), order: BlockOrder::from_args(args) }.into()),
    }];
}

impl Layer for SpaceToDepth {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        self.block.iter().try_for_each(|&size| check_size("a size of the block", size))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let input = inputs[0];
        let block = spread(&self.block, input.spatial().len())?;
        if !input.spatial().iter().zip(&block).all(|(size, block)| size.is_multiple_of(*block)) {
            let message = format!("{input} does not divide into blocks of {}", per_dim_text(&block));
            return Err(ShapeError::new("E0308", message).param("size"));
        }
        let channels = checked_product(block.iter().chain([&input.channels()]), "a position")?;
        let spatial = input.spatial().iter().zip(&block).map(|(size, block)| size / block);
        Ok(input.with_dims([channels].into_iter().chain(spatial).collect::<Vec<_>>()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let block = spread(&self.block, x.spatial().len()).expect("checked by the shape rule");
        let channels = x.channels() * block.iter().product::<usize>();
        let coarse: Vec<usize> = x.spatial().iter().zip(&block).map(|(size, block)| size / block).collect();
        let mut y = Tensor::zeros([&[x.batch(), channels], &coarse[..]].concat());
        for n in 0..x.batch() {
            for_pairs(self.order, &block, x.channels(), x.spatial(), |to, at, c, p| {
                y.plane_mut(n, to)[at] = x.plane(n, c)[p];
            });
        }
        y
    }

    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        if self.block.iter().all(|&size| size == 1) { Lowering::Identity } else { Lowering::Keep }
    }

    /// A position sees its block.
    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        let block = spread(&self.block, inputs[0].spatial().len()).ok()?;
        let (stride, dilation) = (block.clone(), vec![1; block.len()]);
        Window { kernel: block, stride, dilation, padding: Padding::Valid, ceil: false }
            .resolve(inputs[0].spatial())
            .ok()
    }
}

impl fmt::Display for SpaceToDepth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "space_to_depth {}{}", per_dim_text(&self.block), self.order.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn layer<const R: usize>(block: [usize; R], order: &'static str) -> Op {
        make("space_to_depth", &[("size", dims(block)), ("order", ArgValue::Word(order))])
    }

    #[test]
    fn text_of_both_orders() {
        assert_eq!(text(&layer([2, 2], "crd")), "space_to_depth 2");
        assert_eq!(text(&layer([1, 3], "dcr")), "space_to_depth 1x3, dcr");
    }

    #[test]
    fn undoes_depth_to_space() {
        let x = Tensor::new([2, 12, 2, 3], (0..144).map(|v| v as f32).collect());
        for order in ["crd", "dcr"] {
            let args = [("size", dims([2, 3])), ("order", ArgValue::Word(order))];
            let y = eval(&make("depth_to_space", &args), &[&x], &[]);
            assert_eq!(eval(&layer([2, 3], order), &[&y], &[]), x);
        }
    }

    #[test]
    fn places_of_a_block_become_channels() {
        let x = Tensor::new([1, 2, 4], (0..8).map(|v| v as f32).collect());
        assert_eq!(eval(&layer([2], "crd"), &[&x], &[]).data(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(eval(&layer([2], "dcr"), &[&x], &[]).data(), [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&layer([2], "crd"), &[&[3, 8, 10]]), Ok(vec![12, 4, 5]));
        assert_eq!(shape(&layer([2, 1], "crd"), &[&[3, 8, 9]]), Ok(vec![6, 4, 9]));
        assert_eq!(shape(&layer([2], "crd"), &[&[3, 8, 9]]), Err("E0308"));
        assert_eq!(shape(&layer([2], "crd"), &[&[3]]), Err("E0301"));
        assert_eq!(lower(&layer([1], "crd"), &[3, 4, 5]), Lowering::Identity);
    }
}
