//! Names: the paths of steps, from which their weights have theirs, and by which `from` takes values.
//!
//! A label is one component of the paths of all that is below it; in a `seq` a step without one has its number. Elsewhere
//! a step without a label adds no component, unless two weights would have the same name: then all steps of that body
//! without a label, of the same keyword or block, have it and their count for one: `conv1`, `conv2`.

use super::report::Reported;
use super::scope::MAX_SUGGESTIONS;
use super::{Builder, Flow};
use crate::diagnostic::{Diagnostic, Fix, Help};
use crate::front::text::syntax::ast::{Ident, Label, LabelPart};
use crate::source::Span;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::iter::successors;
use std::ops::Range;
use std::rc::Rc;

/// Where the next steps find their names.
#[derive(Default)]
pub struct Naming<'a> {
    /// Dotted path of the enclosing labels.
    pub path: String,
    /// In a `seq` the number of the next child.
    pub next: Option<usize>,
    /// Steps so far that hold weights and have neither label nor number.
    unlabelled: Vec<Unlabelled<'a>>,
    counts: HashMap<&'a str, usize>,
    start: Mark,
}

struct Unlabelled<'a> {
    /// Of the layer or combinator, or the name of the block.
    keyword: &'a str,
    /// The keyword and a count.
    name: String,
    made: Range<Mark>,
    span: Span,
}

impl Unlabelled<'_> {
    /// A path of this step with its count behind the path of the body.
    fn below(&self, body: &str, path: &str) -> String {
        let below = path.strip_prefix(body).unwrap_or(path);
        join(&join(body, &self.name), below.strip_prefix('.').unwrap_or(below))
    }
}

/// How much has been made at some time.
#[derive(Clone, Copy, Default)]
pub struct Mark {
    pub nodes: usize,
    pub params: usize,
    pub left_out: usize,
    pub taps: usize,
    pub counted: usize,
}

/// Why a value has its path; the best reason first.
#[derive(Clone, Copy)]
enum Reason {
    /// A label, or a number in a `seq`.
    Label,
    /// `as`, in a body that may have ended.
    Alias,
    /// The count of a step without a label.
    Count,
}

struct Tap {
    path: Rc<str>,
    reason: Reason,
    value: Flow,
}

/// The values that have a path, in the order in which they were made.
#[derive(Default)]
pub struct Taps {
    all: Vec<Tap>,
    /// By reason and path, places in `all`.
    places: [HashMap<Rc<str>, BTreeSet<usize>>; 3],
    bytes: usize,
}

/// What a path leads to.
enum Found {
    One(Flow),
    Several(Vec<Flow>),
}

impl Taps {
    fn push(&mut self, path: String, reason: Reason, value: Flow) {
        let tap = Tap { path: path.into(), reason, value };
        self.bytes += tap.path.len() + TAP_BYTES;
        self.places[reason as usize].entry(tap.path.clone()).or_default().insert(self.all.len());
        self.all.push(tap);
    }

    pub fn truncate(&mut self, len: usize) {
        for (at, tap) in self.all.drain(len..).enumerate() {
            self.bytes -= tap.path.len() + TAP_BYTES;
            if let Some(places) = self.places[tap.reason as usize].get_mut(&tap.path) {
                places.remove(&(len + at));
            }
        }
    }

    fn rename(&mut self, range: Range<usize>, renamed: impl Fn(&str) -> String) {
        for at in range {
            let tap = &mut self.all[at];
            let path: Rc<str> = renamed(&tap.path).into();
            self.bytes += path.len() - tap.path.len();
            let earlier = std::mem::replace(&mut tap.path, path.clone());
            let places = &mut self.places[tap.reason as usize];
            places.get_mut(&earlier).map(|places| places.remove(&at));
            places.entry(path).or_default().insert(at);
        }
    }

    fn has_label(&self, path: &str) -> bool {
        self.places[Reason::Label as usize].get(path).is_some_and(|places| !places.is_empty())
    }

