//! The names of a text: where each is declared, and what stands for it elsewhere, for who looks at the text or changes it.
//!
//! A text with errors has the names that its tree has.

use super::build::{FUNCTIONS, Found, Program, param_of_word};
use super::syntax::ast::*;
use crate::layers::{self, LayerSpec, ParamDecl};
use crate::source::{FileId, Span};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// What a name is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Model,
    Variant,
    Input,
    Output,
    Block,
    Constant,
    Parameter,
    /// Of a loop.
    Variable,
    /// By `as`.
    Value,
    /// A component of the names of weights.
    Label,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    pub kind: Kind,
    pub name: String,
    pub span: Span,
    /// Where the name holds; `None` in all files.
    pub scope: Option<Span>,
    /// What it was declared by, to be shown.
    pub whole: Span,
}

/// Handle of a [`Declaration`] in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeclarationId(usize);

/// What a word of the text is.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    Declares(DeclarationId),
    Names(DeclarationId),
    Layer(&'static LayerSpec),
    LayerParam(&'static LayerSpec, &'static ParamDecl),
    /// Its place in [`FUNCTIONS`].
    Function(usize),
    /// A word that stands for itself, such as `half`.
    Word,
    /// A parameter of what only building tells.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub struct Occurrence {
    pub span: Span,
    pub meaning: Meaning,
}

/// All names of a program.
#[derive(Debug, Default)]
pub struct Names {
    declarations: Vec<Declaration>,
    /// In the order of their places; none within another.
    occurrences: Vec<Occurrence>,
    /// Names of arguments: they say which parameter is given, and do not use it.
    given: HashSet<Span>,
    /// The last components of paths by which `from` takes values.
    tapped: HashSet<String>,
    /// Whether one of them is computed.
    taps_any: bool,
}

impl Names {
    pub fn of(program: &Program) -> Names {
        let root = program.files.first().map(|file| file.span.file);
        let mut walk = Walk::new(program);
        for file in &program.files {
            file.items.iter().for_each(|item| walk.global(item, Some(file.span.file) == root, file.span));
        }
        for file in &program.files {
            walk.file = Some(file.span.file);
            file.items.iter().for_each(|item| walk.item(item, Some(file.span.file) == root));
        }
        walk.names.occurrences.sort_by_key(|occurrence| occurrence.span);
        walk.names.occurrences.dedup_by_key(|occurrence| occurrence.span);
        walk.names
    }

    pub fn declaration(&self, id: DeclarationId) -> &Declaration {
        &self.declarations[id.0]
    }

    pub fn ids(&self) -> impl Iterator<Item = DeclarationId> + use<> {
        (0..self.declarations.len()).map(DeclarationId)
    }

    pub fn declarations(&self) -> &[Declaration] {
        &self.declarations
    }

    pub fn occurrences(&self) -> &[Occurrence] {
        &self.occurrences
    }

    /// The word at a place, or the one that ends there.
    pub fn at(&self, file: FileId, offset: usize) -> Option<&Occurrence> {
        let behind = self.occurrences.partition_point(|o| (o.span.file, o.span.range().start) <= (file, offset));
        let found = self.occurrences[..behind].last()?;
        (found.span.file == file && offset <= found.span.range().end).then_some(found)
    }

    /// What the word at a place is declared by.
    pub fn declared_at(&self, file: FileId, offset: usize) -> Option<DeclarationId> {
        match self.at(file, offset)?.meaning {
            Meaning::Declares(id) | Meaning::Names(id) => Some(id),
            _ => None,
        }
    }

    /// The places where something is named, with that of its declaration.
    pub fn places(&self, id: DeclarationId) -> impl Iterator<Item = Span> {
        let of = move |o: &&Occurrence| matches!(o.meaning, Meaning::Declares(of) | Meaning::Names(of) if of == id);
        self.occurrences.iter().filter(of).map(|occurrence| occurrence.span)
    }

    /// Whether a word says which parameter an argument is for.
    pub fn is_given(&self, word: &Occurrence) -> bool {
        self.given.contains(&word.span)
    }

    /// Whether a path may lead to a value of this name.
    pub fn is_tapped(&self, value: &str) -> bool {
        self.taps_any || self.tapped.contains(value)
    }

    /// What may be named at a place.
    pub fn in_scope(&self, file: FileId, offset: usize) -> impl Iterator<Item = &Declaration> {
        self.declarations.iter().filter(move |declaration| {
            let holds =
                |scope: Span| scope.file == file && scope.range().start <= offset && offset <= scope.range().end;
            declaration.scope.is_none_or(holds)
        })
    }
}

/// Parameters, with what each stands for.
type Params<'a> = Rc<HashMap<&'a str, DeclarationId>>;

