//! Rules of thumb: what a network may do, but seldom does for a good reason.
//!
//! Each is explained in [`codes`](crate::diagnostic::codes).
//!
//! What is written and has no effect is warned of too; those warnings, W08xx, are listed in [`unused`].
//!
//! `allow NAME` in the model file, or `--allow NAME`, silences one.

mod bias;
mod field;
mod kernels;
mod names;

use super::receptive_field::{ReceptiveFields, receptive_field};
use crate::diagnostic::{Diagnostic, Help, Severity, nearest};
use crate::front::text::build::idle::Changes;
use crate::front::text::build::unused::{self, Kind, Unused};
use crate::front::text::build::{self, Built, Loader, Options, Program};
use crate::front::text::places::{self, Place, Places};
use crate::front::text::stop::Stop;
use crate::ir::{Allow, Graph, NodeId, Verified};
use crate::source::{FileId, SourceMap};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// A rule of thumb.
pub struct Lint {
    /// `W07xx`
    pub code: &'static str,
    pub name: &'static str,
    find: fn(&Subject) -> Vec<Finding>,
}

/// In the order of their codes.
pub const LINTS: &[Lint] = &[
    Lint { code: "W0701", name: "even_kernel", find: kernels::even },
    Lint { code: "W0702", name: "large_kernel", find: kernels::large },
    Lint { code: "W0703", name: "replaceable_kernel", find: kernels::replaceable },
    Lint { code: "W0704", name: "small_field", find: field::small },
    Lint { code: "W0705", name: "bias_before_norm", find: bias::before_norm },
    Lint { code: "W0706", name: "checkerboard", find: field::checkerboard },
    Lint { code: "W0707", name: "uneven_overlap", find: kernels::uneven },
    Lint { code: "W0708", name: "counted_name", find: names::counted },
];

/// A network before optimisation, with what several rules ask for.
struct Subject<'a, 't> {
    graph: &'a Graph,
    fields: ReceptiveFields,
    users: Vec<Vec<NodeId>>,
    /// Where it was made, if the text may be looked at.
    places: Option<&'a Places<'t>>,
}

impl<'t> Subject<'_, 't> {
    fn new<'a>(graph: &'a Verified<Graph>, places: Option<&'a Places<'t>>) -> Subject<'a, 't> {
        Subject { graph, fields: receptive_field(graph), users: graph.users(), places }
    }

    /// The call that has made a node.
    fn place(&self, node: NodeId) -> Option<Place<'t>> {
        self.places?.call(self.graph[node].origin.span?)
    }
}

/// A place where a rule is broken.
struct Finding {
    node: NodeId,
    message: String,
    /// Beside the layer.
    label: String,
    help: Help,
}

/// The warnings about a graph that the builder has made, in the order of [`LINTS`], except those that the model or
/// `allowed` silences. A layer of the text gives one for all of its copies.
pub fn lint(graph: &Verified<Graph>, allowed: &[String]) -> Vec<Diagnostic> {
    warn(&Subject::new(graph, None), allowed, &Stop::default())
}

/// As [`lint`], until `stop` is due.
fn warn(subject: &Subject, allowed: &[String], stop: &Stop) -> Vec<Diagnostic> {
    let graph = subject.graph;
    let is_allowed =
        |lint: &Lint| graph.allows.iter().map(|allow| &allow.lint).chain(allowed).any(|name| name == lint.name);
    let found =
        LINTS.iter().filter(|lint| !is_allowed(lint) && !stop.is_due()).flat_map(|lint| warnings(lint, subject));
    unknown(graph).chain(found).collect()
}

/// The errors of all variants of a model; where there are none, the warnings about them, and about what is written and
/// has no effect in any ([`unused`]), except those that the model or `allowed` silences. If `options.variant` is one, of
/// that alone, without what other variants may use.
pub fn check(
    sources: &mut SourceMap,
    root: FileId,
    options: &Options,
    loader: &mut dyn Loader,
    allowed: &[String],
) -> Vec<Diagnostic> {
    match build::load(sources, root, options, loader) {
        Ok(program) => check_variants(sources, &program, options, allowed, &mut |_, _, _| {}),
        Err(errors) => errors,
    }
}

