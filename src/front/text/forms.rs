//! What the language is made of beside layers and functions: items, steps and combinators, for the reference.

/// A form of the language.
pub struct Form {
    /// The word that it begins with, or by which it is known.
    pub name: &'static str,
    pub usage: &'static str,
    pub doc: &'static str,
    /// A model that has it, the items behind an input, or the body of a net.
    pub example: &'static str,
}

/// Items first, then steps and combinators.
#[rustfmt::skip]
pub const FORMS: &[Form] = &[
    Form {
        name: "model",
        usage: "model NAME(PARAMETER = DEFAULT, ..)",
        doc: "names the network and its parameters, which `-D` and variants set",
        example: "model m(classes = 10)\ninput image: f32[N, 3, 32, 32]\nnet { flatten | fc: dense classes }\n",
    },
    Form {
        name: "input",
        usage: "input NAME: f32[N, channels, sizes..]",
        doc: "an input; `H = 224` among its sizes makes that one free, with a usual value",
        example: "model m\ninput image: f32[N, 3, H = 32, W = 32]\nnet { conv 3x3, 8 }\n",
    },
    Form {
        name: "net",
        usage: "net { .. }",
        doc: "what the first input goes through",
        example: "net { conv 3x3, 8 | relu }\n",
    },
    Form {
        name: "block",
        usage: "block Name(PARAMETER = DEFAULT, ..) { .. }",
        doc: "a sequence of steps that is used by its name",
        example: "block Unit(c, s = 1) { conv: conv 3x3, c, stride s | bn: bn | relu }\nnet { one: Unit(8, 2) }\n",
    },
    Form {
        name: "const",
        usage: "const NAME = VALUE",
        doc: "a value with a name; tables are lists of rows",
        example: "const widths = [16, 32]\nnet { for c in widths { conv{c}: conv 3x3, c } }\n",
    },
    Form {
        name: "defaults",
        usage: "defaults LAYER ARGUMENTS",
        doc: "what a layer's parameters are in this file where they are not written",
        example: "defaults conv half, bias\nnet { conv 3x3, 8 }\n",
    },
    Form {
        name: "variant",
        usage: "variant NAME = MODEL(ARGUMENTS)",
        doc: "another network of the same text: `FILE:NAME`",
        example: "model m(c = 8)\ninput image: f32[N, 3, 32, 32]\nnet { conv 3x3, c }\nvariant wide = m(64)\n",
    },
    Form {
        name: "use",
        usage: "use \"FILE.cnn\"",
        doc: "the blocks and constants of a file beside the model, or of a network that comes along: `use \"zoo:resnet50\"`",
        example: "",
    },
    Form {
        name: "rename",
        usage: "rename OLD -> NEW",
        doc: "another name for weights whose names begin with OLD, as a published file has them",
        example: "rename norm -> bn.1\nnet { norm: bn }\n",
    },
    Form {
        name: "allow",
        usage: "allow WARNING, ..",
        doc: "warnings that are not given",
        example: "allow even_kernel\nnet { conv 2x2, 8 }\n",
    },
    Form {
        name: "label",
        usage: "LABEL: step",
        doc: "one component of the names of the step's weights, and a name for its value; `{..}` in it is replaced by a value",
        example: "conv1: conv 3x3, 8\n",
    },
    Form {
        name: "seq",
        usage: "seq { .. }",
        doc: "steps in one, whose children without labels are numbered from 0",
        example: "features: seq { conv 3x3, 8 | relu | conv 3x3, 8 }\n",
    },
    Form {
        name: "residual",
        usage: "residual [if CONDITION] { .. } [project [if CONDITION] { .. }]",
        doc: "the sum of the body's value and the input, or of `project`'s where the body changes the shape",
        example: "residual { conv 3x3, 8, half } project { conv 1x1, 8 }\n",
    },
    Form {
        name: "concat",
        usage: "concat { a branch a line }",
        doc: "the channels of all branches behind each other",
        example: "concat {\n  conv 1x1, 8\n  conv 3x3, 8, half\n}\n",
    },
    Form {
        name: "add",
        usage: "add { a branch a line }",
        doc: "the sum of all branches",
        example: "add {\n  conv 1x1, 8\n  conv 3x3, 8, half\n}\n",
    },
    Form {
        name: "mul",
        usage: "mul { a branch a line }",
        doc: "the product of all branches; one may have a single position",
        example: "mul {\n  conv 1x1, 8\n  seq { global_avgpool | conv 1x1, 8 | sigmoid }\n}\n",
    },
    Form {
        name: "grow",
        usage: "grow { .. }",
        doc: "the input, and behind its channels those of the body's value (DenseNet)",
        example: "for i in 1..3 { layer{i}: grow { conv 3x3, 8, half } }\n",
    },
    Form {
        name: "gate",
        usage: "gate { .. }",
        doc: "the product of the input and the body's value (squeeze and excitation)",
        example: "gate { global_avgpool | conv 1x1, in.c | sigmoid }\n",
    },
    Form {
        name: "x",
        usage: "COUNT x Block(ARGUMENTS)",
        doc: "copies in a row; `2 then 1` is 2 for the first of them and 1 for the others",
        example: "block Unit(s) { conv: conv 3x3, 8, half, stride s }\nnet { layer: 3 x Unit(2 then 1) }\n",
    },
    Form {
        name: "for",
        usage: "for NAME in RANGE or LIST { .. }",
        doc: "the body once for each value; `(a, b)` takes the rows of a table apart",
        example: "for (k, c) in [(3x3, 8), (5x5, 16)] { conv{c}: conv k, c }\n",
    },
    Form {
        name: "if",
        usage: "if CONDITION { .. } else { .. }",
        doc: "one of the bodies, chosen when the network is built",
        example: "if in.c > 3 { relu } else { conv 3x3, 8 }\n",
    },
    Form {
        name: "as",
        usage: "step as NAME",
        doc: "names a value, for `from` in this body",
        example: "conv 3x3, 3, half as skip | relu\nresidual { from skip | sigmoid }\n",
    },
    Form {
        name: "from",
        usage: "from NAME or PATH",
        doc: "goes on with a value that was made above: one that `as` names, a label with those around it, an input",
        example: "stem: conv 3x3, 8\nrelu\nfrom stem | sigmoid\n",
    },
    Form {
        name: "output",
        usage: "step | output NAME",
        doc: "makes a value an output; the last value of the net is one in any case",
        example: "conv 3x3, 8 | output features | relu\n",
    },
    Form {
        name: "aux",
        usage: "aux LABEL: step",
        doc: "a side output that serves training, built only if `--aux` asks for it",
        example: "conv 3x3, 8 | aux early: conv 1x1, 2\n",
    },
];
