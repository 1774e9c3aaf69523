//! Calls behind each other become repetitions.

use super::tree::{Block, Body, Group, Kind, Step, Then};
use std::ops::Range;

/// Rolls up the steps of a group. One of nothing but copies becomes `n x Block(..)` itself.
pub fn group(step: &mut Step, blocks: &[Block]) {
    let Kind::Group(Group { numbered, body: steps, .. }) = &mut step.kind else { return };
    let run = run(steps, 0, blocks);
    if run.len() > 1 && run.len() == steps.len() && number(&steps[0]) == Some(0) {
        step.kind = repeat(steps);
    } else {
        let numbered = *numbered;
        body(steps, numbered, blocks);
    }
}

/// Rolls up what stands side by side.
pub fn body(steps: &mut Body, numbered: bool, blocks: &[Block]) {
    let mut at = 0;
    while at < steps.len() {
        if let Kind::Join(_, branches) = &mut steps[at].kind {
            branches.iter_mut().for_each(|branch| body(branch, false, blocks));
        }
        let copies = if numbered { run(steps, at, blocks) } else { at..at };
        let counted = counted(steps, at);
        if copies.len() > 1 {
            replace(steps, copies, repeat);
        } else if counted.len() > 2 {
            replace(steps, counted, over_numbers);
        }
        at += 1;
    }
}

fn replace(steps: &mut Body, range: Range<usize>, rolled: fn(&[Step]) -> Kind) {
    let part = &steps[range.clone()];
    let step = Step::new(rolled(part), part[0].reads, part[part.len() - 1].gives);
    steps.splice(range, [step]);
}

fn number(step: &Step) -> Option<usize> {
    let label = step.label.as_deref()?;
    label.parse().ok().filter(|number: &usize| number.to_string() == label)
}

fn call(step: &Step) -> Option<(usize, &Vec<String>)> {
    match &step.kind {
        Kind::Block(block, args) if step.alias.is_none() => Some((*block, args)),
        _ => None,
    }
}

/// Calls from one place on of the same block with rising numbers for labels, and the same arguments but for the first
/// call.
fn run(steps: &[Step], start: usize, blocks: &[Block]) -> Range<usize> {
    let one = start..start + 1;
    let Some((block, first)) = steps.get(start).and_then(call) else { return one };
    let Some(from) = number(&steps[start]) else { return one };
    // What the first copy may have for itself.
    let may_differ = |at: usize| ["s", "d", "p"].contains(&blocks[block].params[at].stem());
    let mut rest: Option<&Vec<String>> = None;
    let mut end = start + 1;
    while let Some((next, args)) = steps.get(end).and_then(call) {
        let fits = match rest {
            Some(rest) => rest == args,
            None => next == block && (0..args.len()).all(|at| args[at] == first[at] || may_differ(at)),
        };
        if next != block || !fits || number(&steps[end]) != Some(from + end - start) {
            break;
        }
        rest = Some(args);
        end += 1;
    }
    start..end
}

/// Copies as `n x Block(64, 2 then 1)`.
fn repeat(copies: &[Step]) -> Kind {
    let args = |step: &Step| call(step).map_or((0, Vec::new()), |(block, args)| (block, args.clone()));
    let ((block, first), (_, rest)) = (args(&copies[0]), args(&copies[1]));
    let then = |(first, rest): (String, String)| match first == rest {
        true => Then { first, rest: None },
        false => Then { first, rest: Some(rest) },
    };
    Kind::Repeat { count: copies.len().to_string(), block, args: first.into_iter().zip(rest).map(then).collect() }
}

/// A label that ends in a number.
fn prefix(step: &Step) -> Option<(&str, usize)> {
    let label = step.label.as_deref()?;
    let prefix = label.trim_end_matches(|c: char| c.is_ascii_digit());
    let number: usize = label[prefix.len()..].parse().ok()?;
    (!prefix.is_empty() && label == format!("{prefix}{number}")).then_some((prefix, number))
}

/// Equal calls from one place on whose labels differ in a rising number.
fn counted(steps: &[Step], start: usize) -> Range<usize> {
    let of = |at: usize| {
        let step = steps.get(at)?;
        Some((call(step)?, prefix(step)?))
    };
    let Some((first, (word, from))) = of(start) else { return start..start + 1 };
    let fits = |&at: &usize| of(at).is_some_and(|(call, label)| call == first && label == (word, from + at - start));
    start..start + (start..).take_while(fits).count()
}

/// Calls as `for i in 1..n { layer{i}: Block }`.
fn over_numbers(calls: &[Step]) -> Kind {
    let (prefix, from) = prefix(&calls[0]).map_or((String::new(), 0), |(prefix, from)| (prefix.to_string(), from));
    let (block, args) = call(&calls[0]).map_or((0, Vec::new()), |(block, args)| (block, args.clone()));
    Kind::Loop { prefix, from, to: (from + calls.len() - 1).to_string(), block, args }
}
