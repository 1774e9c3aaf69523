//! What may be written at the cursor.

use super::{Answer, Workspace, markdown};
use crate::analysis::lint::LINTS;
use crate::diagnostic::codes;
use crate::front::text::build::FUNCTIONS;
use crate::front::text::build::unused::WARNINGS;
use crate::front::text::forms::FORMS;
use crate::front::text::names::{Declaration, Kind};
use crate::front::text::syntax::ITEM_KEYWORDS;
use crate::layers::{self, LayerSpec, ParamDecl};
use crate::lsp::context::{self, Call, Place};
use crate::lsp::documents::path_of;
use crate::lsp::view::View;
use crate::model::zoo;
use crate::source::{Span, ZOO_PATH};
use gen_lsp_types::*;

pub fn answer(view: &View, workspace: &Workspace, params: CompletionParams) -> Answer<Option<CompletionResponse>> {
    let offset = view.offset(params.text_document_position_params.position);
    let found = Candidates { view, offset, snippets: workspace.snippets };
    let items = found.at(context::place(view.text(), offset));
    Ok(Some(CompletionResponse::CompletionItemList(items)))
}

struct Candidates<'a> {
    view: &'a View<'a>,
    offset: usize,
    snippets: bool,
}

impl Candidates<'_> {
    fn at(&self, place: Place) -> Vec<CompletionItem> {
        match place {
            Place::Free => Vec::new(),
            Place::Path => self.paths(),
            Place::Item => self.forms(true),
            Place::Step => [self.layers(), self.blocks(), self.forms(false)].concat(),
            Place::Callee { layers_only: true } => self.layers(),
            Place::Callee { layers_only: false } => [self.blocks(), self.layers()].concat(),
            Place::Value => self.values(),
            Place::From => self.named(&[Kind::Value, Kind::Label, Kind::Input]),
            Place::Field => FIELDS.iter().map(|(name, doc)| item(name, CompletionItemKind::Field, doc)).collect(),
            Place::Lint => lints(),
            Place::Model => self.named(&[Kind::Model]),
            Place::Argument(call) if call.is_function => self.values(),
            Place::Argument(call) => match layers::find(call.callee) {
                Some(entry) => self.layer_args(entry.spec, &call),
                None => self.block_args(&call),
            },
        }
    }

    fn layers(&self) -> Vec<CompletionItem> {
        let of = |spec: &LayerSpec| CompletionItem {
            documentation: Some(Documentation::MarkupContent(markdown(spec.doc.into()))),
            ..item(spec.keyword, CompletionItemKind::Function, &usage(spec))
        };
        layers::entries().map(|entry| of(entry.spec)).collect()
    }

    fn blocks(&self) -> Vec<CompletionItem> {
        self.named(&[Kind::Block, Kind::Parameter])
    }

    /// Items, or steps and combinators.
    fn forms(&self, items: bool) -> Vec<CompletionItem> {
        let is_item = |name: &str| ITEM_KEYWORDS.contains(&name);
        let fits = |name: &str| is_item(name) == items || name == "const";
        // Those that stand behind a step or in front of one have no place of their own.
        let forms = FORMS.iter().filter(|form| fits(form.name) && !matches!(form.name, "label" | "as" | "x"));
        forms.map(|form| self.form(form.name, form.usage, form.doc)).collect()
    }

    fn form(&self, name: &str, usage: &str, doc: &str) -> CompletionItem {
        let body = usage.contains('{') && self.snippets;
        let condition = name == "if" || name == "for";
        CompletionItem {
            insert_text: body.then(|| match name {
                "block" => "block ${1:Name}($2) {\n  $0\n}".into(),
                _ if condition => format!("{name} $1 {{\n  $0\n}}"),
                _ => format!("{name} {{\n  $0\n}}"),
            }),
            insert_text_format: body.then_some(InsertTextFormat::Snippet),
            documentation: Some(Documentation::String(doc.into())),
            ..item(name, CompletionItemKind::Keyword, usage)
        }
    }

    /// What may stand in an expression.
    fn values(&self) -> Vec<CompletionItem> {
        let functions = FUNCTIONS.iter().map(|function| CompletionItem {
            documentation: Some(Documentation::String(function.doc.into())),
            ..item(function.name, CompletionItemKind::Function, function.usage)
        });
        let names = self.named(&[Kind::Parameter, Kind::Constant, Kind::Variable, Kind::Block]);
        names
            .into_iter()
            .chain(functions)
            .chain([item("in", CompletionItemKind::Variable, "the input of this block")])
            .collect()
    }

    fn layer_args(&self, spec: &'static LayerSpec, call: &Call) -> Vec<CompletionItem> {
        if let Some(param) = call.name.and_then(|name| spec.param(name)) {
            return words(param).into_iter().chain(self.values()).collect();
        }
        let params = spec.params.iter().map(|param| item(param.name, CompletionItemKind::Property, param.doc));
        let alone = spec.params.iter().filter(|param| !matches!(param.kind, layers::Kind::Bool)).flat_map(words);
        params.chain(alone).chain(self.values()).collect()
    }

    fn block_args(&self, call: &Call) -> Vec<CompletionItem> {
        let declared = self.view.texts.names.declarations();
        let callee =
            declared.iter().find(|known| known.name == call.callee && matches!(known.kind, Kind::Block | Kind::Model));
        let own = declared.iter().filter(|known| {
            let inside = |outer: &Declaration| {
                outer.whole.file == known.span.file && outer.whole.range().contains(&known.span.range().start)
            };
            known.kind == Kind::Parameter && callee.is_some_and(inside)
        });
        let own = own.map(|param| item(&param.name, CompletionItemKind::Property, self.view.slice(param.whole)));
        let mut items: Vec<CompletionItem> = own.collect();
        items.extend(
            self.values()
                .into_iter()
                .filter(|value| items.iter().all(|known| known.label != value.label))
                .collect::<Vec<_>>(),
        );
        items
    }

    /// What has a name here, each name once, the innermost last declared.
    fn named(&self, kinds: &[Kind]) -> Vec<CompletionItem> {
        let known =
            self.view.texts.names.in_scope(self.view.file, self.offset).filter(|known| kinds.contains(&known.kind));
        let mut items: Vec<CompletionItem> = Vec::new();
        for known in known {
            if items.iter().all(|item| item.label != known.name) {
                let line = self.view.slice(known.whole).lines().next().unwrap_or_default();
                items.push(item(&known.name, kind_of(known.kind), line.trim_end_matches([' ', '{'])));
            }
        }
        items
    }

    /// Model files in the folder, and networks of the zoo.
    fn paths(&self) -> Vec<CompletionItem> {
        let own = path_of(self.view.texts.uri(self.view.file));
        let folder = own.as_ref().and_then(|path| std::fs::read_dir(path.parent()?).ok());
        let files = folder.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        let others =
            files.filter(|path| path.extension().is_some_and(|end| end == "cnn") && Some(path) != own.as_ref());
        let mut names: Vec<String> = others.filter_map(|path| Some(path.file_name()?.to_str()?.to_string())).collect();
        names.sort();
        names.extend(zoo::names().iter().map(|name| format!("{ZOO_PATH}{name}")));
        // What an editor takes for a word ends at signs that paths hold. All between the quotes is replaced.
        let [before, behind] = [&self.view.text()[..self.offset], &self.view.text()[self.offset..]];
        let start = before.rfind('"').map_or(self.offset, |quote| quote + 1);
        let line = behind.lines().next().unwrap_or_default();
        let end = self.offset + line.find('"').unwrap_or(0);
        let range = self.view.range(Span::new(self.view.file, start..end));
        let path = |name: &String| CompletionItem {
            text_edit: Some(CompletionItemTextEdit::TextEdit(TextEdit { range, new_text: name.clone() })),
            ..item(name, CompletionItemKind::File, "")
        };
        names.iter().map(path).collect()
    }
}

