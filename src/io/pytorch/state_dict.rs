//! Which of the dictionaries in a pickle is the state dict.

use super::value::{Pickle, Value, View, shortened};
use std::collections::BTreeMap;

/// How many dictionaries deep a state dict is looked for.
const MAX_DEPTH: usize = 8;

/// Dictionaries and keys shown in messages.
const SHOWN: usize = 8;

/// The entries of a state dict, by name and in order.
pub(super) struct StateDict<'p, 'a> {
    pub(super) tensors: Vec<(&'a str, &'p View<'a>)>,
    /// With what they are: an object of which a tensor may be a part, but which is not made here.
    pub(super) objects: BTreeMap<&'a str, String>,
}

/// A dictionary that can be reached from the root by texts alone.
struct Found<'a> {
    /// Index in [`Pickle::dicts`].
    dict: usize,
    /// Index in the list of those found; `None` for the root.
    parent: Option<usize>,
    key: &'a str,
    depth: usize,
    tensors: usize,
    /// Whether a dictionary of tensors stands within it.
    is_outer: bool,
}

/// Why no dictionary is taken. The message does not name the file.
pub(super) enum Refusal {
    /// There is none.
    Nothing(String),
    /// There are others than the one that was named, or several and none was.
    Key(String),
}

/// Chooses a dictionary of tensors: the one at `key` (keys joined by dots), or the only one. Tensors that stand beside
/// a dictionary of tensors, such as a best loss, are none of the model.
///
/// # Errors
/// What the pickle holds instead.
pub(super) fn choose<'p, 'a>(pickle: &'p Pickle<'a>, key: Option<&str>) -> Result<StateDict<'p, 'a>, Refusal> {
    let found = search(pickle);
    let of_tensors: Vec<&Found<'_>> = found.iter().filter(|dict| dict.tensors > 0).collect();
    let innermost: Vec<&Found<'_>> = of_tensors.iter().copied().filter(|dict| !dict.is_outer).collect();
    let chosen = match (key, &innermost[..]) {
        (_, []) => return Err(Refusal::Nothing(nothing(pickle, &found))),
        (None, [only]) => only,
        (None, several) => {
            let count = several.len();
            let what = format!("it has {count} dictionaries of tensors; name one of them:");
            return Err(Refusal::Key(what + &listed(&found, several)));
        }
        (Some(key), known) => of_tensors.iter().find(|dict| is_at(&found, dict, key)).ok_or_else(|| {
            let listed = listed(&found, known);
            Refusal::Key(format!("it has no dictionary of tensors {}; it has:{listed}", shortened(key)))
        })?,
    };
    let entries = &pickle.dicts[chosen.dict].entries;
    let tensors = entries.iter().filter_map(|&(name, value)| match value {
        Value::Tensor(index) => Some((name, &pickle.tensors[index])),
        _ => None,
    });
    let objects = entries.iter().filter(|(_, value)| matches!(value, Value::Object(_)));
    let objects = objects.map(|&(name, value)| (name, pickle.describe(value)));
    Ok(StateDict { tensors: tensors.collect(), objects: objects.collect() })
}

/// Every dictionary once, those further out first.
fn search<'a>(pickle: &Pickle<'a>) -> Vec<Found<'a>> {
    let mut seen = vec![false; pickle.dicts.len()];
    let mut found: Vec<Found<'a>> = Vec::new();
    let mut add = |found: &mut Vec<Found<'a>>, value, parent, key, depth| {
        if let Value::Dict(dict) = value
            && depth <= MAX_DEPTH
            && !std::mem::replace(&mut seen[dict], true)
        {
            found.push(Found { dict, parent, key, depth, tensors: 0, is_outer: false });
        }
    };
    add(&mut found, pickle.root, None, "", 0);
    let mut next = 0;
    while next < found.len() {
        let (dict, depth) = (found[next].dict, found[next].depth);
        for &(key, value) in &pickle.dicts[dict].entries {
            found[next].tensors += usize::from(matches!(value, Value::Tensor(_)));
            add(&mut found, value, Some(next), key, depth + 1);
        }
        next += 1;
    }
    for index in 0..found.len() {
        let mut parent = found[index].parent.filter(|_| found[index].tensors > 0);
        while let Some(outer) = parent {
            found[outer].is_outer = true;
            parent = found[outer].parent;
        }
    }
    found
}

/// The keys that lead from the root to a dictionary.
fn path<'a>(found: &[Found<'a>], dict: &Found<'a>) -> Vec<&'a str> {
    let mut path = Vec::new();
    let mut dict = dict;
    while let Some(parent) = dict.parent {
        path.push(dict.key);
        dict = &found[parent];
    }
    path.reverse();
    path
}

/// Whether the keys that lead to a dictionary, joined by dots, are `key`. Those of the root are none.
fn is_at(found: &[Found<'_>], dict: &Found<'_>, key: &str) -> bool {
    let path = path(found, dict);
    // Its length first, so that no long keys are joined in vain.
    path.iter().map(|key| key.len() + 1).sum::<usize>() == key.len() + usize::from(!path.is_empty())
        && path.join(".") == key
}

/// Dictionaries of tensors, one a line.
fn listed(found: &[Found<'_>], dicts: &[&Found<'_>]) -> String {
    let line = |dict: &&Found<'_>| {
        let path = path(found, dict);
        let name = if path.is_empty() { "its outermost dictionary".into() } else { shortened(&path.join(".")) };
        let plural = if dict.tensors == 1 { "" } else { "s" };
        format!("\n    {name} ({} tensor{plural})", dict.tensors)
    };
    let more = dicts.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!("\n    and {more} more") } else { String::new() };
    dicts.iter().take(SHOWN).map(line).collect::<String>() + &rest
}

/// What a pickle without any dictionary of tensors holds.
fn nothing(pickle: &Pickle<'_>, found: &[Found<'_>]) -> String {
    let is_module = |value: Value<'_>| matches!(value, Value::Object(object) if pickle.objects[object].is_module);
    let entries = || found.iter().flat_map(|dict| &pickle.dicts[dict.dict].entries);
    if is_module(pickle.root) {
        return whole_model(pickle, pickle.root, "");
    }
    if let Some(&(key, model)) = entries().find(|(_, value)| is_module(*value)) {
        return whole_model(pickle, model, key);
    }
    if found.is_empty() {
        return format!("it holds {}, not a dictionary of tensors", pickle.describe(pickle.root));
    }
    let keys: Vec<String> = entries().take(SHOWN).map(|(key, _)| shortened(key)).collect();
    format!("its dictionary has no tensors; it has: {}", keys.join(", "))
}

/// How to get a state dict out of a model that was pickled as a whole, the root or under this key.
fn whole_model(pickle: &Pickle<'_>, model: Value<'_>, key: &str) -> String {
    let place = if key.is_empty() { String::new() } else { format!("[{}]", shortened(key)) };
    format!(
        "it holds a whole model ({}), which only the program that saved it can load; there, save its state dict: \
         torch.save(torch.load(FILE, weights_only=False){place}.state_dict(), ...)",
        pickle.describe(model)
    )
}
