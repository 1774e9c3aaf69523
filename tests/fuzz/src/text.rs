//! Model texts: parsed, formatted, built, verified, planned.

use svertka::analysis;
use svertka::codegen::Isa;
use svertka::diagnostic::render;
use svertka::front::text::build::{self, Limits, Loader, Options};
use svertka::front::text::syntax::format::format;
use svertka::ir::{self, Graph, Verified};
use svertka::kernels::Target;
use svertka::schedule;
use svertka::source::SourceMap;

/// Graphs whose values have more elements than this are not planned: a fuzzer has other things to do.
const MOST_ELEMENTS: usize = 1 << 16;

#[rustfmt::skip]
pub const DICTIONARY: &[&str] = &[
    "model m(a = 1)\n", "input x: f32[N, 3, 8, 8]\n", "H = 8, ", "net {\n", "}\n", "block B(c, s = 1) {", "variant v = m(2)\n",
    "defaults conv half, bias\n", "const k = [1, 2]\n", "rename a -> b.c\n", "allow even_kernel\n", "use \"a.cnn\"\n",
    " | ", "seq { ", "residual { ", "project { ", "concat { ", "add { ", "mul { ", "grow { ", "gate { ", "for i in 1..3 { ", "if in.c > 3 { ",
    " else { ", "from x", "from a.0", "from b.c{i}", "a: ", "output y", "aux a: ", " as skip", "2 x B(4)", "{i}", " then ", " if same_shape ",
    "conv 3x3, 8", "conv_transpose 3x3, 8, stride 2", "output_padding 1", "dense 10", "maxpool 2x2", "avgpool 3x3", "adaptive_avgpool 2", "global_avgpool", "bn", "layer_norm eps 1e-6", "instance_norm affine", "reduce mean", "reduce sum, over positions", "lp_pool 2x2, p 3", "adaptive_maxpool 3", "permute (2, 3, 1)", "lrn 5", "relu",
    "resize 3x5, bicubic", "crop 1", "scale (0.5, 2)", "mode reflect",
    "flatten", "pad 1", "upsample 2, bilinear", "channel_shuffle 2", "slice 0..2", "depth_to_space 2, dcr",
    "space_to_depth 2x1", "subsample 2, at (0, 1)", "unflatten 2x2", "softmax", "identity", "stride 2", "dilation 2",
    "groups in.c", "half", "same", "pad (0, 1, 2, 3)", "ceil", "count_pad false", "weights [[1, 2], [3, 4]]",
    "0", "1", "65536", "4294967296", "9223372036854775807", "18446744073709551616", "1e308", "1e-9", "0.5", "(-1)",
    "65x65", "1x1000000", "ceil(w * in.c)", "round8(3)", "len([1])", " // 0", " % 3", "#", "\"", "(", ")", "[", "]", ",",
];

/// The work that one text may cause: little, so that many are tried. The nesting is the language's own.
fn small() -> Limits {
    Limits { layers: 300, steps: 20_000, list: 10_000, ..Limits::default() }
}

/// For models that use no other file.
struct NoFiles;

impl Loader for NoFiles {
    fn load(&mut self, _path: &str) -> Result<String, String> {
        Err("there is no such file".into())
    }
}

/// # Panics
/// If formatting is not idempotent, or what was built cannot be planned.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    check_format(&text);
    let mut sources = SourceMap::default();
    let root = sources.add("fuzz.cnn", text);
    let options = Options { limits: small(), ..Options::default() };
    let mut lint = |graph: &Verified<Graph>| analysis::lint(graph, &[]);
    let (findings, _) = build::check(&mut sources, root, &options, &mut NoFiles, &mut lint);
    render(&findings, &sources, false);
    let program = build::load(&mut sources, root, &options, &mut NoFiles);
    let Ok(graph) = program.and_then(|program| build::build(&mut sources, &program, &options)) else { return };
    ir::print(&graph);
    analysis::figures(&graph);
    let elements = graph.nodes.iter().map(|node| node.ty.elements()).fold(0, usize::saturating_add);
    if elements <= MOST_ELEMENTS {
        schedule::plan(graph, Target::new(Isa::Avx2));
    }
}

fn check_format(text: &str) {
    let format = |text: &str| {
        let mut sources = SourceMap::default();
        let file = sources.add("fuzz.cnn", text);
        format(&sources, file)
    };
    if let Ok(once) = format(text) {
        assert_eq!(format(&once).as_deref(), Ok(&once[..]), "formatted twice");
    }
}
