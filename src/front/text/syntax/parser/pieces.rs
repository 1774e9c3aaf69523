//! Which parts of a text the grammar reads by themselves, and what is read again behind a mistake.

use super::super::ast::*;
use super::super::expected;
use super::super::scan::{self, ITEM_KEYWORDS, Piece, Scan};
use super::{Builder, pairs};
use crate::diagnostic::{Diagnostic, nearest};
use crate::front::text::stop::Stop;
use crate::source::Span;
use std::iter::Peekable;

/// Lines of a body are read together up to this length, which takes less time than one by one.
const TOGETHER: usize = 2048;

pub(super) fn parse_items(scan: &Scan, builder: &mut Builder, stop: &Stop) -> Vec<Item> {
    let mut items = Vec::new();
    let mut recovering = false;
    for item in &scan.items {
        if builder.is_done() {
            break;
        }
        if recovering && !begins_item(scan, item.range.start) {
            continue;
        }
        let known = builder.errors.len();
        items.extend(parse_item(scan, item, builder, stop));
        recovering = item.broken || builder.errors.len() > known;
        if item.broken {
            // What its brackets make of the rest is not its author's mistake.
            builder.errors.truncate(known);
        }
    }
    items
}

/// Whether an item's keyword, perhaps misspelt, stands there at the start of a line.
fn begins_item(scan: &Scan, start: usize) -> bool {
    let at_line_start = start == 0 || scan.text.as_bytes()[start - 1] == b'\n';
    let word = scan.text[start..].split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
    at_line_start && nearest(word, ITEM_KEYWORDS).is_some()
}

/// Parses one item, piece by piece.
fn parse_item(scan: &Scan, item: &scan::Item, builder: &mut Builder, stop: &Stop) -> Option<Item> {
    let mut pieces = item.pieces(&scan.text).into_iter();
    let mut whole = parse_piece(scan, item, pieces.next()?, builder)?;
    let end = item.range.end as u32;
    if let ItemKind::Block(Block { body, .. }) | ItemKind::Net(body) = &mut whole.kind {
        (whole.span.end, body.span.end) = (end, end);
        let mut pieces = pieces.peekable();
        while let Some(piece) = pieces.next() {
            if stop.is_due() {
                let place = Span::new(builder.file, piece.range.start..piece.range.start);
                let error = Diagnostic::error("E0510", "this text was not read to its end");
                builder.errors.push(error.at(place, "given up here"));
                builder.given_up = true;
            }
            if builder.is_done() {
                break;
            }
            match builder.kept.take(&piece, builder.file) {
                Some(known) => body.lines.extend(lines(known)),
                None => {
                    let group = group(piece, &mut pieces, builder);
                    parse_group(scan, item, group, builder, &mut body.lines);
                }
            }
        }
    }
    Some(whole)
}

/// A piece with those behind it that are not known either, as long as nothing was wrong.
fn group(first: Piece, rest: &mut Peekable<impl Iterator<Item = Piece>>, builder: &Builder) -> Vec<Piece> {
    let mut length = first.range.len();
    let mut group = vec![first];
    let mut fits = |piece: &Piece| {
        length += piece.range.len();
        length <= TOGETHER && builder.errors.is_empty() && !builder.kept.has(piece)
    };
    while let Some(piece) = rest.next_if(&mut fits) {
        group.push(piece);
    }
    group
}

/// Parses pieces of a body at once, or else one by one, to find what is wrong.
fn parse_group(scan: &Scan, item: &scan::Item, group: Vec<Piece>, builder: &mut Builder, made: &mut Vec<Line>) {
    if let Some(together) = parse_together(scan, &group, builder) {
        made.extend(together);
        return;
    }
    for piece in group {
        if builder.is_done() {
            break;
        }
        made.extend(parse_piece(scan, item, piece, builder).into_iter().flat_map(lines));
    }
}

/// Those of the `net` that stands for a piece.
fn lines(made: Item) -> Vec<Line> {
    match made.kind {
        ItemKind::Net(part) => part.lines,
        _ => Vec::new(),
    }
}

/// Parses lines of a body at once; `None` where something is wrong in one of them, which is then to be found.
fn parse_together(scan: &Scan, group: &[Piece], builder: &mut Builder) -> Option<Vec<Line>> {
    if group.len() < 2 {
        return None;
    }
    let whole = Piece::join(group, &scan.text)?;
    builder.read += whole.text.len();
    let pair = pairs(&whole.text).ok()?;
    let known = builder.errors.len();
    builder.piece = Piece { text: String::new(), ..whole };
    let made = lines(builder.item(pair));
    if builder.errors.len() > known {
        builder.errors.truncate(known);
        return None;
    }
    if !builder.kept.is_closed() {
        let mut rest = made.as_slice();
        for piece in group {
            let own = rest.partition_point(|line| line.span.range().start < piece.range.end);
            let (own, behind) = rest.split_at(own);
            rest = behind;
            let span = Span::new(builder.file, piece.range.clone());
            let net = ItemKind::Net(Body { lines: own.to_vec(), span });
            builder.kept.keep(piece, &Item { kind: net, span });
        }
    }
    Some(made)
}

/// Parses one piece of an item. After an error the line that holds it is taken out and the rest is tried again, so that
/// every line in error is reported, and the others give a tree.
fn parse_piece(scan: &Scan, item: &scan::Item, piece: Piece, builder: &mut Builder) -> Option<Item> {
    if let Some(made) = builder.kept.take(&piece, builder.file) {
        return Some(made);
    }
    let known = builder.errors.len();
    let mut text = piece.text.clone();
    builder.piece = piece;
    loop {
        builder.read += text.len();
        let error = match pairs(&text) {
            Ok(pair) => {
                let made = builder.item(pair);
                if builder.errors.len() == known {
                    builder.kept.keep(&builder.piece, &made);
                }
                return Some(made);
            }
            Err(error) => error,
        };
        let at = expected::position(&error, &text);
        let (text_of, behind) = scan.text[item.range.start..].split_at(item.range.len());
        let whole = expected::Item { text: text_of, behind, file: builder.file, offset: item.range.start };
        builder.errors.push(expected::diagnostic(&error, &whole, builder.piece.place(at) - item.range.start));
        builder.again = builder.again.saturating_sub(text.len());
        // Where a limit is met, every further try would take as long.
        builder.given_up |= builder.again == 0 || expected::is_limit(&error);
        if builder.is_done() || !blank_line(&mut text, at) {
            return None;
        }
    }
}

/// Blanks the line around `at`, if it is a whole line of a body.
fn blank_line(text: &mut String, at: usize) -> bool {
    let Some(start) = text[..at].rfind('\n') else { return false };
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    let line = &text[start + 1..end];
    let mut depth = 0i32;
    let closes_other = line.bytes().any(|byte| {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        depth < 0
    });
    if closes_other || depth != 0 || line.trim().is_empty() {
        return false;
    }
    let blanks = " ".repeat(line.len());
    text.replace_range(start + 1..end, &blanks);
    true
}
