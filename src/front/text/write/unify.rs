//! Anti-unification (Plotkin 1970, "A note on inductive generalization"): what the arguments of several bodies are in terms
//! of the fewest parameters.

/// A parameter that was found, with its value for each body.
pub struct Found {
    pub name: String,
    pub values: Vec<String>,
}

/// An argument of several bodies.
pub struct Column {
    /// What a parameter for it would be called.
    pub name: String,
    /// Its value in each body; `None` where the body has none, and any value will do.
    pub values: Vec<Option<String>>,
}

/// Parameters, and what each column is in their terms; `None` if they would be more than `most`. `channels` are those of
/// each body's input, which is `in.c`.
pub fn unify(columns: &[Column], channels: &[usize], most: usize) -> Option<(Vec<Found>, Vec<String>)> {
    let mut params: Vec<Found> = Vec::new();
    let mut said = Vec::new();
    for column in columns {
        said.push(match express(column, &params, channels) {
            Some(said) => said,
            None if params.len() == most => return None,
            None => {
                let any = column.values.iter().flatten().next().cloned().unwrap_or_default();
                let values = column.values.iter().map(|value| value.clone().unwrap_or(any.clone())).collect();
                let name = fresh(&column.name, &params);
                params.push(Found { name: name.clone(), values });
                name
            }
        });
    }
    Some((params, said))
}

/// The name, or the name with a number. A loop's `i` is not to be hidden.
fn fresh(name: &str, params: &[Found]) -> String {
    let numbered = (2..).map(|number| format!("{name}{number}"));
    let is_free = |name: &String| name != "i" && params.iter().all(|param| param.name != *name);
    [name.to_string()].into_iter().chain(numbered).find(is_free).expect("there are more numbers than parameters")
}

/// The simplest of: the value itself, the channels of the input or a parameter, one of them times or divided by a number.
fn express(column: &Column, params: &[Found], channels: &[usize]) -> Option<String> {
    let values = || column.values.iter().flatten();
    let first = values().next()?;
    if values().all(|value| value == first) {
        return Some(first.clone());
    }
    let equal =
        |param: &&Found| column.values.iter().zip(&param.values).all(|(a, b)| a.as_ref().is_none_or(|a| a == b));
    if let Some(param) = params.iter().find(equal) {
        return Some(param.name.clone());
    }
    let numbers: Vec<Option<u64>> = column.values.iter().map(|value| value.as_ref()?.parse().ok()).collect();
    if numbers.iter().zip(&column.values).any(|(number, value)| number.is_none() != value.is_none()) {
        return None;
    }
    let of_input = ("in.c".to_string(), channels.iter().map(|&c| c as u64).collect::<Vec<_>>());
    let of_param = |param: &Found| {
        let numbers: Option<Vec<u64>> = param.values.iter().map(|value| value.parse().ok()).collect();
        Some((param.name.clone(), numbers?))
    };
    let bases: Vec<(String, Vec<u64>)> = [of_input].into_iter().chain(params.iter().filter_map(of_param)).collect();
    bases.iter().find_map(|(name, base)| in_terms(&numbers, name, base))
}

/// Numbers as a multiple or a part of others.
fn in_terms(numbers: &[Option<u64>], name: &str, base: &[u64]) -> Option<String> {
    let pairs: Vec<(u64, u64)> = numbers.iter().zip(base).filter_map(|(n, &b)| Some(((*n)?, b))).collect();
    let &(n, b) = pairs.first().filter(|(n, b)| *n > 0 && *b > 0)?;
    if pairs.iter().all(|(n, b)| n == b) {
        return Some(name.to_string());
    }
    let mut distinct: Vec<u64> = pairs.iter().map(|(_, b)| *b).collect();
    distinct.sort_unstable();
    distinct.dedup();
    // Two numbers may fit by chance.
    let is_sure = |factor: u64| distinct.len() > 2 || (distinct.len() > 1 && (factor == 2 || name == "in.c"));
    let factor = n / b;
    if factor > 1 && is_sure(factor) && pairs.iter().all(|(n, b)| b.checked_mul(factor) == Some(*n)) {
        return Some(format!("{factor} * {name}"));
    }
    let part = b / n;
    let parts = [part, part.saturating_sub(1)].into_iter().filter(|&part| part > 1 && is_sure(part));
    for part in parts {
        if pairs.iter().all(|(n, b)| b / part == *n) {
            return Some(format!("{name} // {part}"));
        }
        if pairs.iter().all(|(n, b)| round8(b / part) == *n) {
            return Some(format!("round8({name} // {part})"));
        }
    }
    [4].into_iter()
        .find(|&part| is_sure(part) && pairs.iter().all(|(n, b)| round8(b / part) == *n))
        .map(|part| format!("round8({name} // {part})"))
}

/// As the language's function: the multiple of 8 nearest to x, at least 8 and never below 0.9 x.
fn round8(x: u64) -> u64 {
    let rounded = ((x + 4) / 8 * 8).max(8);
    if rounded * 10 < x * 9 { rounded + 8 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, values: &[&str]) -> Column {
        let value = |value: &&str| (!value.is_empty()).then(|| value.to_string());
        Column { name: name.into(), values: values.iter().map(value).collect() }
    }

    fn said(columns: &[Column], channels: &[usize]) -> (Vec<String>, Vec<String>) {
        let (params, said) = unify(columns, channels, 2).unwrap();
        (params.into_iter().map(|param| param.name).collect(), said)
    }

    #[test]
    fn a_bottleneck_has_two_parameters() {
        let columns = [
            column("k", &["1x1"; 4]),
            column("c", &["64", "64", "128", "256"]),
            column("s", &["1", "1", "2", "2"]),
            column("c", &["256", "256", "512", "1024"]),
            column("c", &["256", "", "512", "1024"]),
        ];
        let (params, said) = said(&columns, &[64, 256, 256, 512]);
        assert_eq!(params, ["c", "s"]);
        assert_eq!(said, ["1x1", "c", "s", "4 * c", "4 * c"]);
    }

    #[test]
    fn the_input_comes_first_and_chance_is_not_trusted() {
        let (params, said) = said(
            &[
                column("c", &["16", "24"]),
                column("c", &["96", "144"]),
                column("c", &["48", "72"]),
                column("k", &["a", "b"]),
            ],
            &[16, 24],
        );
        assert_eq!(
            (params, said),
            (vec!["k".into()], vec!["in.c".into(), "6 * in.c".into(), "3 * in.c".into(), "k".to_string()])
        );
        let (params, said) = self::said(&[column("c", &["8", "16"]), column("c", &["40", "80"])], &[3, 3]);
        assert_eq!((params.len(), &*said[1]), (2, "c2"));
    }

    #[test]
    fn there_are_not_too_many_parameters() {
        let columns = [column("k", &["a", "b"]), column("c", &["c", "d"])];
        assert!(unify(&columns, &[3, 3], 1).is_none());
    }

    #[test]
    fn squeezes_are_parts() {
        let (_, parts) = said(&[column("c", &["8", "12", "26"])], &[32, 48, 104]);
        assert_eq!(parts, ["in.c // 4"]);
        let (_, parts) = said(&[column("c", &["8", "24", "32", "120"])], &[16, 96, 120, 480]);
        assert_eq!(parts, ["round8(in.c // 4)"]);
    }
}
