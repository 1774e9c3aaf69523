//! Positions taken away at the borders.

use super::args::sides;
use super::pad::numbers;
use super::window::{flat_error, grid};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "crop",
    doc: "Takes positions away at the borders of each plane, as a `pad` with negative numbers would: `crop 1`, \
          `crop (0, 1, 0, 1)`.",
    params: &[ParamDecl::required(
        "sides",
        Kind::Pad,
        "positions on all sides, for each dimension, or front and back of each dimension",
    )],
};

/// `crop (0, 1, 0, 1)`
#[derive(Clone, Debug, PartialEq)]
pub struct Crop {
    /// In numbers: front and back of each dimension, the same on all sides, or one for each dimension.
    pub sides: PadArg,
}

impl Crop {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| Crop::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<Crop, ArgError> {
        match args.get("sides") {
            Some(ArgValue::Pad(sides)) => Ok(Crop { sides: numbers("sides", sides)?.clone() }),
            other => unreachable!("sides: {other:?}"),
        }
    }

    /// For each dimension of an input of spatial size `input`, the positions that are left.
    ///
    /// # Errors
    /// `E0301` if there are numbers for another rank, `E0302` if nothing is left.
    pub fn ranges(&self, input: &[usize]) -> Result<Vec<Range<usize>>, ShapeError> {
        let rank = input.len();
        let amounts = match &self.sides {
            _ if rank == 0 => return Err(flat_error()),
            PadArg::All(n) => vec![(*n, *n); rank],
            PadArg::List(list) => sides(list, rank).ok_or_else(|| {
                let message = format!("{} numbers for an input of {rank} spatial dimensions", list.len());
                let help = "give one number for all sides, one for each dimension, or front and back of each dimension";
                ShapeError::new("E0301", message).param("sides").help(help)
            })?,
            PadArg::Valid | PadArg::Half | PadArg::Same => vec![(0, 0); rank],
        };
        let left = |(&size, (front, back)): (&usize, (usize, usize))| {
            let end = size.checked_sub(back).filter(|end| front < *end);
            let error = || ShapeError::new("E0302", format!("nothing is left of {size} positions")).param("sides");
            end.map(|end| front..end).ok_or_else(error)
        };
        input.iter().zip(amounts).map(left).collect()
    }
}

impl Layer for Crop {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        match self.sides {
            PadArg::All(_) | PadArg::List(_) => Ok(()),
            _ => Err(ShapeError::new("E0217", "`half` and `same` belong to a kernel").param("sides")),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let sizes: Vec<usize> = self.ranges(inputs[0].spatial())?.iter().map(Range::len).collect();
        Ok(inputs[0].with_dims([vec![inputs[0].channels()], sizes].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let ranges = self.ranges(x.spatial()).expect("checked by the shape rule");
        let places = grid(x.spatial(), &ranges.iter().map(|range| range.clone().collect()).collect::<Vec<_>>());
        let sizes: Vec<usize> = ranges.iter().map(Range::len).collect();
        let mut y = Tensor::zeros([vec![x.batch(), x.channels()], sizes].concat());
        for (n, c) in (0..x.batch()).flat_map(|n| (0..x.channels()).map(move |c| (n, c))) {
            let plane = x.plane(n, c);
            y.plane_mut(n, c).iter_mut().zip(&places).for_each(|(y, &place)| *y = plane[place]);
        }
        y
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        let spatial = inputs[0].spatial();
        match self.ranges(spatial) {
            Ok(ranges) if ranges.iter().map(Range::len).eq(spatial.iter().copied()) => Lowering::Identity,
            _ => Lowering::Keep,
        }
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sides {
            PadArg::List(list) => {
                let list: Vec<String> = list.iter().map(usize::to_string).collect();
                write!(f, "crop ({})", list.join(", "))
            }
            PadArg::All(n) => write!(f, "crop {n}"),
            PadArg::Valid | PadArg::Half | PadArg::Same => f.write_str("crop 0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn crop(sides: PadArg) -> Op {
        make("crop", &[("sides", ArgValue::Pad(sides))])
    }

    #[test]
    fn what_is_left() {
        let x = Tensor::new([1, 1, 3, 3], (1..=9).map(|v| v as f32).collect());
        let y = |sides| eval(&crop(sides), &[&x], &[]).data().to_vec();
        assert_eq!(y(PadArg::All(1)), [5.0]);
        assert_eq!(y(PadArg::List(vec![1, 0])), [4.0, 5.0, 6.0]);
        assert_eq!(y(PadArg::List(vec![0, 1, 2, 0])), [3.0, 6.0]);
        assert_eq!(text(&crop(PadArg::List(vec![0, 1, 2, 0]))), "crop (0, 1, 2, 0)");
        assert_eq!(lower(&crop(PadArg::All(0)), &[3, 4]), Lowering::Identity);
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&crop(PadArg::All(1)), &[&[3, 4, 5]]), Ok(vec![3, 2, 3]));
        assert_eq!(shape(&crop(PadArg::All(2)), &[&[3, 4, 5]]), Err("E0302"));
        assert_eq!(shape(&crop(PadArg::List(vec![0, usize::MAX])), &[&[3, 4]]), Err("E0302"));
        assert_eq!(shape(&crop(PadArg::List(vec![0, 1, 2])), &[&[3, 4, 5]]), Err("E0301"));
        assert_eq!(shape(&crop(PadArg::All(1)), &[&[3]]), Err("E0301"));
        assert!(try_make("crop", &[("sides", ArgValue::Pad(PadArg::Half))]).is_err());
    }
}
