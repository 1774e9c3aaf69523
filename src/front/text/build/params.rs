//! What is settled before the net: the parameters of the model, constants, layer defaults, inputs.

use super::args::quoted_list;
use super::eval::not_integer;
use super::files::{Input, Model, Variant};
use super::report::Reported;
use super::scope::Global;
use super::value::Value;
use super::{Builder, Node, NodeId, Options, Origin, Program};
use crate::diagnostic::{Diagnostic, Fix, Help};
use crate::front::text::syntax::ast::{Expr, ExprKind, ItemKind, Param};
use crate::front::text::syntax::parser;
use crate::ir::FreeSize;
use crate::layers::{self, Op};
use crate::source::{ARGUMENT, SourceMap, Span};
use crate::tensor::{Batch, DType, MAX_BATCH, MAX_DIMS, TensorType};
use std::collections::HashSet;

/// Parses the values of `-D name=value`.
pub fn parse_defines(
    sources: &mut SourceMap,
    defines: &[(String, String)],
) -> Result<Vec<(String, Expr)>, Vec<Diagnostic>> {
    let mut parsed = Vec::new();
    for (name, text) in defines {
        parsed.push((name.clone(), parse_define(sources, name, text)?));
    }
    Ok(parsed)
}

fn parse_define(sources: &mut SourceMap, name: &str, text: &str) -> Result<Expr, Vec<Diagnostic>> {
    let id = sources.add(ARGUMENT, format!("const {name} = {text}"));
    let file = parser::parse(sources, id)?;
    let whole = file.span;
    match <[_; 1]>::try_from(file.items).map(|[item]| item.kind) {
        Ok(ItemKind::Const(item)) => Ok(item.value),
        _ => Err(vec![Diagnostic::error("E0219", "`-D` takes one name and one value").at(whole, "")]),
    }
}

impl Program {
    /// Whether the model can be built without a variant.
    pub fn has_defaults(&self, options: &Options) -> bool {
        let params = self.model.iter().flat_map(|m| &m.params);
        let given = |name: &str| options.defines.iter().any(|(n, _)| n == name);
        params.into_iter().all(|p| p.default.is_some() || given(&p.name.text))
    }

    /// Bare names in the dimensions of inputs that are no parameters or constants: sizes that may be given by `-D`.
    fn size_names(&self) -> Vec<&str> {
        let params = self.model.iter().flat_map(|m| &m.params).map(|p| p.name.text.as_str());
        let mut taken: HashSet<&str> = params.chain(self.consts.iter().map(|c| c.name.text.as_str())).collect();
        let dims = self.inputs.iter().flat_map(|i| &i.dims);
        let names =
            dims.filter_map(|dim| if let ExprKind::Name(name) = &dim.kind { Some(name.as_str()) } else { None });
        names.filter(|name| taken.insert(name)).collect()
    }
}

impl<'a> Builder<'a> {
    /// Settles the parameters of the model and evaluates them and all constants.
    pub fn parameters(&mut self, defines: &'a [(String, Expr)], variant: Option<&str>) {
        for item in &self.program.consts {
            let file = item.name.span.file;
            let own = self.program.const_file(&item.name.text, file).map(|_| file);
            self.globals.insert((own, &item.name.text), Global::Pending(&item.value));
        }
        for (file, params) in &self.program.lent {
            for Param { name, default } in params {
                let lent = |default| ((Some(*file), name.text.as_str()), Global::Pending(default));
                self.globals.extend(default.iter().map(lent));
            }
        }
        let sizes = self.program.size_names();
        let mut known = Vec::new();
        if let Some(model) = &self.program.model {
            self.graph.name = variant.unwrap_or(&model.name.text).into();
            known.extend(model.params.iter().map(|p| p.name.text.as_str()));
            self.model_parameters(model, defines, variant);
        } else {
            let start = self.program.end.map(|end| Span::new(end.file, 0..0));
            self.missing("model", "begin with `model NAME`", (start, "model NAME\n"));
            for Param { name, default } in &self.program.sizes {
                self.globals
                    .extend(default.iter().map(|default| ((None, name.text.as_str()), Global::Pending(default))));
            }
        }
        known.extend(&sizes);
        for (name, expr) in defines {
            if sizes.contains(&name.as_str()) {
                self.globals.insert((None, name), Global::Pending(expr));
            } else if !known.contains(&name.as_str()) {
                self.unknown_define(name, expr, &known);
            }
        }
        let consts = self.program.consts.iter().map(|c| &c.name);
        let params = self.program.model.iter().flat_map(|m| &m.params).map(|p| &p.name);
        for name in params.chain(consts) {
            // A failure is reported and stays in the table in place of the value.
            self.variable(&name.text, name.span);
        }
    }

