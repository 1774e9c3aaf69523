//! Networks for the tests of the steps, and steps in few words.

use super::tree::{Body, Join, Kind};
use crate::front::text::build::{self, NoFiles};
use crate::ir::Graph;
use crate::source::SourceMap;

/// The graph of a network on images of 4 channels.
pub fn graph(net: &str) -> Graph {
    let mut sources = SourceMap::default();
    let root = sources.add("m.cnn", format!("model m\ninput x: f32[N, 4, 8, 8]\nnet {{\n{net}\n}}\n"));
    let options = build::Options::default();
    let program = build::load(&mut sources, root, &options, &mut NoFiles).unwrap();
    build::build(&mut sources, &program, &options).unwrap().into_inner()
}

/// `a:residual(b:conv relu) relu`
pub fn outline(body: &Body) -> String {
    let step = |step: &super::tree::Step| {
        let bodies: Vec<String> = step.bodies().iter().map(|body| format!("({})", outline(body))).collect();
        let kind = match &step.kind {
            Kind::Layer(call) => call.word.clone(),
            Kind::Join(join, _) => match join {
                Join::Add => "add".into(),
                Join::Mul => "mul".into(),
                Join::Concat => "concat".into(),
                Join::Residual { optional } => if *optional { "residual?" } else { "residual" }.into(),
                Join::Grow => "grow".into(),
                Join::Gate => "gate".into(),
            },
            Kind::Group(group) => if group.numbered { "seq" } else { "" }.into(),
            Kind::Block(block, args) => format!("#{block}[{}]", args.join(",")),
            Kind::Repeat { count, block, args } => {
                let args: Vec<String> = args.iter().map(|arg| format!("{}>{:?}", arg.first, arg.rest)).collect();
                format!("{count}x#{block}[{}]", args.join(","))
            }
            Kind::Loop { prefix, from, to, block, .. } => format!("{prefix}{from}..{to}#{block}"),
            Kind::From(name) => format!("<{name}"),
            Kind::Output(name) => format!(">{name}"),
        };
        let label = step.label.as_ref().map_or(String::new(), |label| format!("{label}:"));
        let alias = step.alias.as_ref().map_or(String::new(), |alias| format!("@{alias}"));
        format!("{label}{kind}{}{alias}", bodies.concat())
    };
    body.iter().map(step).collect::<Vec<_>>().join(" ")
}
