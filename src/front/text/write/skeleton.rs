//! What steps have in common, and where they differ: structure without its arguments.

use super::tree::{Block, Body, Join, Kind, Step};
use std::fmt::Write;

/// An argument, and the name that a parameter for it would have.
pub struct Slot<'a> {
    pub name: &'a str,
    pub value: &'a mut String,
}

/// What a body does, without arguments and without the projections of residuals, which are there where the shape changes.
/// Bodies of the same skeleton have the same slots.
pub fn skeleton(body: &Body) -> String {
    let mut text = String::new();
    body.iter().for_each(|step| of_step(step, &mut text));
    text
}

fn of_step(step: &Step, text: &mut String) {
    let label = step.label.as_deref().unwrap_or("");
    let _ = write!(text, "{label}:");
    if step.alias.is_some() {
        let _ = write!(text, "as {}", step.gives.0);
    }
    match &step.kind {
        Kind::Layer(call) if call.is_plain_activation() => text.push('~'),
        Kind::Layer(call) => {
            text.push_str(&call.word);
            call.args.iter().for_each(|arg| text.push(if arg.is_some() { '+' } else { '-' }));
        }
        Kind::Join(join, bodies) => {
            let _ = write!(text, "{join:?}{{");
            let shown = if matches!(join, Join::Residual { .. }) { 1 } else { bodies.len() };
            bodies[..shown].iter().for_each(|body| text.push_str(&(skeleton(body) + ";")));
            text.push('}');
        }
        Kind::Group(group) => {
            let _ = write!(text, "{}{{{}}}", group.numbered, skeleton(&group.body));
        }
        Kind::Block(block, _) => {
            let _ = write!(text, "#{block}");
        }
        Kind::Repeat { block, args, .. } => {
            let _ = write!(text, "x#{block}");
            for arg in args {
                match &arg.rest {
                    Some(rest) => _ = write!(text, "({} {rest})", arg.first),
                    None => text.push('+'),
                }
            }
        }
        Kind::Loop { prefix, from, block, .. } => {
            let _ = write!(text, "for {prefix}{from}#{block}");
        }
        // What another value is taken by stands for itself.
        Kind::From(_) | Kind::Output(_) => _ = write!(text, "<{}>{:?}", step.gives.0, step.kind),
    }
    text.push('|');
}

/// The arguments of a body.
pub fn slots<'a>(body: &'a mut Body, blocks: &'a [Block], out: &mut Vec<Slot<'a>>) {
    for step in body {
        match &mut step.kind {
            Kind::Layer(call) => {
                if call.is_plain_activation() {
                    out.push(Slot { name: "act", value: &mut call.word });
                }
                let pairs = call.spec.params.iter().zip(&mut call.args);
                out.extend(
                    pairs.filter_map(|(param, arg)| Some(Slot { name: short(param.name), value: arg.as_mut()? })),
                );
            }
            Kind::Join(_, bodies) => bodies.iter_mut().for_each(|body| slots(body, blocks, out)),
            Kind::Group(group) => slots(&mut group.body, blocks, out),
            Kind::Block(block, args) => {
                let pairs = blocks[*block].params.iter().zip(args);
                out.extend(pairs.map(|(param, value)| Slot { name: param.stem(), value }));
            }
            Kind::Repeat { count, block, args } => {
                out.push(Slot { name: "n", value: count });
                let pairs = blocks[*block].params.iter().zip(args).filter(|(_, arg)| arg.rest.is_none());
                out.extend(pairs.map(|(param, arg)| Slot { name: param.stem(), value: &mut arg.first }));
            }
            Kind::Loop { to, block, args, .. } => {
                out.push(Slot { name: "n", value: to });
                let pairs = blocks[*block].params.iter().zip(args);
                out.extend(pairs.map(|(param, value)| Slot { name: param.stem(), value }));
            }
            Kind::From(_) | Kind::Output(_) => {}
        }
    }
}

/// What the parameters of blocks are called that become those of layers.
fn short(param: &'static str) -> &'static str {
    match param {
        "channels" | "features" => "c",
        "kernel" => "k",
        "stride" => "s",
        "groups" => "g",
        "pad" => "p",
        "dilation" => "d",
        other => other,
    }
}

/// The projections of residuals in a body.
pub fn projections(body: &Body, out: &mut Vec<Option<String>>) {
    for step in body {
        if let Kind::Join(Join::Residual { .. }, bodies) = &step.kind {
            out.push(bodies.get(1).map(skeleton));
        }
        step.bodies().iter().for_each(|body| projections(body, out));
    }
}

/// Gives the residuals of a body the projections that those of another one of its skeleton have.
pub fn adopt_projections(body: &mut Body, from: &Body, change: &dyn Fn(&mut Body)) {
    for (step, from) in body.iter_mut().zip(from) {
        if let (Kind::Join(Join::Residual { .. }, bodies), Kind::Join(_, others)) = (&mut step.kind, &from.kind)
            && let ([_], [_, other]) = (&bodies[..], &others[..])
        {
            let mut other = other.clone();
            change(&mut other);
            bodies.push(other);
        }
        step.bodies_mut().iter_mut().zip(from.bodies()).for_each(|(body, from)| adopt_projections(body, from, change));
    }
}
