//! The combinators: of branches concat f(x) ++ g(x) ++ .., add f(x) + g(x) + .., mul f(x) * g(x) * .., and their common
//! cases residual x + f(x), grow x ++ f(x), gate x * g(x).

use super::report::Reported;
use super::unused::Kind;
use super::value::Value;
use super::{Builder, Flow, NodeId, Site};
use crate::diagnostic::{Diagnostic, Fix};
use crate::front::text::syntax::ast::{Body, Expr, Join, Project, Step, StepKind};
use crate::layers::{Add, Concat, Each, Mul, Op};
use crate::source::{SourceMap, Span};
use crate::tensor::TensorType;

/// The chain of shapes of one path.
type Trail = Vec<(String, Vec<usize>)>;

/// One of several values that are joined.
struct Branch<'s> {
    name: &'s str,
    span: Span,
    value: Flow,
    trail: Trail,
}

impl<'a> Builder<'a> {
    pub fn combinator(&mut self, step: &'a Step, x: Flow) -> Flow {
        let keyword = match &step.kind {
            StepKind::Residual { .. } => "residual",
            StepKind::Branches(join, _) => join.keyword(),
            StepKind::Grow(_) => "grow",
            _ => "gate",
        };
        let span = keyword_span(self.sources, step, keyword);
        self.part(step.label.as_ref(), keyword, |builder, path| {
            let site = Site { path: path.clone(), span, args: None };
            builder.within(path, None, |builder| match &step.kind {
                StepKind::Residual { cond, body, project } => {
                    builder.residual(cond.as_ref(), body, project.as_ref(), site, x)
                }
                StepKind::Branches(join, body) => builder.branches(*join, body, site, x),
                StepKind::Grow(body) => {
                    let (y, trail) = builder.traced(body, x);
                    let input = Branch { name: "the input", span, value: x, trail: Trail::new() };
                    let grown = Branch { name: "the body", span: body.span, value: y, trail };
                    builder.join(Join::Concat, x, vec![input, grown], site)
                }
                StepKind::Gate(body) => {
                    let (gate, _) = builder.traced(body, x);
                    builder.add(Op::from(Mul), vec![x?, gate?], site)
                }
                _ => x,
            })
        })
    }

    /// A body by itself, with the chain of shapes along it.
    fn traced(&mut self, body: &'a Body, x: Flow) -> (Flow, Trail) {
        let mark = self.frame().trail.len();
        let y = self.body(body, x);
        (y, self.frame().trail.split_off(mark))
    }

    fn residual(
        &mut self,
        cond: Option<&'a Expr>,
        body: &'a Body,
        project: Option<&'a Project>,
        site: Site,
        x: Flow,
    ) -> Flow {
        let (y, main) = self.traced(body, x);
        let (x, y) = (x?, y?);
        if let Some(cond) = cond
            && !self.residual_condition(cond, x, y)?
        {
            if let Some(project) = project {
                self.uses.meet(Kind::Projection, project.body.span, "", false);
            }
            return Ok(y);
        }
        let same = self.graph[x].ty == self.graph[y].ty;
        let built = match project {
            Some(project) if self.is_built(project, x, y, same)? => Some(&project.body),
            _ if same => return self.add(Op::from(Add), vec![y, x], site),
            _ => None,
        };
        let Some(built) = built else {
            let cond = project.and_then(|project| project.cond.as_ref());
            let ends = cond.map_or(body.span, |cond| cond.span).range().end;
            return Err(self.unequal(x, y, &main, site.span, (cond, Span::new(body.span.file, ends..ends))));
        };
        let (shortcut, side) = self.traced(built, Ok(x));
        let shortcut = shortcut?;
        if self.graph[shortcut].ty != self.graph[y].ty {
            return Err(self.unequal_projection(x, y, shortcut, (&main, &side), site.span, built.span));
        }
        self.add(Op::from(Add), vec![y, shortcut], site)
    }

    /// Whether the shortcut is projected: by the condition of the projection, or where the shape changes.
    fn is_built(&mut self, project: &'a Project, x: NodeId, y: NodeId, same: bool) -> Result<bool, Reported> {
        let built = match &project.cond {
            Some(cond) => self.residual_condition(cond, x, y)?,
            None => !same,
        };
        self.uses.meet(Kind::Projection, project.body.span, "", built);
        Ok(built)
    }

    fn residual_condition(&mut self, cond: &'a Expr, x: NodeId, y: NodeId) -> Result<bool, Reported> {
        let same = Value::Bool(self.graph[x].ty == self.graph[y].ty);
        self.frame().vars.push(("same_shape", Ok(same)));
        let holds = self.condition(cond);
        self.frame().vars.pop();
        holds
    }