    fn unknown_define(&mut self, name: &str, expr: &Expr, known: &[&str]) {
        let error = Diagnostic::error("E0219", format!("the model has no parameter `{name}`"))
            .at(expr.span, "given by -D")
            .did_you_mean(name, None, known.iter().copied());
        self.error(match known.is_empty() {
            true => error.note("it has no parameters"),
            false => error.note(format!("its parameters are {}", quoted_list(known, "and"))),
        });
    }

    fn model_parameters(&mut self, model: &'a Model, defines: &'a [(String, Expr)], variant: Option<&str>) {
        let variant = variant.and_then(|name| self.find_variant(model, name));
        let from_variant = match variant {
            Some(variant) => self.assign(&model.name.text, &model.params, &variant.args).0,
            None => vec![None; model.params.len()],
        };
        let mut to_check = Vec::new();
        for (param, arg) in model.params.iter().zip(from_variant) {
            let name = &param.name.text;
            let define = defines.iter().rev().find(|(n, _)| n == name).map(|(_, expr)| expr);
            let given = define.or(arg.map(|a| &a.value));
            match given.or(param.default.as_ref()) {
                Some(expr) => self.globals.insert((None, name), Global::Pending(expr)),
                None => {
                    let reported = self.missing_parameter(name, param.name.span);
                    self.globals.insert((None, name), Global::Done(Err(reported)))
                }
            };
            if let (Some(given), Some(default)) = (given, &param.default) {
                to_check.push((name, given, default));
            }
        }
        // Values may refer to each other, so all must be known first.
        for (name, given, default) in to_check {
            self.check_parameter(name, given, default);
        }
    }