/// Names that hold at a place.
#[derive(Default)]
struct Scope<'a> {
    /// In the order in which they came.
    names: Vec<&'a str>,
    /// What each stands for, innermost last.
    known: HashMap<&'a str, Vec<DeclarationId>>,
}

impl<'a> Scope<'a> {
    fn add(&mut self, name: &'a str, id: DeclarationId) {
        self.names.push(name);
        self.known.entry(name).or_default().push(id);
    }

    fn find(&self, name: &str) -> Option<DeclarationId> {
        self.known.get(name)?.last().copied()
    }

    /// Forgets all but the first `len`.
    fn truncate(&mut self, len: usize) {
        for name in self.names.drain(len..) {
            self.known.get_mut(name).and_then(Vec::pop);
        }
    }
}

struct Walk<'a> {
    program: &'a Program,
    names: Names,
    /// That of the item that is walked.
    file: Option<FileId>,
    /// What holds in all files, or in one: constants and parameters of models. Constants of one name are in one each.
    globals: HashMap<(Option<FileId>, &'a str), DeclarationId>,
    blocks: HashMap<&'a str, Vec<(DeclarationId, Params<'a>)>>,
    model: Option<DeclarationId>,
    params: Params<'a>,
    scope: Scope<'a>,
    /// Of values.
    values: Scope<'a>,
    inputs: HashMap<&'a str, DeclarationId>,
}