/// Is shown a variant, with its receptive fields where rules have asked for them.
pub type See<'a> = dyn FnMut(Option<&str>, Built, Option<ReceptiveFields>) + 'a;

/// As [`check`], of files that were loaded; `see` is shown each variant.
pub fn check_variants(
    sources: &mut SourceMap,
    program: &Program,
    options: &Options,
    allowed: &[String],
    see: &mut See,
) -> Vec<Diagnostic> {
    let mut allows = Vec::new();
    let fields = Cell::new(None);
    let places = Places::of(program);
    // What `allow` has kept quiet.
    let mut silenced: HashSet<&str> = HashSet::new();
    let mut lints = |graph: &Verified<Graph>| {
        allows.clone_from(&graph.allows);
        let is_allowed = |lint: &&Lint| graph.allows.iter().any(|allow| allow.lint == lint.name);
        let subject = Subject::new(graph, Some(&places));
        let kept = LINTS.iter().filter(is_allowed);
        let kept = kept.filter(|lint| options.stop.is_due() || !(lint.find)(&subject).is_empty());
        silenced.extend(kept.map(|lint| lint.name));
        let mut found = warn(&subject, allowed, &options.stop);
        for warning in &mut found {
            let lint = LINTS.iter().find(|lint| lint.code == warning.code);
            warning.help.extend(lint.map(|lint| places::permission(program, lint.name)));
        }
        if options.stop.is_due() {
            let place = graph.nodes.last().and_then(|node| node.origin.span);
            let error = Diagnostic::error("E0510", "the warnings about this model are not complete");
            found.push(place.into_iter().fold(error, |error, place| error.at(place, "given up with this network")));
        }
        fields.set(Some(subject.fields));
        found
    };
    let mut see = |variant: Option<&str>, built| see(variant, built, fields.take());
    let (mut found, unused) = build::check_variants(sources, program, options, &mut lints, &mut see);
    found.retain(|found| build::concerns_author(sources, found));
    if options.variant.is_some() || found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return found;
    }
    let is_allowed = |lint: &str, allows: &[Allow]| allows.iter().any(|allow| allow.lint == lint);
    silenced.extend(unused.iter().map(Unused::lint).filter(|lint| is_allowed(lint, &allows)));
    let idle = allows.iter().filter(|allow| exists(&allow.lint) && !silenced.contains(allow.lint.as_str()));
    let idle = idle.map(|allow| Unused { kind: Kind::Allow, name: allow.lint.clone(), span: allow.span });
    let loud = |item: &Unused| !is_allowed(item.lint(), &allows) && !allowed.iter().any(|lint| lint == item.lint());
    let unused: Vec<Unused> = unused.into_iter().chain(idle).filter(loud).collect();
    if !unused.is_empty() {
        let changes = Changes::of(sources, program);
        let warnings = unused.iter().map(|item| item.warning(Some(&changes)));
        found.extend(warnings.filter(|found| build::concerns_author(sources, found)));
    }
    found
}

/// Whether there is a rule of this name.
pub fn exists(name: &str) -> bool {
    names().any(|known| known == name)
}

/// The names of all warnings.
pub fn names() -> impl Iterator<Item = &'static str> {
    LINTS.iter().map(|lint| lint.name).chain(unused::WARNINGS.iter().map(|(_, _, name)| *name))
}

/// What may have been meant by a name that does not exist.
pub fn help(name: &str) -> String {
    match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
    }
}

fn unknown(graph: &Graph) -> impl Iterator<Item = Diagnostic> {
    graph.allows.iter().filter(|allow| !exists(&allow.lint)).map(|allow| {
        let warning = Diagnostic::warning("W0700", format!("there is no warning `{}`", allow.lint))
            .at(allow.span, "this silences nothing")
            .did_you_mean(&allow.lint, allow.span, names());
        if warning.help.is_empty() { warning.help(help(&allow.lint)) } else { warning }
    })
}

