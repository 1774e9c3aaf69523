//! A block that is called in one place of the text is better read there.

use super::skeleton::slots;
use super::tree::{Block, Body, Group, Kind, Step};
use std::collections::HashMap;

/// Puts blocks that one step calls in its place, and forgets them.
pub fn inline(net: &mut Body, blocks: &mut Vec<Block>) {
    // Inner blocks come first, so that what holds a call is whole.
    let mut at = 0;
    while at < blocks.len() {
        if calls(net, blocks, at) == 1 && put_in_place(net, blocks, at) {
            blocks.remove(at);
            let shift = |called: &mut usize| *called -= usize::from(*called > at);
            blocks.iter_mut().map(|block| &mut block.body).chain([&mut *net]).for_each(|body| each_call(body, &shift));
        } else {
            at += 1;
        }
    }
}

fn called(step: &mut Step) -> Option<&mut usize> {
    match &mut step.kind {
        Kind::Block(block, _) | Kind::Repeat { block, .. } | Kind::Loop { block, .. } => Some(block),
        _ => None,
    }
}

fn each_call(body: &mut Body, change: &dyn Fn(&mut usize)) {
    for step in body {
        called(step).into_iter().for_each(change);
        step.bodies_mut().iter_mut().for_each(|body| each_call(body, change));
    }
}

/// How many steps call a block.
fn calls(net: &mut Body, blocks: &mut [Block], of: usize) -> usize {
    let count = std::cell::Cell::new(0);
    let note = |block: &mut usize| count.set(count.get() + usize::from(*block == of));
    blocks.iter_mut().map(|block| &mut block.body).chain([net]).for_each(|body| each_call(body, &note));
    count.get()
}

/// Whether the block could be put in the place of its call.
fn put_in_place(net: &mut Body, blocks: &mut [Block], of: usize) -> bool {
    let (inner, outer) = blocks.split_at_mut(of + 1);
    let (inner, block) = (&inner[..of], &inner[of]);
    outer.iter_mut().any(|host| replace(&mut host.body, true, of, block, inner))
        || replace(net, false, of, block, inner)
}

/// `same_input` if the body's first step reads what `in` means in it.
fn replace(body: &mut Body, same_input: bool, of: usize, block: &Block, blocks: &[Block]) -> bool {
    for (at, step) in body.iter_mut().enumerate() {
        let same_input = same_input && at == 0;
        let is_call = matches!(&step.kind, Kind::Block(called, _) if *called == of);
        let is_labelled = step.label.is_some() && step.alias.is_none();
        if let (true, true, Kind::Block(_, args)) = (is_call, is_labelled, &step.kind) {
            let Some(group) = with_arguments(block, args, same_input, blocks) else { return false };
            step.kind = Kind::Group(group);
            return true;
        }
        if step.bodies_mut().iter_mut().any(|body| replace(body, same_input, of, block, blocks)) {
            return true;
        }
    }
    false
}

/// The steps of a block with arguments in the place of its parameters; `None` where `in` would mean something else.
fn with_arguments(block: &Block, args: &[String], same_input: bool, blocks: &[Block]) -> Option<Group> {
    let known: HashMap<&str, &str> =
        block.params.iter().zip(args).map(|(param, arg)| (&*param.name, arg.as_str())).collect();
    let mut body = block.body.clone();
    let mut places = Vec::new();
    slots(&mut body, blocks, &mut places);
    for slot in places {
        if slot.value.contains("in.") && !same_input {
            return None;
        }
        *slot.value = substituted(slot.value, &known);
    }
    match (body.pop()?, body.len()) {
        (Step { label: None, alias: None, kind: Kind::Group(group), .. }, 0) => Some(group),
        (last, _) => {
            body.push(last);
            Some(Group { numbered: false, height: 0, body })
        }
    }
}

/// An expression with other expressions in the place of names.
fn substituted(text: &str, known: &HashMap<&str, &str>) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut out = String::new();
    for part in text.split_inclusive(|c| !is_word(c)) {
        let word = part.trim_end_matches(|c| !is_word(c));
        match known.get(word) {
            Some(arg) if arg.contains(' ') && word.len() < text.len() => out += &format!("({arg})"),
            Some(arg) => out += arg,
            None => out += word,
        }
        out += &part[word.len()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_as_words() {
        let known = HashMap::from([("c", "4 * in.c"), ("k", "3x3")]);
        for (text, expected) in
            [("c", "4 * in.c"), ("2 * c", "2 * (4 * in.c)"), ("k", "3x3"), ("in.c", "in.c"), ("1x1", "1x1")]
        {
            assert_eq!(substituted(text, &known), expected);
        }
        assert_eq!(substituted("round8(c // 4)", &known), "round8((4 * in.c) // 4)");
    }
}
