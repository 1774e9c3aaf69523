//! Groups of the same structure become calls of one block, from the innermost outwards.

use super::roll;
use super::series::layers;
use super::skeleton::{Slot, adopt_projections, projections, skeleton, slots};
use super::tree::{Block, Body, Group, Join, Kind, Param, Step};
use super::unify::{Column, Found, unify};
use crate::ir::Graph;
use std::collections::{HashMap, HashSet};

/// Finds blocks and repetitions in a network.
pub fn roll_up(graph: &Graph, net: &mut Body) -> Vec<Block> {
    let mut blocks = Vec::new();
    let highest = net.iter().map(height).max().unwrap_or(0);
    for of in 1..=highest {
        let mut groups = Vec::new();
        find(net, of, &mut groups);
        groups.iter_mut().for_each(|step| roll::group(step, &blocks));
        groups.retain(|step| matches!(step.kind, Kind::Group(_)));
        optional_residuals(graph, &mut groups);
        for class in classes(groups) {
            extract(graph, class, &mut blocks);
        }
    }
    roll::body(net, false, &blocks);
    blocks
}

fn height(step: &Step) -> usize {
    match &step.kind {
        Kind::Group(group) => group.height,
        _ => step.bodies().iter().flatten().map(height).max().unwrap_or(0),
    }
}

/// The groups of one height.
fn find<'a>(body: &'a mut Body, of: usize, out: &mut Vec<&'a mut Step>) {
    for step in body {
        match &step.kind {
            Kind::Group(group) if group.height == of => out.push(step),
            _ => step.bodies_mut().iter_mut().for_each(|body| find(body, of, out)),
        }
    }
}

fn body_of(step: &Step) -> &Body {
    &step.bodies()[0]
}

/// The body of a residual without a projection that is all of a group.
fn residual_of(step: &Step) -> Option<&Body> {
    match &body_of(step)[..] {
        [Step { kind: Kind::Join(Join::Residual { optional: false }, bodies), alias: None, .. }] => match &bodies[..] {
            [body] => Some(body),
            _ => None,
        },
        _ => None,
    }
}

/// Groups that change the shape, and but for that are what others have in a residual: both have one where the shape stays.
fn optional_residuals(graph: &Graph, groups: &mut [&mut Step]) {
    let residuals: HashSet<String> = groups.iter().filter_map(|step| residual_of(step)).map(skeleton).collect();
    let mut found: HashSet<String> = HashSet::new();
    for step in groups.iter_mut() {
        let own = skeleton(body_of(step));
        if !residuals.contains(&own) || graph[step.reads].ty == graph[step.gives].ty {
            continue;
        }
        let (reads, gives) = (step.reads, step.gives);
        if let Kind::Group(Group { numbered, body, .. }) = &mut step.kind {
            // The number of a step would be that of the residual.
            if *numbered {
                continue;
            }
            let inner = std::mem::take(body);
            body.push(Step::new(Kind::Join(Join::Residual { optional: true }, vec![inner]), reads, gives));
            found.insert(own);
        }
    }
    for step in groups.iter_mut().filter(|step| residual_of(step).is_some_and(|body| found.contains(&skeleton(body)))) {
        if let Kind::Join(join, _) = &mut step.bodies_mut()[0][0].kind {
            *join = Join::Residual { optional: true };
        }
    }
}

/// Groups of the same skeleton, in the order in which the first of each stands.
fn classes(groups: Vec<&mut Step>) -> Vec<Vec<&mut Step>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut classes: Vec<Vec<&mut Step>> = Vec::new();
    for step in groups {
        let Kind::Group(group) = &step.kind else { continue };
        let key = format!("{}{}", group.numbered, skeleton(&group.body));
        let place = *places.entry(key).or_insert(classes.len());
        if place == classes.len() {
            classes.push(Vec::new());
        }
        classes[place].push(step);
    }
    classes
}

/// Parameters that a small block may have, and that any may have.
const FEW_PARAMS: usize = 6;
const MANY_PARAMS: usize = 20;

