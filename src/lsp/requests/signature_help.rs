//! The parameters of the call that is being written.

use super::{Answer, markdown};
use crate::front::text::build::FUNCTIONS;
use crate::front::text::names::Kind;
use crate::front::text::syntax::ast::{ItemKind, Param};
use crate::layers::{self, LayerSpec, ParamDecl};
use crate::lsp::context::{self, Call};
use crate::lsp::view::View;
use gen_lsp_types::*;

pub fn answer(view: &View, params: SignatureHelpParams) -> Answer<Option<SignatureHelp>> {
    let offset = view.offset(params.text_document_position_params.position);
    let Some(call) = context::call(view.text(), offset) else { return Ok(None) };
    let signature = match call.is_function {
        true => of_function(&call),
        false => of_layer(&call).or_else(|| of_declared(view, &call)),
    };
    Ok(signature.map(|signature| SignatureHelp {
        active_parameter: signature.active_parameter,
        signatures: vec![signature],
        active_signature: Some(0),
    }))
}

/// A parameter as it is shown, and what is said of it.
type Shown = (String, Option<String>);

fn signature(name: &str, doc: Option<String>, params: Vec<Shown>, active: Option<usize>) -> SignatureInformation {
    let mut label = format!("{name}(");
    let mut shown = Vec::new();
    for (at, (param, doc)) in params.into_iter().enumerate() {
        if at > 0 {
            label.push_str(", ");
        }
        let start = label.encode_utf16().count() as u32;
        label.push_str(&param);
        let range = ParameterInformationLabel::Tuple((start, label.encode_utf16().count() as u32));
        shown.push(ParameterInformation { label: range, documentation: doc.map(Documentation::String) });
    }
    label.push(')');
    SignatureInformation {
        label,
        documentation: doc.map(|doc| Documentation::MarkupContent(markdown(doc))),
        parameters: Some(shown),
        active_parameter: active.map(|at| ActiveParameter::Int(at as u32)),
    }
}

/// Which of some parameters an argument is for: the one that it names, or else one by its place.
fn active<'a>(names: impl IntoIterator<Item = &'a str>, call: &Call, at: Option<usize>) -> Option<usize> {
    let named = call.name.and_then(|name| names.into_iter().position(|known| known == name));
    named.or(at)
}

fn of_layer(call: &Call) -> Option<SignatureInformation> {
    let LayerSpec { keyword, doc, params } = layers::find(call.callee)?.spec;
    let shown = |param: &ParamDecl| match param.default {
        None => param.name.to_string(),
        Some("") => format!("{}?", param.name),
        Some(default) => format!("{} = {default}", param.name),
    };
    let places = params.iter().enumerate().filter(|(_, param)| param.positional).map(|(at, _)| at);
    let place = places.take(call.index + 1).collect::<Vec<_>>().get(call.index).copied();
    let active = active(params.iter().map(|param| param.name), call, place);
    let params = params.iter().map(|param| (shown(param), Some(param.doc.to_string()))).collect();
    Some(signature(keyword, Some(doc.to_string()), params, active))
}

fn of_function(call: &Call) -> Option<SignatureInformation> {
    let function = FUNCTIONS.iter().find(|function| function.name == call.callee)?;
    let words = function.usage.split_once('(')?.1.trim_end_matches(')');
    let params: Vec<Shown> = words.split(", ").map(|word| (word.to_string(), None)).collect();
    let last = params.len().saturating_sub(1);
    Some(signature(function.name, Some(function.doc.into()), params, Some(call.index.min(last))))
}

/// Of a block, or of the model in a variant.
fn of_declared(view: &View, call: &Call) -> Option<SignatureInformation> {
    let is = |kind| matches!(kind, Kind::Block | Kind::Model);
    let declared = view.texts.names.declarations().iter().find(|known| is(known.kind) && known.name == call.callee)?;
    let items = view.texts.tree(declared.span.file)?.items.iter();
    let params: &[Param] = items.filter(|item| item.span == declared.whole).find_map(|item| match &item.kind {
        ItemKind::Block(block) => Some(&block.params[..]),
        ItemKind::Model { params, .. } => Some(&params[..]),
        _ => None,
    })?;
    let shown = |param: &Param| match &param.default {
        None => param.name.text.clone(),
        Some(default) => format!("{} = {}", param.name.text, view.slice(default.span)),
    };
    let place = (call.index < params.len()).then_some(call.index);
    let active = active(params.iter().map(|param| param.name.text.as_str()), call, place);
    Some(signature(&declared.name, None, params.iter().map(|param| (shown(param), None)).collect(), active))
}