    /// `cond` is the condition of a projection, which does not hold; it ends, or else the main path does, at `end`.
    fn unequal(
        &mut self,
        x: NodeId,
        y: NodeId,
        main: &Trail,
        span: Span,
        (cond, end): (Option<&Expr>, Span),
    ) -> Reported {
        let (x, y) = (&self.graph[x].ty, &self.graph[y].ty);
        let error = Diagnostic::error("E0312", "the two paths of this residual differ in shape")
            .at(span, format!("main path gives {y}, shortcut gives {x}"))
            .note(format!("shapes: {}", chain(Some(x), main)));
        let error = match cond {
            Some(cond) => {
                let help = "without a condition, `project` is built where the shape changes; add `or not same_shape` to \
                            this one";
                let error = error.at(cond.span, "this does not hold, so nothing is projected");
                error.help(Fix::replace(help, end, " or not same_shape").maybe())
            }
            None => match projection(x, y) {
                Ok(project) => error.help(Fix::replace(format!("add   {project}"), end, format!(" {project}")).maybe()),
                Err(help) => error.help(help),
            },
        };
        self.error(error)
    }

    fn unequal_projection(
        &mut self,
        x: NodeId,
        y: NodeId,
        shortcut: NodeId,
        (main, side): (&Trail, &Trail),
        span: Span,
        project: Span,
    ) -> Reported {
        let [x, y, shortcut] = [x, y, shortcut].map(|id| &self.graph[id].ty);
        let error = Diagnostic::error("E0312", "the two paths of this residual differ in shape")
            .at(span, format!("main path gives {y}"))
            .at(project, format!("projection gives {shortcut}"))
            .note(format!("shapes of the main path: {}", chain(Some(x), main)))
            .note(format!("shapes of the projection: {}", chain(Some(x), side)))
            .help("choose channels and stride of the projection as the main path has them");
        self.error(error)
    }

    fn branches(&mut self, join: Join, body: &'a Body, site: Site, x: Flow) -> Flow {
        if body.lines.is_empty() {
            let error = Diagnostic::error("E0323", format!("`{}` without branches", join.keyword()));
            return Err(self.error(error.at(site.span, "each line of its body is a branch")));
        }
        let mark = self.frame().trail.len();
        let mut branches = Vec::new();
        for line in &body.lines {
            let value = self.branch(line, x);
            let trail = self.frame().trail.split_off(mark);
            branches.push(Branch { name: "this branch", span: line.span, value, trail });
        }
        self.join(join, x, branches, site)
    }

    /// Joins the values of branches; that of a single one is the result.
    fn join(&mut self, join: Join, x: Flow, branches: Vec<Branch>, site: Site) -> Flow {
        let mut values = branches.iter().map(|branch| branch.value).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<&TensorType> = values.iter().map(|&value| &self.graph[value].ty).collect();
        let main = main_branch(join, &types);
        if let Some(odd) = (0..types.len()).find(|&i| i != main && !fits(join, types[main], types[i])) {
            return Err(self.unequal_branches(join, x, &branches, [odd, main]));
        }
        let op = match join {
            Join::Concat if values.len() > 1 => return self.add(Op::from(Concat), values, site),
            Join::Concat | Join::Add => Op::from(Add),
            Join::Mul => Op::from(Mul),
        };
        let first = values.remove(main);
        values.into_iter().try_fold(first, |result, value| {
            self.add(op.clone(), vec![result, value], Site { path: site.path.clone(), ..site })
        })
    }

    /// Reports that the first of two branches, by their numbers, does not fit the second.
    fn unequal_branches(&mut self, join: Join, x: Flow, branches: &[Branch], pair: [usize; 2]) -> Reported {
        let end = branches[pair[0]].span.range().end;
        let end = Span::new(branches[pair[0]].span.file, end..end);
        let [odd, main] = pair.map(|i| branches[i].value.map(|value| &self.graph[value].ty));
        let (Ok(odd), Ok(main)) = (odd, main) else { return Reported };
        let mut error = match join {
            Join::Concat => Diagnostic::error("E0311", "the branches differ in size")
                .help(format!("all sizes but the channels must agree: {SAME_SIZES}")),
            Join::Add => {
                let error = Diagnostic::error("E0312", "the branches of this sum differ in shape");
                if odd.spatial() == main.spatial() {
                    let layer = to_channels(main);
                    let help = format!("all channels must agree: end this branch with `{layer}`");
                    error.help(Fix::replace(help, end, format!(" | {layer}")).maybe())
                } else {
                    error.help(format!("all sizes must agree: {SAME_SIZES}"))
                }
            }
            Join::Mul => Diagnostic::error("E0313", "a branch of this product does not fit the largest one")
                .help(Each::help(main)),
        };
        for (i, ty) in pair.into_iter().zip([odd, main]) {
            error = error.at(branches[i].span, format!("{} gives {ty}", branches[i].name));
        }
        let input = x.ok().map(|x| &self.graph[x].ty);
        let mut numbers = pair.to_vec();
        numbers.sort_unstable();
        for i in numbers.into_iter().filter(|&i| !branches[i].trail.is_empty()) {
            error =
                error.note(format!("shapes of {}: {}", ordinal(branches[i].name, i), chain(input, &branches[i].trail)));
        }
        self.error(error)
    }