    /// What has this path for the best reason. What is named by `as` is found from outside of its body only, by a path
    /// with a label in front: inside, [`Named`](super::scope::Named) has it.
    fn find(&self, path: &str, aliases: bool) -> Option<Found> {
        let reasons = [Some(Reason::Label), aliases.then_some(Reason::Alias), Some(Reason::Count)];
        let places = |reason: Reason| self.places[reason as usize].get(path).filter(|places| !places.is_empty());
        let places = reasons.into_iter().flatten().find_map(places)?;
        let mut values: Vec<Flow> = places.iter().take(MAX_COMPARED).map(|&place| self.all[place].value).collect();
        values.dedup();
        Some(match values[..] {
            [value] if places.len() <= MAX_COMPARED => Found::One(value),
            _ => Found::Several(values),
        })
    }

    /// The latest paths.
    fn latest(&self) -> impl Iterator<Item = &str> {
        self.all.iter().rev().take(MAX_SCANNED).map(|tap| &*tap.path)
    }
}

impl<'a> Naming<'a> {
    fn new(path: String, next: Option<usize>, start: Mark) -> Naming<'a> {
        Naming { path, next, start, ..Naming::default() }
    }
}

impl<'a> Builder<'a> {
    pub fn mark(&self) -> Mark {
        Mark {
            nodes: self.graph.nodes.len(),
            params: self.graph.params.len(),
            left_out: self.graph.left_out.len(),
            taps: self.taps.all.len(),
            counted: self.counted.len(),
        }
    }

    /// A step that is one child of what encloses it: takes a name, and is one step in the chain of shapes.
    pub fn part(
        &mut self,
        label: Option<&'a Label>,
        keyword: &'a str,
        f: impl FnOnce(&mut Self, String) -> Flow,
    ) -> Flow {
        let own = self.component(label)?;
        let path = own.as_ref().map_or_else(|| self.naming.path.clone(), |own| join(&self.naming.path, own));
        let (before, mark) = (self.mark(), self.frame().trail.len());
        let y = f(self, path.clone());
        self.labelled |= label.is_some() && before.params < self.graph.params.len();
        self.frame().trail.truncate(mark);
        if let Ok(id) = y {
            let shown = label.and(own.as_deref()).unwrap_or(keyword);
            self.trace(shown.to_string(), id);
        }
        match own {
            Some(_) => self.tap(path, Reason::Label, y),
            None => self.unlabelled(keyword, before, y),
        }
        y
    }

    /// The component of the next child: its label, or its number in a `seq`.
    fn component(&mut self, label: Option<&'a Label>) -> Result<Option<String>, Reported> {
        let label = label.map(|label| self.label(label)).transpose()?;
        let number = self.naming.next;
        if let Some(next) = &mut self.naming.next {
            *next += 1;
        }
        Ok(label.or_else(|| number.map(|number| number.to_string())))
    }

    /// Runs `f` with the names of its steps below `path`; `next` numbers them.
    pub fn within<T>(&mut self, path: String, next: Option<usize>, f: impl FnOnce(&mut Self) -> T) -> T {
        let inner = Naming::new(path, next, self.mark());
        let outer = std::mem::replace(&mut self.naming, inner);
        let result = f(self);
        let inner = std::mem::replace(&mut self.naming, outer);
        // A failure has been reported.
        let _ = self.count_unlabelled(&inner);
        result
    }

    /// Remembers a step without a label, if it holds weights.
    fn unlabelled(&mut self, keyword: &'a str, before: Mark, value: Flow) {
        let made = before..self.mark();
        let span = self.graph.nodes.get(made.start.nodes).and_then(|node| node.origin.span);
        let (Some(span), true) = (span, made.start.params < made.end.params) else { return };
        let count = self.naming.counts.entry(keyword).or_default();
        let name = loop {
            *count += 1;
            let name = format!("{keyword}{count}");
            if !self.taps.has_label(&join(&self.naming.path, &name)) {
                break name;
            }
        };
        self.tap(join(&self.naming.path, &name), Reason::Count, value);
        self.naming.unlabelled.push(Unlabelled { keyword, name, made, span });
    }

    /// Counts the steps without a label in a body that has ended, where two weights would have the same name.
    fn count_unlabelled(&mut self, body: &Naming<'a>) -> Result<(), Reported> {
        let Some(first) = body.unlabelled.first() else { return Ok(()) };
        let mut counted = HashSet::new();
        loop {
            self.charge(self.graph.params.len() - body.start.params, first.span)?;
            let clashing = self.clashing(body, &counted);
            if clashing.is_subset(&counted) {
                break;
            }
            // With their counts they may have the names of others.
            counted.extend(clashing);
        }
        for step in body.unlabelled.iter().filter(|step| counted.contains(step.keyword)) {
            self.insert_component(&body.path, step)?;
        }
        Ok(())
    }

