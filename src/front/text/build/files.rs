//! A model file with the files that it uses, sorted into a [`Program`].

use super::{Loader, Options};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::attempt::Attempt;
use crate::front::text::syntax::ast::{Arg, Block, Body, Const, Expr, ExprKind, File, Ident, ItemKind, Param, Size};
use crate::front::text::syntax::{Kept, parser};
use crate::model::zoo::{self, ZooLoader};
use crate::source::{FileId, SourceMap, Span, ZOO_PATH};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// All items of a model, each kind by itself. Names are unique.
#[derive(Debug, Default)]
pub struct Program {
    pub model: Option<Model>,
    /// The parameters of models in files that this one uses, which have their defaults there.
    pub lent: Vec<(FileId, Vec<Param>)>,
    /// The free sizes of the inputs; the last parameters of the model.
    pub sizes: Vec<Param>,
    /// Their names.
    free: HashSet<String>,
    pub inputs: Vec<Input>,
    pub net: Option<Net>,
    pub consts: Vec<Const>,
    /// The files in which a constant is defined: several as for blocks.
    pub consts_of: HashMap<String, Vec<FileId>>,
    /// By name. Several have one name where variants of a network of the zoo are used: see [`Program::block`].
    pub blocks: HashMap<String, Vec<Block>>,
    pub defaults: Vec<Defaults>,
    pub variants: Vec<Variant>,
    pub renames: Vec<(Ident, Ident)>,
    pub allows: Vec<Ident>,
    /// Where an item that is missing is missed.
    pub end: Option<Span>,
    /// The trees of all files, the root first, each before those that it uses.
    pub files: Vec<Arc<File>>,
    /// What each file uses.
    uses: HashMap<FileId, Vec<FileId>>,
}

/// Which of several items of one name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<T> {
    One(T),
    /// Two are as near as each other.
    Either(T, T),
}

impl<T> Found<T> {
    /// The first of two.
    pub fn any(self) -> T {
        match self {
            Found::One(item) | Found::Either(item, _) => item,
        }
    }
}

#[derive(Debug)]
pub struct Model {
    pub name: Ident,
    pub params: Vec<Param>,
}

#[derive(Debug)]
pub struct Input {
    pub name: Ident,
    pub dtype: Ident,
    /// Free sizes are names here.
    pub dims: Vec<Expr>,
    pub span: Span,
}

#[derive(Debug)]
pub struct Net {
    pub body: Body,
    pub span: Span,
}

/// `defaults conv half`: holds for the calls of the same file.
#[derive(Debug)]
pub struct Defaults {
    pub layer: Ident,
    pub args: Vec<Arg>,
    pub span: Span,
}

/// `variant resnet50 = resnet([3, 4, 6, 3])`
#[derive(Debug)]
pub struct Variant {
    pub name: Ident,
    pub model: Ident,
    pub args: Vec<Arg>,
    pub span: Span,
}

impl Program {
    /// Parses the root file and, through the loader, every file it uses, except for what is in `kept`. Items in error are
    /// without what is wrong in them.
    pub fn load(
        sources: &mut SourceMap,
        root: FileId,
        options: &Options,
        loader: &mut dyn Loader,
        kept: &mut Kept,
    ) -> Attempt<Program> {
        let name = sources.file(root).name.clone();
        let (folder, own) = name.rsplit_once('/').map_or(("", name.as_str()), |(folder, own)| (folder, own));
        let own = match name.strip_prefix(ZOO_PATH) {
            Some(file) => Used { of_zoo: true, path: file.to_string(), variant: None },
            None => Used { of_zoo: false, path: own.to_string(), variant: None },
        };
        let mut reader = Reader {
            folder: folder.into(),
            loaded: vec![(own.clone(), root)],
            stack: Vec::new(),
            text_bytes: 0,
            program: Program::default(),
            names: HashMap::new(),
            errors: Vec::new(),
            sources,
            options,
            loader,
            kept,
        };
        reader.file(root, own);
        reader.sizes();
        Attempt { made: reader.program, errors: reader.errors }
    }

    /// Whether this is the name of a free size.
    pub(super) fn is_free(&self, name: &str) -> bool {
        self.free.contains(name)
    }

    /// The block of this name that a file means: of several, that of the file itself, or else of the nearest of those
    /// that it uses.
    pub fn block(&self, name: &str, from: FileId) -> Option<Found<&Block>> {
        self.nearest(self.blocks.get(name)?, |block| block.name.span.file, from)
    }

    /// The file with the constant of this name that a file means, if there are several.
    pub fn const_file(&self, name: &str, from: FileId) -> Option<Found<FileId>> {
        let files = self.consts_of.get(name).filter(|files| files.len() > 1)?;
        self.nearest(files.iter().copied(), |file| file, from)
    }

