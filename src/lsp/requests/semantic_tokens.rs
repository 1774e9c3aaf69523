//! What each word is, for its colour.

use super::Answer;
use crate::front::text::names::{Kind, Meaning};
use crate::front::text::syntax::is_keyword;
use crate::lsp::context::{Token, tokens};
use crate::lsp::view::View;
use gen_lsp_types::*;
use std::ops::Range;

/// Types, in the order of the legend.
const TYPES: [SemanticTokenTypes; 12] = [
    SemanticTokenTypes::Keyword,
    SemanticTokenTypes::Comment,
    SemanticTokenTypes::String,
    SemanticTokenTypes::Number,
    SemanticTokenTypes::Class,
    SemanticTokenTypes::Function,
    SemanticTokenTypes::Parameter,
    SemanticTokenTypes::Variable,
    SemanticTokenTypes::Property,
    SemanticTokenTypes::EnumMember,
    SemanticTokenTypes::Namespace,
    SemanticTokenTypes::Label,
];

/// The only modifiers: of what is declared here, and of what the language brings along.
const DECLARATION: u32 = 1;
const LIBRARY: u32 = 2;

pub fn legend() -> SemanticTokensLegend {
    SemanticTokensLegend {
        token_types: TYPES.iter().map(SemanticTokenTypes::to_string).collect(),
        token_modifiers: vec!["declaration".into(), "defaultLibrary".into()],
    }
}

pub fn answer(view: &View, _: SemanticTokensParams) -> Answer<Option<SemanticTokens>> {
    let text = view.text();
    let names = view.texts.names.occurrences().iter().filter(|o| o.span.file == view.file);
    let mut found: Vec<(Range<usize>, SemanticTokenTypes, u32)> = names
        .filter_map(|occurrence| {
            let (kind, modifiers) = of(view, occurrence.meaning)?;
            Some((occurrence.span.range(), kind, modifiers))
        })
        .collect();
    let named = found.len();
    for (token, range) in tokens(text) {
        let kind = match token {
            Token::Comment => SemanticTokenTypes::Comment,
            Token::Text => SemanticTokenTypes::String,
            Token::Number => SemanticTokenTypes::Number,
            Token::Word if is_keyword(&text[range.clone()]) => SemanticTokenTypes::Keyword,
            _ => continue,
        };
        // Labels may have the names of keywords, and digits.
        let at = found[..named].partition_point(|(known, ..)| known.end <= range.start);
        if found[..named].get(at).is_none_or(|(known, ..)| range.end <= known.start) {
            found.push((range, kind, 0));
        }
    }
    found.sort_by_key(|(range, ..)| range.start);
    Ok(Some(SemanticTokens { result_id: None, data: relative(view, &found) }))
}

fn of(view: &View, meaning: Meaning) -> Option<(SemanticTokenTypes, u32)> {
    let kind = |id| match view.texts.names.declaration(id).kind {
        Kind::Model | Kind::Variant => SemanticTokenTypes::Namespace,
        Kind::Block => SemanticTokenTypes::Class,
        Kind::Parameter => SemanticTokenTypes::Parameter,
        Kind::Constant | Kind::Variable | Kind::Value | Kind::Input | Kind::Output => SemanticTokenTypes::Variable,
        Kind::Label => SemanticTokenTypes::Label,
    };
    Some(match meaning {
        Meaning::Declares(id) => (kind(id), DECLARATION),
        Meaning::Names(id) => (kind(id), 0),
        Meaning::Layer(_) | Meaning::Function(_) => (SemanticTokenTypes::Function, LIBRARY),
        Meaning::LayerParam(..) => (SemanticTokenTypes::Property, LIBRARY),
        Meaning::Word => (SemanticTokenTypes::EnumMember, LIBRARY),
        Meaning::Unknown => return None,
    })
}

/// Each token from the one before, none longer than its line.
fn relative(view: &View, found: &[(Range<usize>, SemanticTokenTypes, u32)]) -> Vec<SemanticToken> {
    let (mut line, mut column) = (0, 0);
    let token = |(range, kind, modifiers): &(Range<usize>, SemanticTokenTypes, u32)| {
        let position = view.position(range.start);
        let same = position.line == line;
        let token = SemanticToken {
            delta_line: position.line - line,
            delta_start: if same { position.character - column } else { position.character },
            length: view.encoding.length(&view.text()[range.clone()]),
            token_type: TYPES.iter().position(|known| known == kind).unwrap_or_default() as u32,
            token_modifiers_bitset: *modifiers,
        };
        (line, column) = (position.line, position.character);
        token
    };
    found.iter().map(token).collect()
}