    /// The keywords of steps without a label that have a weight of the same name as another step of the body, if those of
    /// some keywords have their counts.
    fn clashing(&self, body: &Naming<'a>, counted: &HashSet<&'a str>) -> HashSet<&'a str> {
        let mut steps = body.unlabelled.iter().peekable();
        let mut seen: HashMap<Cow<str>, Option<(usize, &'a str)>> = HashMap::new();
        let mut clashing = HashSet::new();
        for (at, param) in self.graph.params.iter().enumerate().skip(body.start.params) {
            while steps.next_if(|step| step.made.end.params <= at).is_some() {}
            let step = steps.peek().filter(|step| step.made.start.params <= at);
            let name = match step.filter(|step| counted.contains(step.keyword)) {
                Some(step) => step.below(&body.path, &param.name).into(),
                None => Cow::from(&param.name),
            };
            let step = step.map(|step| (step.made.start.params, step.keyword));
            if let Some(other) = seen.insert(name, step)
                && other != step
            {
                clashing.extend([step, other].into_iter().flatten().map(|(_, keyword)| keyword));
            }
        }
        clashing
    }

    /// Gives a step of a body its count for a component: in all names behind the path of the body.
    fn insert_component(&mut self, body: &str, step: &Unlabelled) -> Result<(), Reported> {
        let Range { start, end } = step.made.clone();
        self.charge(end.nodes - start.nodes + end.params - start.params + end.taps - start.taps, step.span)?;
        let renamed = |path: &str| step.below(body, path);
        let nodes = &mut self.graph.nodes[start.nodes..end.nodes];
        nodes.iter_mut().for_each(|node| node.origin.path = renamed(&node.origin.path));
        let longest = nodes.iter().map(|node| node.origin.path.len()).max();
        let params = self.graph.params[start.params..end.params].iter_mut().map(|param| &mut param.name);
        let left_out = self.graph.left_out[start.left_out..end.left_out].iter_mut();
        params.chain(left_out).for_each(|name| *name = renamed(name));
        self.taps.rename(start.taps..end.taps, renamed);
        self.counted.push(start.nodes);
        match longest {
            Some(longest) if longest > MAX_PATH => Err(self.long_name(step.span)),
            _ => Ok(()),
        }
    }

    /// Reports weights of the same name among those of the nodes from `first` on.
    pub fn check_weight_names(&mut self, first: usize) {
        let mut spans: HashMap<&str, Span> = HashMap::new();
        let mut twice = Vec::new();
        for node in &self.graph.nodes[first..] {
            let Some(span) = node.origin.span else { continue };
            let names = node.params.iter().map(|&param| self.graph[param].name.as_str());
            let earlier: Vec<_> = names.filter_map(|name| Some((name, spans.insert(name, span)?))).collect();
            twice.extend(earlier.first().map(|&(name, earlier)| (name.to_string(), earlier, span)));
        }
        for (name, first, second) in twice {
            self.same_weight(&name, first, second);
        }
    }

    fn same_weight(&mut self, name: &str, first: Span, second: Span) -> Reported {
        let error = Diagnostic::error("E0321", format!("two layers have weights of the name `{name}`"));
        let place = self.places.call(second);
        let error = match first == second {
            true => {
                let help = "label the repeated step, and in a loop write the variable into the label: `stage{i}: ..`";
                error
                    .at(second, "this layer is built more than once under the same name")
                    .help(Help::new(help).fix(place.and_then(|place| place.numbered())))
            }
            false => {
                let help = "give each of them a label of its own, or number them with `seq { .. }`";
                error
                    .at(second, format!("this is `{name}` too"))
                    .at(first, format!("this is `{name}`"))
                    .help(Help::new(help).fix(place.map(|place| place.label())))
            }
        };
        self.error(error)
    }