fn warnings(lint: &Lint, subject: &Subject) -> Vec<Diagnostic> {
    let mut first: HashMap<_, usize> = HashMap::new();
    let mut kept: Vec<(Finding, usize)> = Vec::new();
    for finding in (lint.find)(subject) {
        let key = subject.graph[finding.node].origin.span.ok_or(finding.node);
        match first.get(&key) {
            Some(&at) => kept[at].1 += 1,
            None => {
                first.insert(key, kept.len());
                kept.push((finding, 0));
            }
        }
    }
    kept.into_iter().map(|(finding, copies)| finding.into_warning(lint, subject.graph, copies)).collect()
}

impl Finding {
    /// `copies` is the number of further nodes of the same layer.
    fn into_warning(self, lint: &Lint, graph: &Graph, copies: usize) -> Diagnostic {
        let node = &graph[self.node];
        let types = graph.operand_types(node);
        let inputs: Vec<String> = types.iter().map(|ty| format!("{:?}", ty.dims)).collect();
        let others = match copies {
            0 => String::new(),
            1 => ", and once more".into(),
            _ => format!(", and {copies} times more"),
        };
        let path = if node.origin.path.is_empty() { "here" } else { &node.origin.path };
        let warning = Diagnostic::warning(lint.code, self.message);
        let warning = match node.origin.span {
            Some(span) => warning.at(span, self.label),
            None => warning.note(self.label),
        };
        warning.note(format!("{path}: {} -> {:?}{others}", inputs.join(", "), node.ty.dims)).help(self.help)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{model, net};
    use super::*;

    /// Names of the warnings about a model.
    fn names(dims: &str, body: &str) -> Vec<&'static str> {
        let codes = lint(&net(dims, body), &[]).into_iter().map(|warning| warning.code);
        codes.map(|code| LINTS.iter().find(|lint| lint.code == code).unwrap().name).collect()
    }

    #[test]
    fn kernels() {
        assert_eq!(names("8, 32", "conv 4, 8 | conv 3, 8"), ["even_kernel"]);
        assert_eq!(names("8, 32, 32", "conv 3x2, 8"), ["even_kernel"]);
        assert!(names("8, 32, 32", "maxpool 2x2 | conv 1x1, 8 | conv 3x3, 8").is_empty());
        // In the first layer it is fine, and where no 3x3 has fewer weights.
        assert!(names("3, 32, 32", "conv 5x5, 8").is_empty());
        assert_eq!(names("3, 32, 32", "conv 3x3, 8 | conv 5x5, 32"), ["large_kernel"]);
        assert!(names("3, 128, 32", "conv 3x3, 8 | conv 5x5, 32").is_empty());
        assert!(names("3, 32, 32", "conv 3x3, 8 | conv 5x5, 8, groups 8").is_empty());
        assert!(names("3, 32, 32", "conv 3x3, 8 | conv 7x1, 8 | conv 1x7, 8").is_empty());
        assert_eq!(names("3, 128, 128", "conv 3x3, 8 | conv 5x5, 8"), ["replaceable_kernel"]);
        assert_eq!(names("3, 128, 128", "conv 3x3, 8 | conv 7x7, 8, stride 2"), ["replaceable_kernel"]);
        assert!(names("3, 128, 128", "conv 3x3, 8 | conv 5x5, 8, groups 8").is_empty());
    }

    /// 25 c_in c_out weights against 9 c_in c_out + 9 c_out^2: equal at 16 c_in = 9 c_out.
    #[test]
    fn the_bound_of_what_is_replaceable() {
        assert!(names("9, 128, 128", "conv 5x5, 16").is_empty());
        assert_eq!(names("10, 128, 128", "conv 5x5, 16"), ["replaceable_kernel"]);
    }

    #[test]
    fn fields() {
        assert_eq!(names("8, 9", "conv 3, 8 | flatten | dense 4"), ["small_field"]);
        assert_eq!(names("8, 9, 3", "conv 3x3, 8 | conv 3x1, 8 | global_avgpool"), ["small_field"]);
        assert!(names("8, 3", "conv 3, 8 | flatten | dense 4").is_empty());
        assert!(names("8, 9", "conv 3, 8").is_empty(), "no classifier");
        assert!(names("8, 9", "flatten | dense 4").is_empty(), "no features");
    }