/// Makes a block of groups of one skeleton and calls of them, if that is shorter.
fn extract(graph: &Graph, mut class: Vec<&mut Step>, blocks: &mut Vec<Block>) {
    let size = layers(body_of(class[0]));
    if (class.len() - 1) * (size - 1) < 2 || !agree(&class) {
        return;
    }
    let mut template = body_of(class[0]).clone();
    class.iter().for_each(|step| adopt_projections(&mut template, body_of(step), &|_| {}));
    let columns = columns(&template, &class, blocks);
    let channels: Vec<usize> = class.iter().map(|step| graph[step.reads].ty.channels()).collect();
    let Some((found, said)) = unify(&columns, &channels, (2 * size).clamp(FEW_PARAMS, MANY_PARAMS)) else { return };
    let mut places: Vec<Slot> = Vec::new();
    slots(&mut template, blocks, &mut places);
    places.into_iter().zip(said).for_each(|(slot, said)| *slot.value = said);
    let numbered = matches!(&class[0].kind, Kind::Group(group) if group.numbered);
    if numbered {
        let (reads, gives) = (class[0].reads, class[0].gives);
        let group = Group { numbered, height: 0, body: template };
        template = vec![Step::new(Kind::Group(group), reads, gives)];
    }
    let labels: Vec<&str> = class.iter().filter_map(|step| step.label.as_deref()).collect();
    let name = unique(name_of(&template, &labels), blocks);
    let (params, order) = with_defaults(&found);
    for (copy, step) in class.iter_mut().enumerate() {
        let args = order.iter().map(|&at| found[at].values[copy].clone()).collect();
        step.kind = Kind::Block(blocks.len(), args);
    }
    blocks.push(Block { name, params, body: template });
}

/// Whether all projections at one place have the same skeleton.
fn agree(class: &[&mut Step]) -> bool {
    let mut known: Vec<Option<String>> = Vec::new();
    projections(body_of(class[0]), &mut known);
    class.iter().all(|step| {
        let mut own = Vec::new();
        projections(body_of(step), &mut own);
        known.iter_mut().zip(own).all(|(known, own)| match (&known, own) {
            (Some(known), Some(own)) => *known == own,
            (None, Some(own)) => {
                *known = Some(own);
                true
            }
            _ => true,
        })
    })
}

/// The arguments of all groups, side by side.
fn columns(template: &Body, class: &[&mut Step], blocks: &[Block]) -> Vec<Column> {
    const ABSENT: &str = "";
    let blank = |body: &mut Body| {
        let mut places = Vec::new();
        slots(body, blocks, &mut places);
        places.into_iter().for_each(|slot| *slot.value = ABSENT.into());
    };
    let mut columns: Vec<Column> = Vec::new();
    for step in class {
        let mut body = body_of(step).clone();
        adopt_projections(&mut body, template, &blank);
        let mut places = Vec::new();
        slots(&mut body, blocks, &mut places);
        columns.resize_with(places.len(), || Column { name: String::new(), values: Vec::new() });
        for (column, slot) in columns.iter_mut().zip(places) {
            column.name = slot.name.to_string();
            column.values.push(Some(slot.value.clone()).filter(|value| value != ABSENT));
        }
    }
    columns
}

/// Parameters of which most values are the same have them by default, and stand behind the others.
fn with_defaults(found: &[Found]) -> (Vec<Param>, Vec<usize>) {
    let usual = |param: &Found| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        param.values.iter().for_each(|value| *counts.entry(value).or_default() += 1);
        let most = counts.into_iter().max_by_key(|&(value, count)| (count, value))?;
        // The channels say what a block is.
        (param.name != "c" && 3 * most.1 > 2 * param.values.len()).then(|| most.0.to_string())
    };
    let params = found.iter().map(|param| Param { name: param.name.clone(), default: usual(param) });
    let mut params: Vec<(usize, Param)> = params.enumerate().collect();
    params.sort_by_key(|(_, param)| param.default.is_some());
    let order = params.iter().map(|(at, _)| *at).collect();
    (params.into_iter().map(|(_, param)| param).collect(), order)
}