    pub fn label(&mut self, label: &'a Label) -> Result<String, Reported> {
        let text = self.label_text(label)?;
        // Not one that a negative number brings.
        let dash = label.parts.iter().any(|part| matches!(part, LabelPart::Text(text) if text.contains('-')));
        if text.is_empty() || !text.chars().all(|c| c.is_alphanumeric() || c == '_' || dash && c == '-') {
            let error = Diagnostic::error("E0223", format!("the label becomes `{text}`, which is no name"));
            return Err(self.error(error.at(label.span, "a label consists of letters, digits and `_`")));
        }
        Ok(text)
    }

    fn label_text(&mut self, label: &'a Label) -> Result<String, Reported> {
        let mut text = String::new();
        for part in &label.parts {
            match part {
                LabelPart::Text(part) => text.push_str(part),
                LabelPart::Expr(expr) => text.push_str(&self.label_value(expr)?),
            }
        }
        match self.naming.path.len() + text.len() > MAX_PATH {
            true => Err(self.long_name(label.span)),
            false => Ok(text),
        }
    }

    fn long_name(&mut self, span: Span) -> Reported {
        let error = Diagnostic::error("E0507", format!("a weight name of more than {MAX_PATH} characters"));
        self.halt(error.at(span, ""))
    }

    /// Remembers a value by its path.
    fn tap(&mut self, path: String, reason: Reason, value: Flow) {
        self.taps.push(path, reason, value);
        if self.taps.bytes > MAX_TAP_BYTES && !self.halted {
            let error = Diagnostic::error("E0506", format!("the labels take more than {} MiB", MAX_TAP_BYTES >> 20));
            let span = self.frames.last().and_then(|frame| frame.call).or(self.program.end);
            self.halt(span.into_iter().fold(error, |error, span| error.at(span, "in here")));
        }
    }

    /// `as name`
    pub fn name_value(&mut self, name: &'a Ident, value: Flow) {
        let Err(earlier) = self.frame().named.insert(&name.text, value, name.span) else {
            return self.tap(join(&self.naming.path, &name.text), Reason::Alias, value);
        };
        let error = Diagnostic::error("E0210", format!("the name `{}` is given to two values", name.text))
            .at(name.span, "given again here")
            .at(earlier, "first given here");
        self.error(error);
    }

    /// `from name`, `from backbone.layer{i}`: what `as` has named in this body or around it, else what the path leads to
    /// from the innermost label outwards, else an input.
    pub fn from(&mut self, tap: &'a Label) -> Flow {
        let path = self.label_text(tap)?;
        self.charge(self.naming.path.len() + path.len(), tap.span)?;
        let value = match self.find(&path) {
            Some(Found::One(value)) => value?,
            Some(Found::Several(values)) => return Err(self.several_values(&path, &values, tap.span)),
            None => return Err(self.no_value(&path, tap.span)),
        };
        self.trace(format!("from {path}"), value);
        Ok(value)
    }

    fn find(&self, path: &str) -> Option<Found> {
        let named = self.frames.last().and_then(|frame| frame.named.get(path)).map(Found::One);
        let labelled =
            || scopes(&self.naming.path).find_map(|scope| self.taps.find(&join(scope, path), path.contains('.')));
        let input = || self.inputs.iter().find(|(name, _)| *name == path).map(|(_, value)| Found::One(*value));
        named.or_else(labelled).or_else(input)
    }

    fn several_values(&mut self, path: &str, values: &[Flow], span: Span) -> Reported {
        let error = Diagnostic::error("E0224", format!("several values have the name `{path}`"));
        let mut spans: Vec<Span> =
            values.iter().filter_map(|value| self.graph[(*value).ok()?].origin.span).take(2).collect();
        spans.dedup();
        let error = spans.iter().fold(error.at(span, "which of them?"), |error, &span| error.at(span, "made here"));
        let places = spans.iter().filter_map(|&span| self.places.call(span));
        let help = match spans.len() {
            1 => {
                let help = Help::new("in a loop write the variable into the label: `stage{i}: ..`");
                places.fold(help, |help, place| help.fix(place.numbered()))
            }
            _ => {
                let name = last(path);
                let help = "give each of them a label of its own, or name one where it is made";
                let help = Help::new(format!("{help}: `.. as {name}`"));
                let titles = ["first", "second"].map(|which| format!("name the {which}: `.. as {name}`"));
                places.zip(titles).fold(help, |help, (place, title)| help.fix(place.named(title, name)))
            }
        };
        self.error(error.help(help))
    }

