//! Zeros, or what is near, around the input.

use super::args::sides;
use super::window::{flat_error, unravel};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "pad",
    doc: "Zeros (or another value) around each plane, and whole channels of zeros in front of and behind the others: \
          `pad 1`, `pad sides (0, 1, 0, 1), channels (16, 16)`. `reflect` continues each plane as a mirror at its border \
          would, without the border itself, `edge` with the border.",
    params: &[
        ParamDecl::positional(
            "sides",
            Kind::Pad,
            "valid",
            "zeros on all sides, for each dimension, or front and back of each dimension",
        ),
        ParamDecl::named("channels", Kind::Pad, "valid", "channels of zeros on both sides, or (front, back)"),
        ParamDecl::named("mode", Kind::Word(&["constant", "reflect", "edge"]), "constant", "what is around each plane"),
        ParamDecl::named("value", Kind::Float, "0.0", "the constant"),
    ],
};

/// `pad 1, channels (16, 16)`
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// In numbers: front and back of each dimension, the same on all sides, or one for each dimension.
    pub sides: PadArg,
    /// Front and back.
    pub channels: (usize, usize),
    pub fill: Fill,
}

/// What is around each plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    Constant(f32),
    /// The mirror image, without the border itself.
    Reflect,
    /// The border.
    Edge,
}

impl Fill {
    pub const ZEROS: Fill = Fill::Constant(0.0);

    /// The input position that stands at output position `i` of a dimension of `input` positions, which follows `front`
    /// others; `None` where the constant does.
    pub fn source(self, i: usize, front: usize, input: usize) -> Option<usize> {
        let at = i as i64 - front as i64;
        let last = input as i64 - 1;
        match self {
            Fill::Constant(_) => (0..=last).contains(&at).then_some(at as usize),
            Fill::Edge => Some(at.clamp(0, last) as usize),
            // Less is padded than there is.
            Fill::Reflect => Some((last - (last - at.abs()).abs()) as usize),
        }
    }
}

impl Pad {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| Pad::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<Pad, ArgError> {
        let sides = match args.get("sides") {
            Some(ArgValue::Pad(sides)) => numbers("sides", sides)?.clone(),
            other => unreachable!("sides: {other:?}"),
        };
        let channels = match args.pad("channels", 1)? {
            Padding::Valid => (0, 0),
            Padding::All(n) => (n, n),
            Padding::Sides(sides) => sides[0],
            Padding::Half | Padding::Same => return Err(word_error("channels")),
        };
        let value = args.float("value");
        let fill = match args.word("mode") {
            "reflect" => Fill::Reflect,
            "edge" => Fill::Edge,
            _ => Fill::Constant(value as f32),
        };
        if value != 0.0 && !matches!(fill, Fill::Constant(_)) {
            return Err(ArgError::new("value", "the value is that of `constant`")
                .help("leave `value` or `mode` out")
                .changes(["value", "mode"].map(Change::Without)));
        }
        if channels != (0, 0) && fill != Fill::ZEROS {
            return Err(ArgError::new("channels", "whole channels are zeros").help("pad them in a layer of their own"));
        }
        Ok(Pad { sides, channels, fill })
    }

    /// Front and back of the channels and of each of `rank` spatial dimensions.
    ///
    /// # Errors
    /// `E0301` if there are numbers for another rank.
    pub fn amounts(&self, rank: usize) -> Result<Vec<(usize, usize)>, ShapeError> {
        let spatial = match &self.sides {
            PadArg::All(0) => vec![(0, 0); rank],
            PadArg::List(_) | PadArg::All(_) if rank == 0 => return Err(flat_error()),
            PadArg::All(n) => vec![(*n, *n); rank],
            PadArg::List(list) => sides(list, rank).ok_or_else(|| {
                let message = format!("{} numbers of padding for an input of {rank} spatial dimensions", list.len());
                let help = "give one number for all sides, one for each dimension, or front and back of each dimension";
                ShapeError::new("E0301", message).param("sides").help(help)
            })?,
            PadArg::Valid | PadArg::Half | PadArg::Same => vec![(0, 0); rank],
        };
        Ok([vec![self.channels], spatial].concat())
    }
}