    /// Reports an error of a layer with the chain of shapes that led to it.
    pub fn shape_error(&mut self, mut error: Diagnostic) -> Reported {
        let trail = &self.frame().trail;
        if trail.len() > 1 {
            error = error.note(format!("shapes: {}", chain(None, trail)));
        }
        self.error(error)
    }
}

/// How to keep the sizes of branches the same.
const SAME_SIZES: &str = "pad with `half` or `same`, and use the same strides";

/// The branch that the others have to fit: in a sum or product one of the largest. Where there is none in a sum, all were
/// meant to be alike.
fn main_branch(join: Join, types: &[&TensorType]) -> usize {
    let largest = (0..types.len()).rev().max_by_key(|&i| types[i].checked_elements()).unwrap_or(0);
    match join {
        Join::Mul => largest,
        Join::Add if types.iter().all(|other| fits(join, types[largest], other)) => largest,
        Join::Add | Join::Concat => 0,
    }
}

/// Whether a branch of type `other` can be joined with the main one.
fn fits(join: Join, main: &TensorType, other: &TensorType) -> bool {
    match join {
        Join::Concat => main.spatial() == other.spatial() && main.batch == other.batch,
        Join::Add | Join::Mul => Each::of(main, other).is_some(),
    }
}

/// A layer that gives a value the channels of `ty`, as it is written.
fn to_channels(ty: &TensorType) -> String {
    match ty.spatial().len() {
        0 => format!("dense {}", ty.channels()),
        rank => format!("conv {}, {}", vec!["1"; rank].join("x"), ty.channels()),
    }
}

fn ordinal(name: &str, index: usize) -> String {
    if name == "this branch" { format!("branch {}", index + 1) } else { name.into() }
}

/// `in [256, 56, 56] -> conv1 [128, 56, 56]`: the last links of the chain.
fn chain(input: Option<&TensorType>, trail: &Trail) -> String {
    const SHOWN: usize = 8;
    let first = input.map(|ty| format!("in {:?}", ty.dims));
    let links: Vec<String> =
        first.into_iter().chain(trail.iter().map(|(name, dims)| format!("{name} {dims:?}"))).collect();
    let hidden = links.len().saturating_sub(SHOWN);
    let dots = if hidden > 0 { ".. -> " } else { "" };
    format!("{dots}{}", links[hidden..].join(" -> "))
}

/// What brings the shortcut `x` to the shape of the main path `y`.
///
/// # Errors
/// Why nothing does.
fn projection(x: &TensorType, y: &TensorType) -> Result<String, &'static str> {
    if x.batch != y.batch {
        return Err("both must have the same batch");
    }
    if x.spatial().len() != y.spatial().len() {
        return Err("the main path must keep the number of dimensions");
    }
    // The stride s that takes each size n to ceil(n / s).
    let stride = |(&from, &to): (&usize, &usize)| {
        let stride = from.div_ceil(to);
        (from.div_ceil(stride) == to).then_some(stride)
    };
    let strides: Option<Vec<usize>> = x.spatial().iter().zip(y.spatial()).map(stride).collect();
    let Some(strides) = strides else {
        return Err("no stride brings the shortcut to this size; if the main path is not meant to change it, pad its \
                    layers, for example with `half`");
    };
    let stride = match strides.first() {
        Some(&s) if strides.iter().all(|&other| other == s) => {
            if s == 1 {
                String::new()
            } else {
                format!(", stride {s}")
            }
        }
        Some(_) => format!(", stride {}", strides.iter().map(usize::to_string).collect::<Vec<_>>().join("x")),
        None => return Ok(format!("project {{ downsample: {} }}", to_channels(y))),
    };
    Ok(format!("project {{ downsample: seq {{ {}{stride} | bn }} }}", to_channels(y)))
}

/// The keyword of a step, behind its label.
pub fn keyword_span(sources: &SourceMap, step: &Step, keyword: &str) -> Span {
    let start = step.label.as_ref().map_or(step.span.start, |label| label.span.end) as usize;
    let rest = Span::new(step.span.file, start..step.span.range().end);
    match sources.slice(rest).find(keyword) {
        Some(offset) => Span::new(step.span.file, start + offset..start + offset + keyword.len()),
        None => step.span,
    }
}