    fn no_value(&mut self, path: &str, span: Span) -> Reported {
        let error = Diagnostic::error("E0222", format!("no value has the name `{path}`"));
        if scopes(&self.naming.path).any(|scope| scope == path || scope.ends_with(&format!(".{path}"))) {
            return self.error(error.at(span, "this is inside of it, where its value is not known yet"));
        }
        let error = error.at(span, "not made above in this body or one around it");
        let known = self.values_in_reach();
        let deeper = format!(".{path}");
        let error = match self.taps.latest().find(|known| known.ends_with(&deeper)) {
            Some(deeper) => error.help(Fix::replace(format!("did you mean `{deeper}`?"), span, deeper).maybe()),
            None => error.did_you_mean(path, span, known.iter().map(String::as_str)),
        };
        let inner = parents(path).find_map(|outer| Some((outer, self.values_below(outer)?)));
        let error = match &inner {
            Some((outer, names)) => error.note(format!("in `{outer}` there are {}", names.join(", "))),
            None => error,
        };
        let help = format!(
            "name a value where it is made: in this block by `.. as {name}`; elsewhere by a label, `{name}: ..`, and take \
             it by the labels around it, as in `from backbone.{name}`",
            name = last(path)
        );
        self.error(if error.help.is_empty() && inner.is_none() { error.help(help) } else { error })
    }

    /// Names that `from` would find here, for suggestions.
    fn values_in_reach(&self) -> Vec<String> {
        let named = self.frames.last().into_iter().flat_map(|frame| frame.named.names()).map(String::from);
        let inputs = self.inputs.iter().map(|(name, _)| name.to_string());
        let scopes: Vec<&str> = scopes(&self.naming.path).collect();
        let labelled = self.taps.latest().take(MAX_SUGGESTIONS).flat_map(|path| {
            let below = |scope: &&str| path.strip_prefix(*scope)?.strip_prefix('.').map(String::from);
            scopes.iter().filter_map(below).chain([path.to_string()]).collect::<Vec<_>>()
        });
        let known = named.take(MAX_SUGGESTIONS).chain(inputs.take(MAX_SUGGESTIONS)).chain(labelled);
        known.filter(|path| self.find(path).is_some()).collect()
    }

    /// Names of values directly below a path, the first ones first; `None` if there are none.
    fn values_below(&self, outer: &str) -> Option<Vec<String>> {
        let below = |scope: &str| {
            let prefix = format!("{}.", join(scope, outer));
            let names = self.taps.latest().filter_map(|path| path.strip_prefix(prefix.as_str()));
            let mut known = HashSet::new();
            let mut names: Vec<&str> =
                names.filter(|name| !name.contains('.') && known.insert(*name)).take(MAX_LISTED).collect();
            names.reverse();
            (!names.is_empty()).then(|| names.into_iter().map(|name| format!("`{name}`")).collect())
        };
        scopes(&self.naming.path).find_map(below)
    }
}

/// `a.b`, or `b` where the path is empty, or the path where nothing is below.
pub fn join(path: &str, below: &str) -> String {
    match (path, below) {
        ("", only) | (only, "") => only.to_string(),
        _ => format!("{path}.{below}"),
    }
}

/// A path and all that lead to it, the empty one last.
fn scopes(path: &str) -> impl Iterator<Item = &str> {
    parents(path).chain((!path.is_empty()).then_some(""))
}

/// A path and the ones that it begins with.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    successors(Some(path), |path| path.rsplit_once('.').map(|(outer, _)| outer))
}

/// The last component.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Bounds the memory that names take.
const MAX_PATH: usize = 1000;
/// Bounds the memory that the paths of values take; a thousand times that of a large network.
const MAX_TAP_BYTES: usize = 1 << 27;
/// What a path takes beside its own bytes.
const TAP_BYTES: usize = 256;
/// Bounds the time that it takes to find a value: no more of one path are looked at.
const MAX_COMPARED: usize = 64;
/// Bounds the time that it takes to find a similar path.
const MAX_SCANNED: usize = 100_000;
/// Values listed in a message.
const MAX_LISTED: usize = 12;