/// The fields of `in`.
const FIELDS: [(&str, &str); 6] = [
    ("c", "channels"),
    ("h", "height"),
    ("w", "width"),
    ("l", "length, of one spatial size"),
    ("d", "depth, of three spatial sizes"),
    ("rank", "how many spatial sizes there are"),
];

fn item(label: &str, kind: CompletionItemKind, detail: &str) -> CompletionItem {
    let detail = (!detail.is_empty()).then(|| detail.to_string());
    CompletionItem { label: label.into(), kind: Some(kind), detail, ..CompletionItem::default() }
}

fn kind_of(kind: Kind) -> CompletionItemKind {
    match kind {
        Kind::Block => CompletionItemKind::Class,
        Kind::Model | Kind::Variant => CompletionItemKind::Module,
        Kind::Constant => CompletionItemKind::Constant,
        Kind::Label => CompletionItemKind::Reference,
        Kind::Parameter | Kind::Variable | Kind::Value | Kind::Input | Kind::Output => CompletionItemKind::Variable,
    }
}

/// `conv kernel, channels, ..`
fn usage(spec: &LayerSpec) -> String {
    let needed = spec.params.iter().filter(|param| param.default.is_none()).map(|param| param.name);
    let rest = spec.params.iter().any(|param| param.default.is_some()).then_some("..");
    format!("{} {}", spec.keyword, needed.chain(rest).collect::<Vec<_>>().join(", ")).trim_end().to_string()
}

/// The words that a parameter takes.
fn words(param: &ParamDecl) -> Vec<CompletionItem> {
    let words: &[&str] = match param.kind {
        layers::Kind::Word(words) => words,
        layers::Kind::Pad => &["valid", "half", "same"],
        layers::Kind::Bool => &["true", "false"],
        _ => &[],
    };
    words.iter().map(|word| item(word, CompletionItemKind::EnumMember, param.doc)).collect()
}

fn lints() -> Vec<CompletionItem> {
    let lints = LINTS.iter().map(|lint| (lint.code, lint.name));
    let all = lints.chain(WARNINGS.iter().map(|(_, code, name)| (*code, *name)));
    let title = |code| codes::find(code).map_or("", |explained| explained.title);
    all.map(|(code, name)| item(name, CompletionItemKind::EnumMember, title(code))).collect()
}
