//! Steps below the labels that the paths of layers say: `layer1.0.conv1` is a step of `0`, which is one of `layer1`.

use super::tree::{Body, Group, Join, Kind, Step};
use crate::ir::{Graph, NodeId};
use std::collections::{HashMap, HashSet};

/// Components of a path; what has more has no labels.
const DEEPEST: usize = 16;

/// What is known of the places of layers.
pub struct Paths<'g> {
    graph: &'g Graph,
    /// Layers with weights, whose path ends in a label of their own.
    labelled: HashSet<NodeId>,
    /// All that such paths have before their last component.
    groups: HashSet<&'g str>,
}

/// A step, and the labels around it.
type Placed<'g> = (Vec<&'g str>, Step);

impl<'g> Paths<'g> {
    /// `is_named` says whether a path is a name that weights are to have.
    pub fn new(graph: &'g Graph, is_named: impl Fn(&str) -> bool) -> Paths<'g> {
        let has_weights = |id: &NodeId| graph[*id].params.iter().any(|&param| graph[param].is_read());
        let can_be = |path: &str| {
            let is_in_label = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let is_label = |part: &str| !part.is_empty() && !part.starts_with('-') && part.chars().all(is_in_label);
            path.split('.').all(is_label) && path.split('.').count() <= DEEPEST && is_named(path)
        };
        let labelled: HashSet<NodeId> =
            graph.ids().filter(has_weights).filter(|&id| can_be(&graph[id].origin.path)).collect();
        let above = |id: &NodeId| {
            let path = graph[*id].origin.path.as_str();
            path.match_indices('.').map(move |(end, _)| &path[..end])
        };
        let groups = labelled.iter().flat_map(above).collect();
        Paths { graph, labelled, groups }
    }

    /// Whether a layer has its label.
    pub fn is_labelled(&self, id: NodeId) -> bool {
        self.labelled.contains(&id)
    }

    /// Puts steps below labels.
    pub fn nest(&self, body: Body) -> Body {
        let placed = self.place(body, &[]);
        let mut body = self.group(placed, 0);
        let mut named = HashMap::new();
        places_of_names(&body, &mut Vec::new(), &mut named);
        full_names(&mut body, &mut Vec::new(), &named);
        body
    }

    /// The labels around each step, all of which begin with `above`.
    fn place(&self, body: Body, above: &[&'g str]) -> Vec<Placed<'g>> {
        let mut scopes: Vec<Option<Vec<&str>>> = body.iter().map(|step| self.scope(step)).collect();
        for scope in &mut scopes {
            scope.take_if(|scope| !scope.starts_with(above));
        }
        let mut last = above.to_vec();
        let mut placed = Vec::new();
        for (at, step) in body.into_iter().enumerate() {
            let scope = match (&scopes[at], &step.kind) {
                (Some(scope), _) => scope.clone(),
                (None, Kind::From(_)) => scopes[at..].iter().flatten().next().cloned().unwrap_or(last.clone()),
                (None, Kind::Layer(call)) if !call.is_activation && !call.has_weights => {
                    let next = scopes[at..].iter().flatten().next().cloned();
                    next.map_or(last.clone(), |next| common(last.clone(), next))
                }
                _ => last.clone(),
            };
            last.clone_from(&scope);
            placed.push((scope, step));
        }
        placed
    }

    /// The labels around a step by what is known of it alone.
    fn scope(&self, step: &Step) -> Option<Vec<&'g str>> {
        let own = || self.own_scope(step.gives);
        match &step.kind {
            Kind::Layer(_) => own(),
            Kind::Join(_, bodies) => {
                bodies.iter().filter_map(|body| self.inner_scope(body)).chain(own()).reduce(common)
            }
            Kind::Output(_) => Some(Vec::new()),
            _ => None,
        }
    }

    /// What the scopes of layers with labels have in common.
    fn inner_scope(&self, body: &Body) -> Option<Vec<&'g str>> {
        let of_step = |step: &Step| match &step.kind {
            Kind::Layer(_) if self.is_labelled(step.gives) => self.own_scope(step.gives),
            _ => step.bodies().iter().filter_map(|body| self.inner_scope(body)).reduce(common),
        };
        body.iter().filter_map(of_step).reduce(common)
    }

    fn own_scope(&self, id: NodeId) -> Option<Vec<&'g str>> {
        let path = self.graph[id].origin.path.as_str();
        if path.is_empty() || self.graph[id].params.iter().any(|&param| self.graph[param].is_read()) {
            let (scope, _) = self.is_labelled(id).then(|| path.rsplit_once('.').unwrap_or(("", path)))?;
            return Some(scope.split('.').filter(|part| !part.is_empty()).collect());
        }
        let ends: Vec<usize> = path.match_indices('.').map(|(end, _)| end).chain([path.len()]).collect();
        let deepest = ends.iter().rev().map(|end| &path[..*end]).find(|scope| self.groups.contains(scope));
        Some(deepest.map_or(Vec::new(), |scope| scope.split('.').collect()))
    }

    /// Neighbours of the same label become one step.
    fn group(&self, placed: Vec<Placed<'g>>, depth: usize) -> Body {
        let mut body: Body = Vec::new();
        let mut inner: Vec<Placed> = Vec::new();
        for (scope, step) in placed {
            let same = inner.first().is_some_and(|(first, _)| first.get(depth) == scope.get(depth));
            if !same && !inner.is_empty() {
                body.push(self.one_group(std::mem::take(&mut inner), depth));
            }
            match scope.len() > depth {
                true => inner.push((scope, step)),
                false => body.push(self.step(&scope, step)),
            }
        }
        if !inner.is_empty() {
            body.push(self.one_group(inner, depth));
        }
        body
    }

