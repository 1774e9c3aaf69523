//! What a word is, and what its layer does to the value that it is given.

use super::definition::holds;
use super::{Answer, macs, markdown, sizes};
use crate::analysis::receptive_field::{Axis, Field};
use crate::front::text::build::passages::Passage;
use crate::front::text::build::{FUNCTIONS, grouped};
use crate::front::text::forms::FORMS;
use crate::front::text::names::{Declaration, Kind, Meaning};
use crate::front::text::syntax::ast::{Step, StepKind};
use crate::lsp::analysis::{Model, Shown};
use crate::lsp::context::{Token, tokens};
use crate::lsp::view::View;
use crate::source::Span;
use gen_lsp_types::*;

pub fn answer(view: &View, model: &Model, params: HoverParams) -> Answer<Option<Hover>> {
    let offset = view.offset(params.text_document_position_params.position);
    let Some((token, range)) = tokens(view.text()).find(|(_, range)| range.start <= offset && offset < range.end)
    else {
        return Ok(None);
    };
    if !matches!(token, Token::Word | Token::Number) {
        return Ok(None);
    }
    let word = view.texts.names.at(view.file, offset).filter(|found| found.span.range().end > offset);
    let span = word.map_or_else(|| Span::new(view.file, range.clone()), |word| word.span);
    let step = head(view, offset).filter(|step| is_about(step, span));
    let figures = step.and_then(|step| {
        let (shown, passage) = model.passage(step.span)?;
        Some(figures(shown, passage, &step.kind))
    });
    let said = match word.map(|word| word.meaning) {
        Some(meaning) => said_of(view, meaning),
        None => said_of_form(&view.text()[range]),
    };
    let parts: Vec<String> = figures.into_iter().chain(said).collect();
    let hover = || Hover {
        contents: Contents::MarkupContent(markdown(parts.join("\n\n---\n\n"))),
        range: Some(view.range(span)),
    };
    Ok((!parts.is_empty()).then(hover))
}

/// The innermost step at a place, if the place is not within its bodies.
fn head<'a>(view: &View<'a>, offset: usize) -> Option<&'a Step> {
    let mut steps = view.steps().into_iter().filter(|step| holds(step.span, offset));
    steps.next_back().filter(|step| !step.bodies().iter().any(|body| holds(body.span, offset)))
}

/// Whether a word is the label or the keyword of a step, and not one of its arguments.
fn is_about(step: &Step, word: Span) -> bool {
    let is_label = step.label.as_ref().is_some_and(|label| label.span.range().end >= word.range().end);
    let callee = match &step.kind {
        StepKind::Call(call) | StepKind::Repeat { call, .. } => Some(call.name.span),
        _ => None,
    };
    let is_alias = step.alias.as_ref().is_some_and(|alias| alias.span == word);
    is_label || is_alias || callee.is_none_or(|callee| callee == word)
}

/// `[N, 64, 56, 56] → [N, 128, 28, 28]`, and what that takes.
fn figures(shown: &Shown, passage: &Passage, kind: &StepKind) -> String {
    // What flows in front of `from` does not flow on.
    let input = passage.input.filter(|_| !matches!(kind, StepKind::From(_)));
    let input = input.map_or(String::new(), |input| format!("{} → ", shown.graph[input].ty));
    let mut text = format!("`{input}{}`", shown.graph[passage.output].ty);
    let nodes = shown.figures.nodes.get(passage.nodes.clone()).unwrap_or_default();
    let parameters: u64 = nodes.iter().map(|node| node.parameters.total()).sum();
    let sum = nodes.iter().fold(0u64, |sum, node| sum.saturating_add(node.macs));
    let mut facts = Vec::new();
    if parameters > 0 {
        facts.push(format!("{} parameters", grouped(parameters.into())));
    }
    if sum > 0 {
        facts.push(macs(sum));
    }
    facts.extend(field(shown.fields.of(passage.output)));
    if !facts.is_empty() {
        text += &format!("\\\n{}", facts.join(" · "));
    }
    if passage.times > 1 {
        let shapes = if passage.varies { "with other sizes later" } else { "each time with these sizes" };
        text += &format!("\\\nbuilt {} times, {shapes}", passage.times);
    }
    if let StepKind::Repeat { .. } = kind {
        text += "\\\nall copies together";
    }
    text
}

/// `sees 43x43, stride 8`
fn field(field: &Field) -> Option<String> {
    match field {
        Field::Local(axes) if axes.is_empty() => None,
        Field::Local(axes) => {
            let size: Vec<usize> = axes.iter().map(|axis| axis.size() as usize).collect();
            let strides: Vec<String> = axes.iter().map(stride).collect();
            let same = strides.iter().all(|stride| *stride == strides[0]);
            let stride = if same { strides[0].clone() } else { strides.join("x") };
            Some(format!("sees {}, stride {stride}", sizes(&size)))
        }
        Field::Whole => Some("sees the whole input".into()),
        Field::Differs => None,
    }
}

fn stride(axis: &Axis) -> String {
    match axis.stride() {
        (step, 1) => step.to_string(),
        (step, phases) => format!("{step}/{phases}"),
    }
}

fn said_of(view: &View, meaning: Meaning) -> Option<String> {
    match meaning {
        Meaning::Declares(id) | Meaning::Names(id) => Some(said_of_declared(view, view.texts.names.declaration(id))),
        Meaning::Layer(spec) => Some(format!("**{}**: {}", spec.keyword, spec.doc)),
        Meaning::LayerParam(spec, param) => {
            let default = match param.default {
                None => "must be given".to_string(),
                Some("") => "may be left out".to_string(),
                Some(default) => format!("`{default}` if not given"),
            };
            Some(format!("**{}** of {}: {}; {default}", param.name, spec.keyword, param.doc))
        }
        Meaning::Function(at) => FUNCTIONS.get(at).map(|function| format!("`{}`: {}", function.usage, function.doc)),
        Meaning::Word | Meaning::Unknown => None,
    }
}

/// How something was declared, without its body.
fn said_of_declared(view: &View, declared: &Declaration) -> String {
    let kind = match declared.kind {
        Kind::Model | Kind::Block | Kind::Input | Kind::Variant | Kind::Constant => "",
        Kind::Output => "output ",
        Kind::Parameter => "parameter ",
        Kind::Variable => "variable ",
        Kind::Value => "value of ",
        Kind::Label => return format!("label `{}`", declared.name),
    };
    let whole = view.slice(declared.whole);
    let cut = if declared.kind == Kind::Block { whole.find('{').unwrap_or(whole.len()) } else { whole.len() };
    let line = whole[..cut].lines().next().unwrap_or_default().trim_end();
    format!("```svertka\n{kind}{line}\n```")
}

fn said_of_form(word: &str) -> Option<String> {
    let form = FORMS.iter().find(|form| form.name == word)?;
    Some(format!("`{}`: {}", form.usage, form.doc))
}