/// What the arguments of a call are for.
enum Callee<'a> {
    Layer(&'static LayerSpec),
    Params(Params<'a>),
    Unknown,
}

// Declarations.
impl<'a> Walk<'a> {
    fn new(program: &'a Program) -> Walk<'a> {
        Walk {
            program,
            names: Names::default(),
            file: None,
            globals: HashMap::new(),
            blocks: HashMap::new(),
            model: None,
            params: Params::default(),
            scope: Scope::default(),
            values: Scope::default(),
            inputs: HashMap::new(),
        }
    }

    fn declare(&mut self, kind: Kind, name: &'a Ident, scope: Option<Span>, whole: Span) -> DeclarationId {
        let id = DeclarationId(self.names.declarations.len());
        self.names.declarations.push(Declaration { kind, name: name.text.clone(), span: name.span, scope, whole });
        self.mark(name.span, Meaning::Declares(id));
        id
    }

    fn mark(&mut self, span: Span, meaning: Meaning) {
        self.names.occurrences.push(Occurrence { span, meaning });
    }

    /// What others may name wherever it stands.
    fn global(&mut self, item: &'a Item, is_root: bool, file: Span) {
        match &item.kind {
            ItemKind::Const(constant) => {
                let id = self.declare(Kind::Constant, &constant.name, None, item.span);
                let own = self.program.const_file(&constant.name.text, file.file).map(|_| file.file);
                self.globals.entry((own, &constant.name.text)).or_insert(id);
            }
            ItemKind::Model { name, params } => {
                let id = self.declare(Kind::Model, name, Some(file), item.span);
                self.model = if is_root { Some(id) } else { self.model };
                let (scope, own) = if is_root { (None, None) } else { (Some(file), Some(file.file)) };
                for param in params {
                    self.model_param(&param.name, scope, own, param_span(param));
                }
            }
            ItemKind::Input { name, dims, .. } if is_root => {
                let id = self.declare(Kind::Input, name, Some(file), item.span);
                self.inputs.insert(&name.text, id);
                for size in dims {
                    if let Some(name) = &size.name {
                        self.model_param(name, None, None, name.span.to(size.value.span));
                    }
                }
            }
            ItemKind::Block(block) => {
                let id = self.declare(Kind::Block, &block.name, None, item.span);
                let params = block.params.iter().map(|param| {
                    let scope = Some(item.span);
                    (param.name.text.as_str(), self.declare(Kind::Parameter, &param.name, scope, param_span(param)))
                });
                let params = params.collect::<HashMap<_, _>>();
                self.blocks.entry(&block.name.text).or_default().push((id, params.into()));
            }
            ItemKind::Variant { name, .. } => {
                self.declare(Kind::Variant, name, Some(file), item.span);
            }
            _ => {}
        }
    }

    fn model_param(&mut self, name: &'a Ident, scope: Option<Span>, own: Option<FileId>, whole: Span) {
        let id = self.declare(Kind::Parameter, name, scope, whole);
        self.globals.entry((own, &name.text)).or_insert(id);
        if own.is_none() {
            Rc::make_mut(&mut self.params).insert(&name.text, id);
        }
    }

    fn local(&mut self, kind: Kind, name: &'a Ident, scope: Span, whole: Span) {
        let id = self.declare(kind, name, Some(scope), whole);
        self.scope.add(&name.text, id);
    }

    fn scoped(&mut self, inside: impl FnOnce(&mut Self)) {
        let (scope, values) = (self.scope.names.len(), self.values.names.len());
        inside(self);
        self.scope.truncate(scope);
        self.values.truncate(values);
    }
}

fn param_span(param: &Param) -> Span {
    param.default.as_ref().map_or(param.name.span, |default| param.name.span.to(default.span))
}

// Items and bodies.
impl<'a> Walk<'a> {
    fn item(&mut self, item: &'a Item, is_root: bool) {
        match &item.kind {
            ItemKind::Const(constant) => self.expr(&constant.value),
            ItemKind::Model { params, .. } => self.defaults(params),
            ItemKind::Input { dims, .. } if is_root => dims.iter().for_each(|size| self.expr(&size.value)),
            ItemKind::Defaults { layer, args } => {
                let callee = self.callee(layer);
                self.args(args, &callee);
            }
            ItemKind::Block(block) => self.scoped(|walk| {
                let mut all = walk.blocks.get(block.name.text.as_str()).into_iter().flatten();
                let own = all.find(|(id, _)| walk.names.declaration(*id).span == block.name.span);
                let params = own.map_or_else(Params::default, |(_, params)| params.clone());
                params.iter().for_each(|(name, id)| walk.scope.add(name, *id));
                walk.defaults(&block.params);
                walk.body(&block.body);
            }),
            ItemKind::Net(body) => self.body(body),
            ItemKind::Variant { model, args, .. } => {
                let known = self.model.filter(|&id| self.names.declaration(id).name == model.text);
                known.into_iter().for_each(|id| self.mark(model.span, Meaning::Names(id)));
                let params = if known.is_some() { self.params.clone() } else { Params::default() };
                self.args(args, &Callee::Params(params));
            }
            _ => {}
        }
    }

    fn defaults(&mut self, params: &'a [Param]) {
        params.iter().filter_map(|param| param.default.as_ref()).for_each(|default| self.expr(default));
    }

    fn body(&mut self, body: &'a Body) {
        let lines = body.lines.iter().flat_map(|line| &line.steps);
        self.scoped(|walk| lines.for_each(|step| walk.step(step, body.span)));
    }

    fn step(&mut self, step: &'a Step, around: Span) {
        if let Some(label) = &step.label {
            self.label(label, step.span);
        }
        match &step.kind {
            StepKind::Call(call) => self.call(call),
            StepKind::Repeat { count, call } => {
                self.expr(count);
                self.call(call);
            }
            StepKind::Seq(body) | StepKind::Group(body) | StepKind::Grow(body) | StepKind::Gate(body) => {
                self.body(body)
            }
            StepKind::Branches(_, body) => body.lines.iter().for_each(|line| {
                self.scoped(|walk| line.steps.iter().for_each(|step| walk.step(step, line.span)));
            }),
            StepKind::Residual { cond, body, project } => {
                let project = project.iter();
                cond.iter().chain(project.clone().flat_map(|project| &project.cond)).for_each(|cond| self.expr(cond));
                self.body(body);
                project.for_each(|project| self.body(&project.body));
            }
            StepKind::For { names, iter, body } => {
                self.expr(iter);
                self.scoped(|walk| {
                    names.iter().for_each(|name| walk.local(Kind::Variable, name, body.span, name.span));
                    walk.body(body);
                });
            }
            StepKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.body(then);
                otherwise.iter().for_each(|body| self.body(body));
            }
            StepKind::From(path) => self.path(path),
            StepKind::Aux(inner) => self.scoped(|walk| walk.step(inner, around)),
            StepKind::Output(name) => {
                self.declare(Kind::Output, name, Some(around), step.span);
            }
            StepKind::Const(item) => {
                self.expr(&item.value);
                let rest = Span { start: step.span.start, ..around };
                self.local(Kind::Constant, &item.name, rest, step.span);
            }
        }
        if let Some(alias) = &step.alias {
            let rest = Span { start: alias.span.end, ..around };
            let id = self.declare(Kind::Value, alias, Some(rest), step.span);
            self.values.add(&alias.text, id);
        }
    }

    /// A label, if it is one name, is declared; of others the expressions count.
    fn label(&mut self, label: &'a Label, whole: Span) {
        if let [LabelPart::Text(text)] = label.parts.as_slice() {
            let id = DeclarationId(self.names.declarations.len());
            let (kind, span) = (Kind::Label, label.span);
            self.names.declarations.push(Declaration { kind, name: text.clone(), span, scope: None, whole });
            return self.mark(span, Meaning::Declares(id));
        }
        self.interpolated(label);
    }

    fn interpolated(&mut self, label: &'a Label) {
        for part in &label.parts {
            if let LabelPart::Expr(expr) = part {
                self.expr(expr);
            }
        }
    }

    /// `from name`; what a path through labels leads to, building tells.
    fn path(&mut self, path: &'a Label) {
        match path.parts.as_slice() {
            [LabelPart::Text(name)] if !name.contains('.') => {
                let value = self.values.find(name).or_else(|| self.inputs.get(name.as_str()).copied());
                return self.mark(path.span, value.map_or(Meaning::Unknown, Meaning::Names));
            }
            [.., LabelPart::Text(text)] if text.contains('.') => {
                self.names.tapped.extend(text.rsplit('.').next().map(String::from));
            }
            _ => self.names.taps_any = true,
        }
        match path.parts.as_slice() {
            [LabelPart::Text(_)] => self.mark(path.span, Meaning::Unknown),
            _ => self.interpolated(path),
        }
    }

    fn call(&mut self, call: &'a Call) {
        let callee = self.callee(&call.name);
        self.args(&call.args, &callee);
    }

    /// As the builder finds it: a variable comes first, then layers, then blocks.
    fn callee(&mut self, name: &'a Ident) -> Callee<'a> {
        if let Some(id) = self.variable(&name.text) {
            self.mark(name.span, Meaning::Names(id));
            return Callee::Unknown;
        }
        if let Some(entry) = layers::find(&name.text) {
            self.mark(name.span, Meaning::Layer(entry.spec));
            return Callee::Layer(entry.spec);
        }
        let Some((id, params)) = self.block(&name.text) else { return Callee::Unknown };
        let (id, params) = (*id, params.clone());
        self.mark(name.span, Meaning::Names(id));
        Callee::Params(params)
    }

    fn args(&mut self, args: &'a [Arg], callee: &Callee<'a>) {
        for arg in args {
            if let Some(name) = &arg.name {
                let meaning = match callee {
                    Callee::Layer(spec) => spec.param(&name.text).map(|param| Meaning::LayerParam(spec, param)),
                    Callee::Params(params) => params.get(name.text.as_str()).copied().map(Meaning::Names),
                    Callee::Unknown => None,
                };
                self.mark(name.span, meaning.unwrap_or(Meaning::Unknown));
                self.names.given.insert(name.span);
            } else if let (Callee::Layer(spec), ExprKind::Name(word)) = (callee, &arg.value.kind)
                && let Some(param) = param_of_word(spec, word)
            {
                let meaning = if param.name == word { Meaning::LayerParam(spec, param) } else { Meaning::Word };
                self.mark(arg.value.span, meaning);
                continue;
            }
            self.expr(&arg.value);
        }
    }

    fn variable(&self, name: &str) -> Option<DeclarationId> {
        let global = |file| self.globals.get(&(file, name)).copied();
        let of_file = |file| self.program.const_file(name, file).map_or(file, Found::any);
        self.scope.find(name).or_else(|| global(Some(of_file(self.file?)))).or_else(|| global(None))
    }

    fn block(&self, name: &str) -> Option<&(DeclarationId, Params<'a>)> {
        let file_of = |(id, _): &(DeclarationId, _)| self.names.declaration(*id).span.file;
        self.program.nearest(self.blocks.get(name)?, file_of, self.file?).map(Found::any)
    }

    fn expr(&mut self, expr: &'a Expr) {
        match &expr.kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::Str(_) | ExprKind::Dims(_) => {}
            ExprKind::Name(name) => {
                let block = || self.block(name).map(|(id, _)| Meaning::Names(*id));
                let layer = || layers::find(name).map(|entry| Meaning::Layer(entry.spec));
                let meaning = self.variable(name).map(Meaning::Names).or_else(layer).or_else(block);
                self.mark(expr.span, meaning.unwrap_or(Meaning::Word));
            }
            ExprKind::Field(of, _) | ExprKind::Unary(_, of) => self.expr(of),
            ExprKind::Index(a, b) | ExprKind::Binary(_, a, b) | ExprKind::Range(a, b) => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::Call(name, list) => {
                if let Some(at) = FUNCTIONS.iter().position(|function| function.name == name.text) {
                    self.mark(name.span, Meaning::Function(at));
                }
                list.iter().for_each(|item| self.expr(item));
            }
            ExprKind::List(list) | ExprKind::Then(list) => list.iter().for_each(|item| self.expr(item)),
            ExprKind::Cond { cond, then, otherwise } => {
                [then, cond, otherwise].into_iter().for_each(|part| self.expr(part));
            }
        }
    }
}