/// Padding in words means that of a kernel, which this layer has not.
pub(super) fn numbers<'a>(name: &'static str, pad: &'a PadArg) -> Result<&'a PadArg, ArgError> {
    match pad {
        PadArg::Valid => Ok(&PadArg::All(0)),
        PadArg::Half | PadArg::Same => Err(word_error(name)),
        PadArg::All(_) | PadArg::List(_) => Ok(pad),
    }
}

fn word_error(name: &'static str) -> ArgError {
    ArgError::new(name, "`half` and `same` belong to a kernel").help("give the padding in numbers")
}

impl Layer for Pad {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        let words = || ShapeError::new("E0217", "`half` and `same` belong to a kernel").param("sides");
        match self.sides {
            PadArg::Valid | PadArg::Half | PadArg::Same => Err(words()),
            PadArg::All(_) | PadArg::List(_) if self.channels != (0, 0) && self.fill != Fill::ZEROS => {
                Err(ShapeError::new("E0217", "whole channels are zeros").param("channels"))
            }
            PadArg::All(_) | PadArg::List(_) => match self.fill {
                Fill::Constant(value) => check_finite("the value", value.into()),
                Fill::Reflect | Fill::Edge => Ok(()),
            },
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let amounts = self.amounts(inputs[0].spatial().len())?;
        let padded = |(&size, &(front, back)): (&usize, &(usize, usize))| {
            size.checked_add(front).and_then(|size| size.checked_add(back))
        };
        let dims: Option<Vec<usize>> = inputs[0].dims.iter().zip(&amounts).map(padded).collect();
        let dims = dims.ok_or_else(|| ShapeError::new("E0303", "the padded size does not fit in 64 bits"))?;
        let too_far = |(&size, &(front, back)): (&usize, &(usize, usize))| front.max(back) >= size;
        if self.fill == Fill::Reflect
            && let Some((size, _)) = inputs[0].dims.iter().zip(&amounts).find(|pair| too_far(*pair))
        {
            let message = format!("a mirror image of {size} positions has {} at most beside them", size - 1);
            return Err(ShapeError::new("E0302", message)
                .param("sides")
                .help("pad less, or with `edge`")
                .changes([Change::Word("mode", "edge")]));
        }
        Ok(inputs[0].with_dims(dims))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let amounts = self.amounts(x.spatial().len()).expect("checked by the shape rule");
        let dims = &x.shape()[1..];
        let padded: Vec<usize> = dims.iter().zip(&amounts).map(|(&size, (front, back))| front + size + back).collect();
        let constant = if let Fill::Constant(value) = self.fill { value } else { 0.0 };
        let elements: usize = dims.iter().product();
        let mut y = Vec::new();
        for sample in x.data().chunks(elements) {
            for p in 0..padded.iter().product() {
                let at = unravel(p, &padded);
                let sources = (0..dims.len()).map(|d| self.fill.source(at[d], amounts[d].0, dims[d]));
                let index = sources.zip(dims).try_fold(0, |index, (at, size)| Some(index * size + at?));
                y.push(index.map_or(constant, |index| sample[index]));
            }
        }
        Tensor::new([vec![x.batch()], padded].concat(), y)
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        match self.amounts(inputs[0].spatial().len()) {
            Ok(amounts) if amounts.iter().all(|&amount| amount == (0, 0)) => Lowering::Identity,
            _ => Lowering::Keep,
        }
    }
}

