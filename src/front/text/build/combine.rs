//! The combinators: residual x + f(x), concat f(x) ++ g(x) ++ .., grow x ++ f(x), gate x * g(x).

use super::report::Reported;
use super::unused::Kind;
use super::value::Value;
use super::{Builder, Flow, NodeId, Site};
use crate::diagnostic::Diagnostic;
use crate::front::text::syntax::ast::{Body, Expr, Project, Step, StepKind};
use crate::layers::{Add, Concat, Mul, Op};
use crate::source::{SourceMap, Span};
use crate::tensor::TensorType;

/// The chain of shapes of one path.
type Trail = Vec<(String, Vec<usize>)>;

impl<'a> Builder<'a> {
    pub fn combinator(&mut self, step: &'a Step, x: Flow) -> Flow {
        let keyword = match &step.kind {
            StepKind::Residual { .. } => "residual",
            StepKind::Concat(_) => "concat",
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
                StepKind::Concat(body) => builder.concat(body, site, x),
                StepKind::Grow(body) => {
                    let (y, trail) = builder.traced(body, x);
                    let branches = vec![("the input", span, x, Trail::new()), ("the body", body.span, y, trail)];
                    builder.join(x, branches, site)
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
            return Err(self.unequal(x, y, &main, site.span, cond));
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

    /// `cond` is the condition of a projection, which does not hold.
    fn unequal(&mut self, x: NodeId, y: NodeId, main: &Trail, span: Span, cond: Option<&Expr>) -> Reported {
        let (x, y) = (&self.graph[x].ty, &self.graph[y].ty);
        let error = Diagnostic::error("E0312", "the two paths of this residual differ in shape")
            .at(span, format!("main path gives {y}, shortcut gives {x}"))
            .note(format!("shapes: {}", chain(Some(x), main)));
        let error = match cond {
            Some(cond) => error.at(cond.span, "this does not hold, so nothing is projected").help(
                "without a condition, `project` is built where the shape changes; add `or not same_shape` to this one",
            ),
            None => error.help(projection(x, y)),
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

    fn concat(&mut self, body: &'a Body, site: Site, x: Flow) -> Flow {
        if body.lines.is_empty() {
            let error = Diagnostic::error("E0323", "a concat without branches");
            return Err(self.error(error.at(site.span, "each line of its body is a branch")));
        }
        let mark = self.frame().trail.len();
        let mut branches = Vec::new();
        for line in &body.lines {
            let y = self.branch(line, x);
            branches.push(("this branch", line.span, y, self.frame().trail.split_off(mark)));
        }
        self.join(x, branches, site)
    }

    /// Concatenates branches: name, place, value and chain of shapes of each.
    fn join(&mut self, x: Flow, branches: Vec<(&str, Span, Flow, Trail)>, site: Site) -> Flow {
        let values = branches.iter().map(|(_, _, y, _)| *y).collect::<Result<Vec<_>, _>>()?;
        if let [single] = values[..] {
            return Ok(single);
        }
        let ty = |i: usize| &self.graph[values[i]].ty;
        let fits = |i: usize| ty(i).spatial() == ty(0).spatial() && ty(i).batch == ty(0).batch;
        let Some(odd) = (1..values.len()).find(|&i| !fits(i)) else {
            return self.add(Op::from(Concat), values, site);
        };
        let input = x.ok().map(|x| &self.graph[x].ty);
        let error = Diagnostic::error("E0311", "the branches differ in size");
        let error = [odd, 0].iter().fold(error, |error, &i| {
            let (name, span, _, _) = &branches[i];
            error.at(*span, format!("{name} gives {}", ty(i)))
        });
        let error = [0, odd].iter().filter(|&&i| !branches[i].3.is_empty()).fold(error, |error, &i| {
            error.note(format!("shapes of {}: {}", ordinal(branches[i].0, i), chain(input, &branches[i].3)))
        });
        let help = "all sizes but the channels must agree: pad with `half` or `same`, and use the same strides";
        Err(self.error(error.help(help)))
    }

    /// Reports an error of a layer with the chain of shapes that led to it.
    pub fn shape_error(&mut self, mut error: Diagnostic, help: Option<String>) -> Reported {
        let trail = &self.frame().trail;
        if trail.len() > 1 {
            error = error.note(format!("shapes: {}", chain(None, trail)));
        }
        self.error(match help {
            Some(help) => error.help(help),
            None => error,
        })
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

/// How to bring the shortcut `x` to the shape of the main path `y`.
fn projection(x: &TensorType, y: &TensorType) -> String {
    if x.spatial().len() != y.spatial().len() {
        return "the main path must keep the number of dimensions".into();
    }
    // The stride s that takes each size n to ceil(n / s).
    let stride = |(&from, &to): (&usize, &usize)| {
        let stride = from.div_ceil(to);
        (from.div_ceil(stride) == to).then_some(stride)
    };
    let strides: Option<Vec<usize>> = x.spatial().iter().zip(y.spatial()).map(stride).collect();
    let Some(strides) = strides else {
        return "no stride brings the shortcut to this size; if the main path is not meant to change it, pad its layers, \
                for example with `half`"
            .into();
    };
    let kernel = vec!["1"; x.spatial().len().max(1)].join("x");
    let stride = match strides.first() {
        Some(&s) if strides.iter().all(|&other| other == s) => {
            if s == 1 {
                String::new()
            } else {
                format!(", stride {s}")
            }
        }
        Some(_) => format!(", stride {}", strides.iter().map(usize::to_string).collect::<Vec<_>>().join("x")),
        None => return format!("add   project {{ downsample: dense {} }}", y.channels()),
    };
    format!("add   project {{ downsample: seq {{ conv {kernel}, {}{stride} | bn }} }}", y.channels())
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