    fn find_variant(&mut self, model: &Model, name: &str) -> Option<&'a Variant> {
        let Some(variant) = self.program.variants.iter().find(|v| v.name.text == name) else {
            let names = self.program.variants();
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let error = Diagnostic::error("E0218", format!("the model has no variant `{name}`"))
                .at(model.name.span, "this model")
                .did_you_mean(name, None, known.iter().copied());
            self.error(match known.is_empty() {
                true => error.note("it has no variants"),
                false => error.note(format!("its variants are {}", quoted_list(&known, "and"))),
            });
            return None;
        };
        if variant.model.text != model.name.text {
            let message = format!("`{}` is a variant of `{}`, which is not the model", name, variant.model.text);
            self.error(
                Diagnostic::error("E0218", message)
                    .at(variant.model.span, "no such model in this file")
                    .at(model.name.span, "this is the model"),
            );
            return None;
        }
        Some(variant)
    }

    fn missing_parameter(&mut self, name: &str, span: Span) -> Reported {
        let variants = self.program.variants();
        let error = Diagnostic::error("E0215", format!("the model's parameter `{name}` has no value"))
            .at(span, "it has no default")
            .help(
                Help::new(format!("give a default here, or a value with `-D {name}=..`")).fix(
                    Fix::replace(format!("give a default: `{name} = VALUE`"), span.behind(), " = VALUE")
                        .with_placeholders(),
                ),
            );
        self.error(match variants.as_slice() {
            [] => error,
            all => {
                let names: Vec<&str> = all.iter().map(String::as_str).collect();
                error.help(format!("or choose a variant: {}", quoted_list(&names, "or")))
            }
        })
    }

    /// The default of a parameter tells its kind.
    fn check_parameter(&mut self, name: &'a str, given: &'a Expr, default: &'a Expr) {
        let (Some(Ok(value)), Ok(usual)) = (self.variable(name, given.span), self.eval(default)) else { return };
        let fits = match (&usual, &value) {
            (Value::Float(_), Value::Int(_)) => true,
            (Value::Word(word), _) if &**word == "none" => true,
            (usual, value) => std::mem::discriminant(usual) == std::mem::discriminant(value),
        };
        if !fits {
            let error = match (&usual, &value) {
                (Value::Int(_), Value::Float(v)) => not_integer(*v, given.span, self.sources.slice(given.span)),
                _ => {
                    let message = format!("the parameter `{name}` takes {}", usual.kind());
                    Diagnostic::error("E0219", message).at(given.span, format!("this is {}", value.described()))
                }
            };
            self.error(error.at(default.span, format!("the default is {usual}")));
            self.globals.insert((None, name), Global::Done(Err(Reported)));
        }
    }

    /// Checks the `defaults` of all files.
    pub fn file_defaults(&mut self) {
        for item in &self.program.defaults {
            let Some(entry) = layers::find(&item.layer.text) else {
                let known = layers::entries().map(|e| e.spec.keyword);
                let error = Diagnostic::error("E0211", format!("unknown layer `{}`", item.layer.text))
                    .at(item.layer.span, "defaults are for layers")
                    .did_you_mean(&item.layer.text, item.layer.span, known);
                self.error(error);
                continue;
            };
            let Ok(given) = self.given_args(entry.spec, &item.args) else { continue };
            let place = self.defaults.entry((item.span.file, entry.spec.keyword)).or_default();
            let twice =
                given.iter().find_map(|g| Some((g.clone(), place.iter().find(|p| p.decl.name == g.decl.name)?.span)));
            place.extend(given);
            if let Some((again, first)) = twice {
                let message = format!("two defaults for `{}` of `{}`", again.decl.name, entry.spec.keyword);
                let error = Diagnostic::error("E0213", message).at(again.span, "again here").at(first, "first here");
                self.error(error);
            }
        }
    }

    /// Adds the inputs of the model to the graph.
    pub fn model_inputs(&mut self) {
        if self.program.inputs.is_empty() {
            let items = self.program.files.first().into_iter().flat_map(|file| &file.items);
            let mut items = items.filter(|item| matches!(item.kind, ItemKind::Model { .. }));
            let model = items.next().map(|item| item.span.behind());
            let help = "write for example `input image: f32[N, 3, H = 224, W = 224]`";
            let input = "input image: f32[N, 3, H = 224, W = 224]";
            let start = self.program.end.map(|end| Span::new(end.file, 0..0));
            let new = if model.is_some() { format!("\n{input}") } else { format!("{input}\n") };
            self.missing("input", help, (model.or(start), &new));
        }
        for input in &self.program.inputs {
            let flow = self.input_type_of(input).map(|ty| self.add_input(input, ty));
            self.inputs.push((&input.name.text, flow));
        }
        self.check_batches();
    }

    /// All inputs of a run have the same batch.
    fn check_batches(&mut self) {
        let fixed = self.program.inputs.iter().zip(&self.inputs).filter_map(|(input, (name, flow))| {
            let Batch::Fixed(batch) = self.graph[(*flow).ok()?].ty.batch else { return None };
            Some((*name, batch, input.dims[0].span))
        });
        let mut fixed = fixed.collect::<Vec<_>>().into_iter();
        let Some((first, batch, place)) = fixed.next() else { return };
        let Some((other, other_batch, other_place)) = fixed.find(|(_, other, _)| *other != batch) else { return };
        let error = Diagnostic::error("E0326", format!("the inputs `{first}` and `{other}` have different batches"))
            .at(other_place, format!("{other_batch} samples"))
            .at(place, format!("{batch} samples"))
            .help(
                Help::new(
                    "all inputs of a run have the same batch: write the same number, or a name such as `N` for any",
                )
                .fix(Fix::replace(format!("write `{batch}` here"), other_place, batch.to_string()).maybe())
                .fix(Fix::new("write `N` for both", [place, other_place].map(|place| (place, "N"))).maybe()),
            );
        self.error(error);
    }

    fn add_input(&mut self, input: &'a Input, ty: TensorType) -> NodeId {
        let origin = Origin { path: input.name.text.clone(), span: Some(input.span) };
        let id = self.graph.add_node(Node::new(Op::Input, Vec::new(), Vec::new(), ty, origin));
        let free = input.dims[1..].iter().enumerate().filter_map(|(dim, expr)| Some((dim, self.free_name(expr)?)));
        // Channels are a parameter like others: weights depend on them.
        let free = free.filter(|(dim, _)| *dim > 0).map(|(dim, name)| {
            let (name, input) = (name.to_string(), self.graph.inputs.len());
            FreeSize { name, input, dim }
        });
        let free: Vec<FreeSize> = free.collect();
        self.graph.free.extend(free);
        self.graph.inputs.push(id);
        id
    }

    /// The name of a free size.
    fn free_name(&self, expr: &'a Expr) -> Option<&'a str> {
        let ExprKind::Name(name) = &expr.kind else { return None };
        self.program.is_free(name).then_some(name)
    }

    fn input_type_of(&mut self, input: &'a Input) -> Result<TensorType, Reported> {
        if input.dtype.text != "f32" {
            let error = Diagnostic::error("E0221", format!("inputs of type `{}` are not supported", input.dtype.text));
            self.error(error.at(input.dtype.span, "the only element type so far is `f32`"));
        }
        let [batch, dims @ ..] = input.dims.as_slice() else { return Err(self.input_rank(input)) };
        if dims.is_empty() || dims.len() > MAX_DIMS {
            return Err(self.input_rank(input));
        }
        let batch = self.batch(batch);
        let sizes: Vec<Result<usize, Reported>> = dims.iter().map(|dim| self.size(dim)).collect();
        let dims = sizes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let ty = TensorType { dtype: DType::F32, batch: batch?, dims };
        if let Some(excess) = self.limits.excess(&ty) {
            let error = Diagnostic::error("E0503", format!("this input is too large: {ty}"));
            return Err(self.error(error.at(input.span, excess)));
        }
        Ok(ty)
    }

    fn input_rank(&mut self, input: &Input) -> Reported {
        let message = format!("an input with {} dimensions", input.dims.len());
        let help = Help::new("write for example `f32[N, 3, 224, 224]`, `f32[N, 1, 16000]` or `f32[N, 64]`");
        let examples = ["f32[N, 3, 224, 224]", "f32[N, 1, 16000]", "f32[N, 64]"].into_iter();
        let ty = Span { end: input.span.end, ..input.dtype.span };
        let help = examples.fold(help, |help, example| {
            help.fix(Fix::replace(format!("write `{example}`"), ty, example).with_placeholders())
        });
        self.error(
            Diagnostic::error("E0325", message)
                .at(input.span, "batch, channels, and up to three spatial sizes are needed")
                .help(help),
        )
    }

    fn batch(&mut self, expr: &'a Expr) -> Result<Batch, Reported> {
        if let ExprKind::Name(name) = &expr.kind
            && self.variable(name, expr.span).is_none()
        {
            return Ok(Batch::Symbolic(name.clone()));
        }
        let n = self.integer(expr)?;
        match usize::try_from(n) {
            Ok(n @ 1..=MAX_BATCH) => Ok(Batch::Fixed(n)),
            _ => {
                let error = Diagnostic::error("E0216", format!("the batch must be between 1 and {MAX_BATCH}"));
                Err(self.error(error.at(expr.span, format!("this is {n}"))))
            }
        }
    }

    fn size(&mut self, expr: &'a Expr) -> Result<usize, Reported> {
        if let ExprKind::Name(name) = &expr.kind
            && self.variable(name, expr.span).is_none()
        {
            let error = Diagnostic::error("E0220", format!("the size `{name}` of the input is not given"))
                .at(expr.span, "only the batch, the first dimension, may stay open")
                .help(
                    Help::new(format!("give it with `-D {name}=..`, or write its default: `{name} = 224`")).fix(
                        Fix::replace(format!("write its default: `{name} = 224`"), expr.span.behind(), " = 224")
                            .with_placeholders(),
                    ),
                );
            let reported = self.error(error);
            self.globals.insert((None, name), Global::Done(Err(reported)));
            return Err(reported);
        }
        let size = self.integer(expr)?;
        match usize::try_from(size) {
            Ok(size) if size > 0 => Ok(size),
            _ => {
                let error = Diagnostic::error("E0216", "a size must be at least 1");
                Err(self.error(error.at(expr.span, format!("this is {size}"))))
            }
        }
    }
}