impl fmt::Display for Pad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sides {
            PadArg::List(list) => {
                let list: Vec<String> = list.iter().map(usize::to_string).collect();
                write!(f, "pad sides ({})", list.join(", "))?;
            }
            PadArg::All(n) => write!(f, "pad {n}")?,
            PadArg::Valid | PadArg::Half | PadArg::Same => f.write_str("pad 0")?,
        }
        if self.channels != (0, 0) {
            write!(f, ", channels ({}, {})", self.channels.0, self.channels.1)?;
        }
        match self.fill {
            Fill::Constant(0.0) => Ok(()),
            Fill::Constant(value) => write!(f, ", value = {value:?}"),
            Fill::Reflect => f.write_str(", mode reflect"),
            Fill::Edge => f.write_str(", mode edge"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn pad(sides: PadArg, channels: &[usize]) -> Op {
        let channels = ArgValue::Pad(PadArg::List(channels.to_vec()));
        make("pad", &[("sides", ArgValue::Pad(sides)), ("channels", channels)])
    }

    #[test]
    fn defaults_do_nothing() {
        let op = make("pad", &[]);
        assert_eq!(op, Op::from(Pad { sides: PadArg::All(0), channels: (0, 0), fill: Fill::ZEROS }));
        assert_eq!(text(&op), "pad 0");
        assert_eq!(lower(&op, &[3, 4, 4]), Lowering::Identity);
        assert_eq!(shape(&op, &[&[3]]), Ok(vec![3]));
    }

    #[test]
    fn zeros_around_channels_and_planes() {
        let op = pad(PadArg::List(vec![0, 1, 1, 0]), &[1, 0]);
        assert_eq!(text(&op), "pad sides (0, 1, 1, 0), channels (1, 0)");
        let x = Tensor::new([2, 1, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let y = eval(&op, &[&x], &[]);
        assert_eq!(y.shape(), [2, 2, 2, 3]);
        let sample = |a: f32, b: f32| [[0.0; 6], [0.0, a, b, 0.0, 0.0, 0.0]].concat();
        assert_eq!(y.data(), [sample(1.0, 2.0), sample(3.0, 4.0)].concat());
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&pad(PadArg::All(2), &[8]), &[&[3, 4, 5]]), Ok(vec![19, 8, 9]));
        assert_eq!(shape(&pad(PadArg::List(vec![1, 2]), &[0]), &[&[3, 4, 5]]), Ok(vec![3, 6, 9]));
        assert_eq!(shape(&pad(PadArg::List(vec![1, 2]), &[0]), &[&[3, 4]]), Ok(vec![3, 7]));
        assert_eq!(shape(&pad(PadArg::List(vec![1, 2, 3]), &[0]), &[&[3, 4, 5]]), Err("E0301"));
        assert_eq!(shape(&pad(PadArg::All(1), &[0]), &[&[3]]), Err("E0301"));
        assert_eq!(shape(&pad(PadArg::All(usize::MAX), &[0]), &[&[3, 4]]), Err("E0303"));
    }

    #[test]
    fn what_is_near_continues() {
        let y = |more: &[(&'static str, ArgValue)]| {
            let sides = [("sides", ArgValue::Pad(PadArg::List(vec![2, 1])))];
            let op = make("pad", &[&sides, more].concat());
            (eval(&op, &[&Tensor::new([1, 1, 3], vec![1.0, 2.0, 3.0])], &[]).data().to_vec(), text(&op))
        };
        let mode = |mode| y(&[("mode", ArgValue::Word(mode))]);
        assert_eq!(mode("reflect"), (vec![3.0, 2.0, 1.0, 2.0, 3.0, 2.0], "pad sides (2, 1), mode reflect".into()));
        assert_eq!(mode("edge"), (vec![1.0, 1.0, 1.0, 2.0, 3.0, 3.0], "pad sides (2, 1), mode edge".into()));
        let value = y(&[("value", ArgValue::Float(0.5))]);
        assert_eq!(value, (vec![0.5, 0.5, 1.0, 2.0, 3.0, 0.5], "pad sides (2, 1), value = 0.5".into()));
    }

    #[test]
    fn modes_have_their_limits() {
        let with = |sides, more: &[(&'static str, ArgValue)]| {
            try_make("pad", &[&[("sides", ArgValue::Pad(sides))], more].concat())
        };
        let reflect = ("mode", ArgValue::Word("reflect"));
        let op = with(PadArg::All(3), std::slice::from_ref(&reflect)).unwrap();
        assert_eq!(shape(&op, &[&[2, 4]]), Ok(vec![2, 10]));
        assert_eq!(shape(&op, &[&[2, 3]]), Err("E0302"));
        let param = |more: &[_]| with(PadArg::All(1), more).unwrap_err().param;
        assert_eq!(param(&[reflect.clone(), ("value", ArgValue::Float(1.0))]), "value");
        assert_eq!(param(&[reflect, ("channels", ArgValue::Pad(PadArg::All(1)))]), "channels");
        assert_eq!(param(&[("value", ArgValue::Float(1.0)), ("channels", ArgValue::Pad(PadArg::All(1)))]), "channels");
    }

    #[test]
    fn words_belong_to_kernels() {
        assert!(try_make("pad", &[("sides", ArgValue::Pad(PadArg::Half))]).is_err());
        assert!(try_make("pad", &[("channels", ArgValue::Pad(PadArg::Same))]).is_err());
        assert!(try_make("pad", &[("channels", ArgValue::Pad(PadArg::List(vec![1, 2, 3])))]).is_err());
    }
}