    /// The item that is nearest to a file, through what it uses; the first where none can be reached.
    pub fn nearest<T: Copy>(
        &self,
        items: impl IntoIterator<Item = T> + Clone,
        file_of: impl Fn(T) -> FileId,
        from: FileId,
    ) -> Option<Found<T>> {
        let first = items.clone().into_iter().next()?;
        if items.clone().into_iter().nth(1).is_none() {
            return Some(Found::One(first));
        }
        let (mut ring, mut seen) = (vec![from], HashSet::from([from]));
        while !ring.is_empty() {
            let mut here = items.clone().into_iter().filter(|&item| ring.contains(&file_of(item)));
            match (here.next(), here.next()) {
                (Some(one), None) => return Some(Found::One(one)),
                (Some(one), Some(other)) => return Some(Found::Either(one, other)),
                (None, _) => {}
            }
            let next = ring.iter().filter_map(|file| self.uses.get(file)).flatten().copied();
            ring = next.filter(|file| seen.insert(*file)).collect();
        }
        Some(Found::One(first))
    }

    /// Names of the variants, in the order of the file.
    pub fn variants(&self) -> Vec<String> {
        self.variants.iter().map(|v| v.name.text.clone()).collect()
    }
}

struct Reader<'a> {
    /// Folder of the root file; for the names under which used files are shown.
    folder: String,
    loaded: Vec<(Used, FileId)>,
    /// The files that are being read: each uses the next.
    stack: Vec<Used>,
    text_bytes: usize,
    program: Program,
    /// Kind and name of every item, and where it stands.
    names: HashMap<(&'static str, String), Span>,
    errors: Vec<Diagnostic>,
    sources: &'a mut SourceMap,
    options: &'a Options,
    loader: &'a mut dyn Loader,
    kept: &'a mut Kept,
}

/// A file that is read.
#[derive(Clone, PartialEq, Eq)]
struct Used {
    /// Whether it comes along: `zoo:resnet50`.
    of_zoo: bool,
    /// Below the root file's folder, or a file of the zoo.
    path: String,
    /// Which values the parameters of its model have: those of this variant, or their defaults.
    variant: Option<String>,
}

impl Used {
    /// Whether they are one file, whichever variants.
    fn same_file(&self, other: &Used) -> bool {
        (self.of_zoo, &self.path) == (other.of_zoo, &other.path)
    }
}

/// How long a chain of files using each other may be.
const MAX_CHAIN: usize = 32;

