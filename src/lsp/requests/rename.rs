//! Another name for what the author has named, in all files that share it.

use super::{Answer, Around, references};
use crate::diagnostic::Edit;
use crate::diagnostic::fix;
use crate::front::text::names::{DeclarationId, Kind, Meaning, Names};
use crate::front::text::stop::Stop;
use crate::front::text::syntax::Kept;
use crate::front::text::syntax::parser::{is_item_name, is_variable_name};
use crate::lsp::analysis::Texts;
use crate::lsp::documents::{Open, path_of};
use crate::lsp::view::View;
use crate::source::Span;
use gen_lsp_types::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub fn prepare(view: &View, params: PrepareRenameParams) -> Answer<Option<PrepareRenameResult>> {
    let offset = view.offset(params.text_document_position_params.position);
    let Some(id) = view.texts.names.declared_at(view.file, offset) else { return Ok(None) };
    permitted(view, id)?;
    let place = view.texts.names.at(view.file, offset);
    Ok(place.map(|place| PrepareRenameResult::Range(view.range(place.span))))
}

/// What names something outside of the texts is not renamed.
fn permitted(view: &View, id: DeclarationId) -> Answer<()> {
    let refuse = |why: &str| Err(why.to_string());
    if view.texts.sources.of_zoo(view.texts.names.declaration(id).span.file).is_some() {
        return refuse("this name is of the zoo, which comes with the program");
    }
    match view.texts.names.declaration(id).kind {
        Kind::Label => refuse("a label is part of the names of weights: with another one, weight files no longer fit"),
        Kind::Input | Kind::Output => refuse("this name is part of the network: programs that run it use it"),
        Kind::Model | Kind::Variant => refuse("commands and cards use this name: `FILE:NAME`"),
        Kind::Block | Kind::Constant | Kind::Parameter | Kind::Variable | Kind::Value => Ok(()),
    }
}

pub fn answer(view: &View, around: &Around, params: RenameParams) -> Answer<Option<WorkspaceEdit>> {
    let offset = view.offset(params.text_document_position_params.position);
    let Some(id) = view.texts.names.declared_at(view.file, offset) else { return Ok(None) };
    permitted(view, id)?;
    let new = params.new_name.as_str();
    check_name(view.texts.names.declaration(id).kind, new)?;
    let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
    let models = references::sharing(view, around, id);
    for (texts, id) in &models {
        let other = View { file: texts.root(), texts, encoding: view.encoding };
        for (uri, edits) in other.edits(texts.names.places(*id).map(|span| (span, new))) {
            let known = changes.entry(uri).or_default();
            known.extend(edits);
            known.sort_by_key(|edit| edit.range);
            known.dedup();
        }
    }
    models.iter().try_for_each(|(texts, id)| check_meaning(texts, *id, new, &around.open))?;
    check_others(&models, around)?;
    Ok(Some(WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() }))
}

/// Whether the files in which something is named belong to no model where another thing has that name: a file says what
/// it names by what is used with it.
fn check_others(models: &[(Texts, DeclarationId)], around: &Around) -> Answer<()> {
    let declared = |texts: &Texts, id: DeclarationId| {
        let span = texts.names.declaration(id).span;
        (texts.uri(span.file).to_string(), span.range().start)
    };
    let Some((texts, id)) = models.first() else { return Ok(()) };
    let (name, this) = (&texts.names.declaration(*id).name, declared(texts, *id));
    let mut places: BTreeMap<String, (Uri, BTreeSet<usize>)> = BTreeMap::new();
    for (texts, id) in models {
        for span in texts.names.places(*id) {
            let uri = texts.uri(span.file);
            let (_, starts) = places.entry(uri.to_string()).or_insert_with(|| (uri.clone(), BTreeSet::new()));
            starts.insert(span.range().start);
        }
    }
    for (uri, starts) in places.values() {
        for other in around.users(uri) {
            let Some(file) = other.find(uri) else { continue };
            let mut meant = starts.iter().filter_map(|start| other.names.declared_at(file, *start));
            if meant.any(|id| declared(&other, id) != this) {
                let [here, root] = [uri, other.uri(other.root())].map(file_name);
                return Err(format!("`{name}` in {here} is another one where {root} uses it"));
            }
        }
    }
    Ok(())
}

fn file_name(uri: &Uri) -> String {
    let path = path_of(uri).unwrap_or_default();
    path.file_name().map_or_else(|| uri.to_string(), |name| name.to_string_lossy().into_owned())
}

fn check_name(kind: Kind, new: &str) -> Answer<()> {
    let fits = match kind {
        Kind::Block => is_item_name(new),
        _ => is_variable_name(new),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("`{new}` is no name here: letters, digits and `_`, and no word of the language"))
    }
}

/// Whether every word of a model means the same with the new name: nothing else may have it where it stands.
fn check_meaning(texts: &Texts, id: DeclarationId, new: &str, open: &Open) -> Answer<()> {
    let old = &texts.names.declaration(id).name;
    if texts.names.occurrences().iter().any(|o| matches!(o.meaning, Meaning::Unknown) && is_unclear(texts, o.span, old))
    {
        return Err(format!("what `{old}` names in one place is known only once the network is built"));
    }
    let mut edits: BTreeMap<_, Vec<Edit>> = BTreeMap::new();
    for span in texts.names.places(id) {
        edits.entry(span.file).or_default().push(Edit { span, text: new.into() });
    }
    let changed = |file| {
        let text = &texts.sources.file(file).text;
        edits.get(&file).map_or_else(|| text.clone(), |edits| fix::apply(text, edits))
    };
    let mut renamed = (**open).clone();
    for (file, uri) in texts.files() {
        if let Some(path) = path_of(uri) {
            renamed.insert(path, (uri.clone(), changed(file).into()));
        }
    }
    let root = texts.root();
    let after = Texts::read(texts.uri(root), &changed(root), Arc::new(renamed), &Stop::default(), &mut Kept::default());
    let same = meanings(&texts.names) == meanings(&after.names) && after.errors.len() <= texts.errors.len();
    if same { Ok(()) } else { Err(format!("`{new}` is something else already where `{old}` stands")) }
}

/// A name through what only building tells, such as `from a.b` or an argument of a block that is a parameter.
fn is_unclear(texts: &Texts, span: Span, name: &str) -> bool {
    texts.sources.slice(span).rsplit('.').next() == Some(name)
}

/// What each word of the texts means, whatever its name and place.
fn meanings(names: &Names) -> Vec<String> {
    let of = |meaning: &Meaning| match meaning {
        Meaning::Declares(id) => format!("declares {id:?}"),
        Meaning::Names(id) => format!("names {id:?}"),
        Meaning::Layer(spec) => spec.keyword.to_string(),
        Meaning::LayerParam(spec, param) => format!("{}.{}", spec.keyword, param.name),
        Meaning::Function(at) => format!("function {at}"),
        Meaning::Word => "word".into(),
        Meaning::Unknown => "unknown".into(),
    };
    names.occurrences().iter().map(|occurrence| of(&occurrence.meaning)).collect()
}