    #[test]
    fn biases() {
        assert_eq!(names("8, 9", "conv 3, 8, bias | bn"), ["bias_before_norm"]);
        assert_eq!(names("8", "dense 8 | bn"), ["bias_before_norm"]);
        assert_eq!(names("8, 9", "conv_transpose 2, 8, stride 2, bias | bn"), ["bias_before_norm"]);
        assert!(names("8, 9", "conv 3, 8, bias | relu | bn").is_empty());
        assert!(names("8, 9", "conv 3, 8, bias | output y | bn").is_empty());
        assert!(names("8, 9", "conv 3, 8, bias | concat {\nbn\nrelu\n}").is_empty());
    }

    #[test]
    fn checkerboards() {
        let dilated = |dilations: &[usize]| {
            let layers: Vec<String> = dilations.iter().map(|d| format!("conv 3, 8, half, dilation {d}")).collect();
            names("8, 200", &layers.join(" | "))
        };
        assert_eq!(dilated(&[2, 2, 2]), ["checkerboard"]);
        assert_eq!(dilated(&[1, 2, 9]), ["checkerboard"]);
        assert!(dilated(&[1, 2, 5]).is_empty());
        assert!(dilated(&[1, 1, 2, 4, 8, 16, 1]).is_empty());
        // The stride in the 1x1 convolution, as in the first residual networks, whose shortcut strides too.
        assert_eq!(names("8, 64", "conv 3, 8, half | conv 1, 8, stride 2 | conv 3, 8, half"), ["checkerboard"]);
        assert!(names("8, 64", "residual { conv 3, 8, stride 2, half } project { conv 1, 8, stride 2 }").is_empty());
        assert!(names("8, 64", "maxpool 2 | maxpool 3, stride 2 | maxpool 2").is_empty());
        assert!(names("8, 64", "upsample 2 | conv 3, 8, half | maxpool 2 | upsample 3, bilinear").is_empty());
        assert!(names("8, 64", "conv_transpose 4, 8, stride 2, pad 1 | conv 3, 8, half").is_empty());
    }

    #[test]
    fn uneven_overlaps() {
        assert_eq!(names("8, 9", "conv_transpose 3, 8, stride 2"), ["uneven_overlap"]);
        assert_eq!(names("8, 9, 9", "conv_transpose 4x1, 8, stride 2"), ["uneven_overlap"]);
        assert!(names("8, 9", "conv_transpose 4, 8, stride 2, pad 1").is_empty());
        assert!(names("8, 9, 9", "conv_transpose 2x3, 8, stride 2x1").is_empty());
    }

    #[test]
    fn a_layer_warns_once() {
        let graph = model("model m\ninput s: f32[N, 8, 64]\nnet { for i in 1..4 { conv{i}: conv 2, 8 } }");
        let warnings = lint(&graph, &[]);
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].notes, ["conv1: [8, 64] -> [8, 63], and 3 times more"]);
    }

    #[test]
    fn warnings_can_be_silenced() {
        let graph = net("8, 64", "conv 2, 8 | bn");
        assert_eq!(lint(&graph, &[]).len(), 1);
        assert!(lint(&graph, &["even_kernel".into()]).is_empty());
        let span = graph.nodes[1].origin.span.unwrap();
        let mut allowing = graph.into_inner();
        allowing.allows = ["even_kernel", "evn_kernel"].map(|lint| crate::ir::Allow { lint: lint.into(), span }).into();
        let warnings = lint(&crate::ir::verify(allowing).unwrap(), &[]);
        assert_eq!((warnings.len(), warnings[0].code), (1, "W0700"));
        assert_eq!(warnings[0].help[0].text, "did you mean `even_kernel`?");
    }

    #[test]
    fn huge_sizes_are_passed_over() {
        assert!(lint(&net("1, 60000000", "conv 3, 1, dilation 2"), &[]).len() <= 1);
    }
}