impl Reader<'_> {
    fn file(&mut self, id: FileId, used: Used) {
        let Attempt { made, errors } = parser::recover(self.sources, id, &self.options.stop, self.kept);
        self.errors.extend(errors);
        let file = Arc::new(made);
        self.program.files.push(file.clone());
        self.stack.push(used);
        self.items(&file);
        self.stack.pop();
    }

    fn items(&mut self, file: &File) {
        let is_root = self.stack.len() == 1;
        if is_root {
            let end = file.span.range().end;
            self.program.end = Some(Span::new(file.span.file, end..end));
        }
        let is_of_zoo = self.stack.last().is_some_and(|used| used.of_zoo);
        for item in &file.items {
            match item.kind.clone() {
                ItemKind::Model { params, .. } if !is_root => {
                    let variant = self.stack.last().and_then(|used| used.variant.as_deref());
                    self.program.lent.push((file.span.file, given(params, variant, file)));
                }
                // Of a model that is used, others take its blocks and constants.
                ItemKind::Input { .. } | ItemKind::Net(_) | ItemKind::Variant { .. } if !is_root => {}
                // Warnings about the zoo's files are not given anyway; its author allows nothing in another's text.
                ItemKind::Allow(_) if !is_root && is_of_zoo => {}
                kind => self.item(kind, item.span),
            }
        }
    }

    fn item(&mut self, kind: ItemKind, span: Span) {
        match kind {
            ItemKind::Use { path, path_span } => self.use_file(&path, path_span),
            ItemKind::Const(item) => {
                if self.declare("constant", &item.name) {
                    self.program.consts_of.entry(item.name.text.clone()).or_default().push(item.name.span.file);
                    self.program.consts.push(item);
                }
            }
            ItemKind::Block(block) => {
                self.unique_params(&block.params);
                if self.declare("block", &block.name) {
                    self.program.blocks.entry(block.name.text.clone()).or_default().push(block);
                }
            }
            ItemKind::Model { name, params } => {
                if self.declare_one("model", name.span) {
                    self.program.model = Some(Model { name, params });
                }
            }
            ItemKind::Net(body) => {
                if self.declare_one("net", span) {
                    self.program.net = Some(Net { body, span });
                }
            }
            ItemKind::Input { name, dtype, dims } => {
                let dims = dims.into_iter().enumerate().map(|(at, size)| self.size(at, size)).collect();
                if self.declare("input", &name) {
                    self.program.inputs.push(Input { name, dtype, dims, span });
                }
            }
            ItemKind::Variant { name, model, args } => {
                if self.declare("variant", &name) {
                    self.program.variants.push(Variant { name, model, args, span });
                }
            }
            ItemKind::Defaults { layer, args } => self.program.defaults.push(Defaults { layer, args, span }),
            ItemKind::Rename { from, to } => self.program.renames.push((from, to)),
            ItemKind::Allow(lints) => self.program.allows.extend(lints),
        }
    }

    /// What stands for a size of an input: its value, or the name of a free one, which becomes a parameter.
    fn size(&mut self, at: usize, size: Size) -> Expr {
        let Some(name) = size.name else { return size.value };
        if at == 0 {
            let error =
                Diagnostic::error("E0327", "the batch has no default: each run decides how many samples it has")
                    .at(name.span, "the first size is the batch");
            let help = format!("write `{}` alone", name.text);
            self.errors.push(error.fix(help, name.span.to(size.value.span), name.text.as_str()));
        }
        let expr = Expr { kind: ExprKind::Name(name.text.clone()), span: name.span };
        self.program.free.insert(name.text.clone());
        self.program.sizes.push(Param { name, default: Some(size.value) });
        expr
    }

    /// Makes parameters of the model of all free sizes.
    fn sizes(&mut self) {
        let Some(model) = &mut self.program.model else { return };
        model.params.extend(self.program.sizes.iter().cloned());
        let params = model.params.clone();
        self.unique_params(&params);
        for name in params.iter().map(|param| &param.name) {
            if let Some(constant) = self.names.get(&("constant", name.text.clone())) {
                let error = Diagnostic::error("E0210", format!("`{}` is a parameter and a constant", name.text));
                self.errors.push(error.at(name.span, "the parameter").at(*constant, "the constant"));
            }
        }
    }

    /// Notes a name; false, with an error, where the same kind of item has it already.
    fn declare(&mut self, kind: &'static str, name: &Ident) -> bool {
        self.declare_at(kind, name.text.clone(), name.span, format!("the {kind} `{}` is defined twice", name.text))
    }

    /// The same for an item of which a file has one.
    fn declare_one(&mut self, kind: &'static str, span: Span) -> bool {
        self.declare_at(kind, String::new(), span, format!("a file has one `{kind}`, this is the second"))
    }

    fn declare_at(&mut self, kind: &'static str, name: String, span: Span, message: String) -> bool {
        let earlier = *self.names.entry((kind, name)).or_insert(span);
        if self.are_variants(earlier.file, span.file) {
            return true;
        }
        if earlier != span {
            self.errors.push(
                Diagnostic::error("E0210", message).at(span, "defined again here").at(earlier, "first defined here"),
            );
        }
        earlier == span
    }

    /// Whether these are one file of the zoo, used as different variants.
    fn are_variants(&self, a: FileId, b: FileId) -> bool {
        let of = |id: FileId| self.loaded.iter().find(|(_, known)| *known == id).map(|(used, _)| used);
        a != b && of(a).zip(of(b)).is_some_and(|(a, b)| a.of_zoo && a.same_file(b))
    }

    fn unique_params(&mut self, params: &[Param]) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for name in params.iter().map(|p| &p.name) {
            let first = *seen.entry(&name.text).or_insert(name.span);
            if first != name.span {
                self.errors.push(
                    Diagnostic::error("E0210", format!("the parameter `{}` is declared twice", name.text))
                        .at(name.span, "declared again here")
                        .at(first, "first declared here"),
                );
            }
        }
    }

    fn use_file(&mut self, path: &str, span: Span) {
        if let Err(error) = self.try_use(path, span) {
            self.errors.push(error);
        }
    }

    fn try_use(&mut self, path: &str, span: Span) -> Result<(), Diagnostic> {
        if self.options.stop.is_due() {
            return Err(
                Diagnostic::error("E0510", "the files that are used were not all read").at(span, "from here on")
            );
        }
        let used = self.named(path, span)?;
        if let Some(start) = self.stack.iter().position(|open| open.same_file(&used)) {
            let chain = self.stack[start..].iter().chain([&used]).map(|used| used.path.as_str());
            return Err(Diagnostic::error("E0603", "files use each other in a circle")
                .at(span, "the circle closes here")
                .note(chain.collect::<Vec<_>>().join(" uses "))
                .help("move what both need into a third file"));
        }
        if self.stack.len() >= MAX_CHAIN {
            let message = format!("files use each other in a chain of more than {MAX_CHAIN}");
            return Err(Diagnostic::error("E0505", message).at(span, "one file too deep"));
        }
        let known = self.loaded.iter().find(|(known, _)| *known == used).map(|(_, id)| *id);
        let id = known.map_or_else(|| self.read(&used, path, span), Ok)?;
        self.program.uses.entry(span.file).or_default().push(id);
        if known.is_none() {
            self.file(id, used);
        }
        Ok(())
    }

    /// The text of a file that is used for the first time.
    fn read(&mut self, used: &Used, path: &str, span: Span) -> Result<FileId, Diagnostic> {
        let loaded = if used.of_zoo { ZooLoader.load(&used.path) } else { self.loader.load(&used.path) };
        let unreadable = |reason: String| Diagnostic::error("E0602", format!("cannot read `{path}`")).at(span, reason);
        let text = loaded.map_err(unreadable)?;
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if self.text_bytes > self.options.limits.text {
            let message = format!("the files of this model hold more than {} bytes", self.options.limits.text);
            return Err(Diagnostic::error("E0501", message).at(span, "this file is too large"));
        }
        let shown = match (used.of_zoo, self.folder.as_str()) {
            (true, _) => format!("{ZOO_PATH}{}", used.path),
            (false, "") => used.path.clone(),
            (false, folder) => format!("{folder}/{}", used.path),
        };
        let id = self.sources.add(shown, text);
        self.loaded.push((used.clone(), id));
        Ok(id)
    }

    /// The file that the current one means by a path, or by the name of a network of the zoo.
    fn named(&self, path: &str, span: Span) -> Result<Used, Diagnostic> {
        if let Some(name) = path.strip_prefix(ZOO_PATH) {
            let entry = zoo::find(name).map_err(|error| Diagnostic::error("E0602", error.to_string()).at(span, ""))?;
            return Ok(Used { of_zoo: true, path: entry.file.into(), variant: entry.variant });
        }
        check_path(path).map_err(|reason| {
            Diagnostic::error("E0601", "`use` reads only files at or below the model's own folder")
                .at(span, reason)
                .help("copy the file beside the model and use it by its name")
        })?;
        let (of_zoo, user) = self.stack.last().map_or((false, ""), |user| (user.of_zoo, &user.path));
        Ok(Used { of_zoo, path: below(user, path), variant: None })
    }
}

