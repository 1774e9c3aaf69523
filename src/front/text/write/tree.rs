//! A network as nested steps: what is between a graph and its text.

use super::call::Call;
use crate::ir::NodeId;

/// Steps through which one value flows.
pub type Body = Vec<Step>;

/// What is done to the flowing value.
#[derive(Clone, Debug)]
pub struct Step {
    pub label: Option<String>,
    pub kind: Kind,
    /// Its name, where others take it by one.
    pub alias: Option<String>,
    /// The value that flows in, and the one that flows out.
    pub reads: NodeId,
    pub gives: NodeId,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Layer(Call),
    Join(Join, Vec<Body>),
    Group(Group),
    Block(usize, Vec<String>),
    /// `n x Block(64, 2 then 1)`
    Repeat {
        count: String,
        block: usize,
        args: Vec<Then>,
    },
    /// `for i in 1..n { layer{i}: Block(64) }`
    Loop {
        prefix: String,
        from: usize,
        to: String,
        block: usize,
        args: Vec<String>,
    },
    /// `from v1`
    From(String),
    Output(String),
}

/// An argument of a repeated block: of the first copy, and of the others where theirs is another.
#[derive(Clone, Debug, PartialEq)]
pub struct Then {
    pub first: String,
    pub rest: Option<String>,
}

/// How branches become one value again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    Add,
    Mul,
    Concat,
    /// One body, or also that of the projection; `optional` if the sum is made only where the shape stays.
    Residual {
        optional: bool,
    },
    Grow,
    Gate,
}

/// Steps below one label.
#[derive(Clone, Debug)]
pub struct Group {
    /// Whether the steps have their numbers for labels.
    pub numbered: bool,
    /// How deep groups are nested in it.
    pub height: usize,
    pub body: Body,
}

/// Steps with parameters, that are called by a name.
#[derive(Clone, Debug)]
pub struct Block {
    pub name: String,
    pub params: Vec<Param>,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub default: Option<String>,
}

impl Step {
    pub fn new(kind: Kind, reads: NodeId, gives: NodeId) -> Step {
        Step { label: None, kind, alias: None, reads, gives }
    }

    /// The bodies inside.
    pub fn bodies(&self) -> &[Body] {
        match &self.kind {
            Kind::Join(_, branches) => branches,
            Kind::Group(group) => std::slice::from_ref(&group.body),
            _ => &[],
        }
    }

    pub fn bodies_mut(&mut self) -> &mut [Body] {
        match &mut self.kind {
            Kind::Join(_, branches) => branches,
            Kind::Group(group) => std::slice::from_mut(&mut group.body),
            _ => &mut [],
        }
    }
}

/// The nodes of the graph in the order in which the text makes them. Of steps that are not rolled up.
pub fn order(body: &Body) -> Vec<NodeId> {
    fn visit(body: &Body, out: &mut Vec<NodeId>) {
        for step in body {
            step.bodies().iter().for_each(|body| visit(body, out));
            if matches!(step.kind, Kind::Layer(_) | Kind::Join(..)) {
                out.push(step.gives);
            }
        }
    }
    let mut out = Vec::new();
    visit(body, &mut out);
    out
}

impl Param {
    /// The name without the number that tells it from others.
    pub fn stem(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit())
    }
}