    fn one_group(&self, placed: Vec<Placed<'g>>, depth: usize) -> Step {
        let label = placed[0].0[depth].to_string();
        let body = self.group(placed, depth + 1);
        let (reads, gives) = (body[0].reads, body[body.len() - 1].gives);
        let numbered = is_numbered(&body);
        let group = Group { numbered, height: height(&body) + 1, body };
        Step { label: Some(label), ..Step::new(Kind::Group(group), reads, gives) }
    }

    fn step(&self, scope: &[&'g str], mut step: Step) -> Step {
        if matches!(step.kind, Kind::Layer(_)) && self.is_labelled(step.gives) {
            step.label = self.graph[step.gives].origin.path.rsplit('.').next().map(String::from);
        }
        for body in step.bodies_mut() {
            let placed = self.place(std::mem::take(body), scope);
            *body = self.group(placed, scope.len());
        }
        labelled_growth(step)
    }
}

/// `grow { layer1: { .. } }` is `layer1: { grow { .. } }`.
fn labelled_growth(mut step: Step) -> Step {
    if let (Kind::Join(Join::Grow, bodies), None) = (&mut step.kind, &step.alias)
        && let [body] = &mut bodies[..]
        && let [inner] = &mut body[..]
        && let Kind::Group(Group { numbered: false, height, body: steps }) = &mut inner.kind
    {
        let (label, height) = (inner.label.take(), *height);
        *body = std::mem::take(steps);
        let (reads, gives) = (step.reads, step.gives);
        let group = Group { numbered: false, height, body: vec![step] };
        return Step { label, ..Step::new(Kind::Group(group), reads, gives) };
    }
    step
}

fn common<'a>(a: Vec<&'a str>, b: Vec<&'a str>) -> Vec<&'a str> {
    a.into_iter().zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// How deep groups are nested; those of a projection do not count, since others may do without it.
fn height(body: &Body) -> usize {
    let of = |step: &Step| match &step.kind {
        Kind::Group(group) => group.height,
        Kind::Join(Join::Residual { .. }, bodies) => height(&bodies[0]),
        _ => step.bodies().iter().map(height).max().unwrap_or(0),
    };
    body.iter().map(of).max().unwrap_or(0)
}

/// Whether all labels of a body are the numbers of their steps.
fn is_numbered(body: &Body) -> bool {
    let counts = |step: &&Step| !matches!(step.kind, Kind::From(_) | Kind::Output(_));
    let labels: Vec<Option<&str>> = body.iter().filter(counts).map(|step| step.label.as_deref()).collect();
    let fits = |(at, label): (usize, &Option<&str>)| label.is_none_or(|label| label == at.to_string());
    // A join would have its number too.
    let joins = body.iter().any(|step| step.label.is_none() && !step.bodies().is_empty());
    labels.iter().flatten().next().is_some() && labels.iter().enumerate().all(fits) && !joins
}

/// The labels around each name.
fn places_of_names(body: &Body, above: &mut Vec<String>, named: &mut HashMap<String, Vec<String>>) {
    for step in body {
        if let Some(alias) = &step.alias {
            named.insert(alias.clone(), above.clone());
        }
        above.extend(step.label.clone());
        step.bodies().iter().for_each(|body| places_of_names(body, above, named));
        above.truncate(above.len() - usize::from(step.label.is_some()));
    }
}

/// Where a name is taken outside of the body that has it, it is taken by its path.
fn full_names(body: &mut Body, above: &mut Vec<String>, named: &HashMap<String, Vec<String>>) {
    for step in body {
        if let Kind::From(name) = &mut step.kind
            && let Some(place) = named.get(name)
            && !above.starts_with(place)
        {
            *name = format!("{}.{name}", place.join("."));
        }
        above.extend(step.label.clone());
        step.bodies_mut().iter_mut().for_each(|body| full_names(body, above, named));
        above.truncate(above.len() - usize::from(step.label.is_some()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::series;
    use super::super::testing::{graph, outline};
    use super::*;

    fn found(net: &str) -> String {
        let mut graph = graph(net);
        let steps = series::steps(&mut graph, &HashMap::new()).unwrap();
        outline(&Paths::new(&graph, |_| true).nest(steps))
    }

    #[test]
    fn paths_become_groups() {
        // An activation without a place belongs to what stands before it.
        assert_eq!(found("a: { b: conv 1x1, 4 | relu | c: bn } | tanh"), "a:(b:conv relu c:bn tanh)");
        assert_eq!(found("a: seq { conv 1x1, 4 | relu | bn }"), "a:seq(0:conv relu 2:bn)");
        assert_eq!(found("a: { 0: conv 1x1, 4 | relu | 3: bn }"), "a:(0:conv relu 3:bn)");
    }

    #[test]
    fn joins_stand_where_all_of_their_layers_do() {
        assert_eq!(
            found("a: { 0: { residual { b: conv 1x1, 4 | relu | c: conv 1x1, 4 } | relu } }"),
            "a:seq(0:(residual(b:conv relu c:conv) relu))"
        );
        assert_eq!(found("a: { grow { l1: { n: bn | relu } } }"), "a:(l1:(grow(n:bn relu)))");
    }

    #[test]
    fn names_are_taken_by_paths_from_outside() {
        let net = "a: { b: conv 1x1, 4 | relu } as s | c: { d: conv 1x1, 8 | relu } as t | e: conv 1x1, 4 | add { from s \n none } \
                   | f: conv 1x1, 8 | add { from t \n none }";
        assert!(found(net).contains("residual(<a.v1)"), "{}", found(net));
    }
}