/// The parameters of a file's model, with the values of a variant for defaults.
fn given(mut params: Vec<Param>, variant: Option<&str>, file: &File) -> Vec<Param> {
    let args = file.items.iter().find_map(|item| match &item.kind {
        ItemKind::Variant { name, args, .. } if Some(name.text.as_str()) == variant => Some(args),
        _ => None,
    });
    for (at, arg) in args.into_iter().flatten().enumerate() {
        let at = match &arg.name {
            Some(name) => params.iter().position(|param| param.name.text == name.text),
            None => Some(at),
        };
        if let Some(param) = at.and_then(|at| params.get_mut(at)) {
            param.default = Some(arg.value.clone());
        }
    }
    params
}

/// Refuses whatever could lead out of a folder, on any system.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        Err("the path is empty")
    } else if path.contains('\\') {
        Err("folders are separated by `/`")
    } else if path.starts_with('/') {
        Err("this is an absolute path")
    } else if path.contains(':') {
        Err("this names a drive or a server")
    } else if path.contains('\0') {
        Err("this holds a zero byte")
    } else if path.split('/').any(|part| part == "..") {
        Err("`..` leads out of the folder")
    } else {
        Ok(())
    }
}

/// `path` as seen from the folder of `user`, without `.` and empty components.
fn below(user: &str, path: &str) -> String {
    let folder = user.rsplit_once('/').map_or("", |(folder, _)| folder);
    let parts = folder.split('/').chain(path.split('/')).filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_folder() {
        for bad in ["", "/etc/passwd", "../x.cnn", "a/../../x.cnn", "C:x.cnn", "a\\..\\x.cnn", "\\\\host\\x", "a\0"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        for good in ["x.cnn", "lib/x.cnn", "./x.cnn", "..x.cnn"] {
            assert!(check_path(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn paths_are_seen_from_the_using_file() {
        assert_eq!(below("model.cnn", "lib/./a.cnn"), "lib/a.cnn");
        assert_eq!(below("lib/a.cnn", "b.cnn"), "lib/b.cnn");
    }
}