/// A name for a block: the word that its labels begin with, else what it does.
fn name_of(body: &Body, labels: &[&str]) -> String {
    let word = |label: &&str| -> String { label.chars().take_while(|c| c.is_ascii_alphabetic()).collect() };
    let first = labels.first().map(word).unwrap_or_default();
    if first.len() > 2 && labels.iter().all(|label| word(label) == first) {
        let (head, tail) = first.split_at(1);
        return head.to_uppercase() + tail;
    }
    what_it_does(body).to_string()
}

fn what_it_does(body: &Body) -> &'static str {
    let main = body.iter().max_by_key(|step| step.bodies().iter().map(layers).sum::<usize>());
    match main.map(|step| &step.kind) {
        Some(Kind::Group(group)) => what_it_does(&group.body),
        Some(Kind::Join(Join::Residual { .. }, _)) => "Residual",
        Some(Kind::Join(Join::Gate, _)) => "Gate",
        Some(Kind::Join(Join::Grow, _)) => "Grow",
        Some(Kind::Join(..)) => "Branches",
        Some(Kind::Layer(_)) => {
            let named = body.iter().find_map(|step| match &step.kind {
                Kind::Layer(call) if call.has_weights => Some(call.spec.keyword),
                _ => None,
            });
            match named {
                Some("conv") => "Conv",
                Some("dense") => "Dense",
                _ => "Layers",
            }
        }
        _ => "Stage",
    }
}

/// The name, or the name with a number, that no other block has, and no layer.
fn unique(name: String, blocks: &[Block]) -> String {
    let numbered = (2..).map(|number| format!("{name}{number}"));
    let is_free = |name: &String| blocks.iter().all(|block| block.name != *name);
    [name.clone()].into_iter().chain(numbered).find(is_free).expect("there are more numbers than blocks")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, outline};
    use super::super::{nest::Paths, series};
    use super::*;

    /// The blocks with their parameters, and the net.
    fn found(net: &str) -> Vec<String> {
        let mut graph = graph(net);
        let steps = series::steps(&mut graph, &HashMap::new()).unwrap();
        let mut net = Paths::new(&graph, |_| true).nest(steps);
        let blocks = roll_up(&graph, &mut net);
        let block = |block: &Block| {
            let param = |param: &Param| format!("{}={}", param.name, param.default.as_deref().unwrap_or(""));
            let params: Vec<String> = block.params.iter().map(param).collect();
            format!("{}({}): {}", block.name, params.join(","), outline(&block.body))
        };
        blocks.iter().map(block).chain([outline(&net)]).collect()
    }

    #[test]
    fn groups_of_one_structure_are_calls() {
        let unit = |name: &str, c: usize| format!("{name}: {{ a: conv 3x3, {c}, half | relu | b: conv 1x1, {c} }}\n");
        assert_eq!(
            found(&[unit("unita", 4), unit("unitb", 8), unit("other", 8)].concat()),
            ["Conv(c=): a:conv relu b:conv", "unita:#0[4] unitb:#0[8] other:#0[8]"]
        );
    }

    #[test]
    fn what_is_there_once_or_short_stays() {
        assert_eq!(found("a: { b: bn | relu } | c: { b: bn | relu }"), ["a:(b:bn relu) c:(b:bn relu)"]);
    }

    #[test]
    fn copies_and_numbered_labels_are_rolled_up() {
        let unit = |c: usize, s: usize| format!("{{ a: conv 3x3, {c}, half, stride {s} | relu | b: conv 1x1, {c} }}");
        let net = format!("l: {{ 0: {} | 1: {} | 2: {} }}", unit(4, 2), unit(4, 1), unit(4, 1));
        assert_eq!(found(&net)[1], "l:3x#0[2>Some(\"1\")]");
        let net = format!("l1: {} | l2: {} | l3: {}", unit(4, 1), unit(4, 1), unit(4, 1));
        assert_eq!(found(&net)[1], "l1..3#0");
    }

    #[test]
    fn a_residual_that_some_do_without_is_optional() {
        let body = |c: usize| format!("f: {{ a: conv 3x3, {c}, half | relu | b: conv 1x1, {c} }}");
        let net = format!("l: {{ 0: {{ {} }} | 1: {{ residual {{ {} }} }} }}", body(8), body(8));
        assert!(found(&net).join(" ").contains("0:(residual?("), "{:?}", found(&net));
    }
}
