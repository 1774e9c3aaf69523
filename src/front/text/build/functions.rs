//! The functions of expressions.

use super::value::Value;

/// A function that was called with arguments it has no value for: diagnostic code and message.
pub type Failure = (&'static str, String);

type Result = std::result::Result<Value, Failure>;

/// A function of the language.
pub struct Function {
    pub name: &'static str,
    /// Fewest and most arguments.
    pub arity: (usize, usize),
    /// For messages and the reference: `max(a, b, ...)`.
    pub usage: &'static str,
    pub doc: &'static str,
    pub apply: fn(&[Value]) -> Result,
}

/// All functions.
pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "ceil",
        arity: (1, 1),
        usage: "ceil(x)",
        doc: "the smallest integer not below x",
        apply: |args| to_int(&args[0], f64::ceil),
    },
    Function {
        name: "floor",
        arity: (1, 1),
        usage: "floor(x)",
        doc: "the largest integer not above x",
        apply: |args| to_int(&args[0], f64::floor),
    },
    Function {
        name: "round",
        arity: (1, 1),
        usage: "round(x)",
        doc: "the nearest integer, halves to the even one (as IEEE 754 and Python)",
        apply: |args| to_int(&args[0], f64::round_ties_even),
    },
    Function {
        name: "round8",
        arity: (1, 1),
        usage: "round8(x)",
        doc: "round_to(x, 8), the channel counts of MobileNet and EfficientNet",
        apply: |args| round_to(&args[0], 8),
    },
    Function {
        name: "round_to",
        arity: (2, 2),
        usage: "round_to(x, n)",
        doc: "the multiple of n nearest to x, but at least n and never below 0.9 x (torchvision's `_make_divisible`)",
        apply: |args| round_to(&args[0], positive(&args[1])?),
    },
    Function {
        name: "min",
        arity: (1, usize::MAX),
        usage: "min(a, b, ...)",
        doc: "the smallest of the numbers, or of one list",
        apply: |args| extreme(args, |candidate, best| candidate < best),
    },
    Function {
        name: "max",
        arity: (1, usize::MAX),
        usage: "max(a, b, ...)",
        doc: "the largest of the numbers, or of one list",
        apply: |args| extreme(args, |candidate, best| candidate > best),
    },
    Function { name: "abs", arity: (1, 1), usage: "abs(x)", doc: "x without its sign", apply: |args| abs(&args[0]) },
    Function {
        name: "sqrt",
        arity: (1, 1),
        usage: "sqrt(x)",
        doc: "the square root, a fractional number",
        apply: |args| match number(&args[0])? {
            x if x < 0.0 => Err(("E0204", format!("the square root of the negative number {x}"))),
            x => Ok(Value::Float(x.sqrt())),
        },
    },
    Function {
        name: "pow",
        arity: (2, 2),
        usage: "pow(x, y)",
        doc: "x to the power y; an integer where both are and y is not negative",
        apply: |args| pow(&args[0], &args[1]),
    },
    Function {
        name: "len",
        arity: (1, 1),
        usage: "len(list)",
        doc: "the number of items of a list or size",
        apply: |args| match &args[0] {
            Value::List(list) => Ok(Value::Int(list.items.len() as i64)),
            Value::Dims(dims) => Ok(Value::Int(dims.len() as i64)),
            other => Err(("E0203", format!("`len` takes a list, this is {}", other.described()))),
        },
    },
    Function {
        name: "sum",
        arity: (1, 1),
        usage: "sum(list)",
        doc: "the sum of a list of numbers",
        apply: |args| match &args[0] {
            Value::List(list) => list.items.iter().try_fold(Value::Int(0), |sum, item| add(&sum, item)),
            other => Err(("E0203", format!("`sum` takes a list, this is {}", other.described()))),
        },
    },
];

pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

fn number(value: &Value) -> std::result::Result<f64, Failure> {
    value.as_f64().ok_or_else(|| ("E0203", format!("a number is needed here, this is {}", value.described())))
}

fn positive(value: &Value) -> std::result::Result<i64, Failure> {
    match value {
        Value::Int(n) if *n > 0 => Ok(*n),
        other => Err(("E0203", format!("a positive integer is needed here, this is {}", other.described()))),
    }
}

/// A float that has been checked to be finite.
pub fn float(value: f64) -> Result {
    if value.is_finite() { Ok(Value::Float(value)) } else { Err(("E0202", "the result is too large".into())) }
}

/// The integer value of a float without fraction.
fn exact(value: f64) -> Result {
    // Both bounds are powers of two and exact as f64; i64::MAX is not.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { Ok(Value::Int(value as i64)) } else { Err(overflow()) }
}

pub fn overflow() -> Failure {
    ("E0202", "the result does not fit in 64 bits".into())
}

fn to_int(value: &Value, rounding: fn(f64) -> f64) -> Result {
    match value {
        Value::Int(v) => Ok(Value::Int(*v)),
        other => exact(rounding(number(other)?)),
    }
}

fn round_to(value: &Value, n: i64) -> Result {
    let (x, step) = (number(value)?, n as f64);
    let rounded = step.max(((x + step / 2.0) / step).floor() * step);
    exact(if rounded < 0.9 * x { rounded + step } else { rounded })
}

fn extreme(args: &[Value], better: fn(f64, f64) -> bool) -> Result {
    let items = match args {
        [Value::List(list)] => list.items.as_slice(),
        other => other,
    };
    let (first, rest) = items.split_first().ok_or_else(|| ("E0204", "the list is empty".to_string()))?;
    let mut best = (first, number(first)?);
    for item in rest {
        let candidate = number(item)?;
        if better(candidate, best.1) {
            best = (item, candidate);
        }
    }
    Ok(best.0.clone())
}

fn abs(value: &Value) -> Result {
    match value {
        Value::Int(v) => v.checked_abs().map(Value::Int).ok_or_else(overflow),
        other => Ok(Value::Float(number(other)?.abs())),
    }
}

fn pow(base: &Value, exponent: &Value) -> Result {
    match (base, exponent) {
        (Value::Int(b), Value::Int(e)) if *e >= 0 => {
            let small = u32::try_from(*e).ok();
            // Powers of -1, 0 and 1 exist for every exponent; those of other bases overflow long before 2^32.
            let power = small.and_then(|e| b.checked_pow(e)).or(match b {
                0 | 1 => Some(*b),
                -1 => Some(if e % 2 == 0 { 1 } else { -1 }),
                _ => None,
            });
            power.map(Value::Int).ok_or_else(overflow)
        }
        _ => {
            let (b, e) = (number(base)?, number(exponent)?);
            let power = b.powf(e);
            if power.is_nan() {
                return Err(("E0204", format!("{b} to the power {e} is no number")));
            }
            float(power)
        }
    }
}

pub fn add(a: &Value, b: &Value) -> Result {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        _ => float(number(a)? + number(b)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(name: &str, args: &[Value]) -> String {
        match (find(name).unwrap().apply)(args) {
            Ok(value) => value.to_string(),
            Err((code, _)) => code.into(),
        }
    }

    #[test]
    fn rounding() {
        assert_eq!(apply("ceil", &[Value::Float(1.2)]), "2");
        assert_eq!(apply("floor", &[Value::Float(-1.2)]), "-2");
        assert_eq!(apply("round", &[Value::Float(2.5)]), "2");
        assert_eq!(apply("round", &[Value::Float(3.5)]), "4");
        assert_eq!(apply("round", &[Value::Float(1e300)]), "E0202");
    }

    /// Values of torchvision's `_make_divisible` for the widths of EfficientNet-B3 and MobileNetV2 0.35.
    #[test]
    fn round8_is_make_divisible() {
        for (x, expected) in [(32.0 * 1.2, "40"), (16.0 * 1.2, "24"), (24.0 * 1.2, "32"), (320.0 * 1.2, "384")] {
            assert_eq!(apply("round8", &[Value::Float(x)]), expected, "{x}");
        }
        for (x, expected) in [(16.0 * 0.35, "8"), (24.0 * 0.35, "8"), (32.0 * 0.35, "16"), (1.0, "8"), (12.0, "16")] {
            assert_eq!(apply("round8", &[Value::Float(x)]), expected, "{x}");
        }
    }

    #[test]
    fn powers_and_extremes() {
        let int = Value::Int;
        assert_eq!(apply("pow", &[int(2), int(62)]), "4611686018427387904");
        assert_eq!(apply("pow", &[int(2), int(63)]), "E0202");
        assert_eq!(apply("pow", &[int(-1), int(i64::MAX)]), "-1");
        assert_eq!(apply("pow", &[int(2), int(-1)]), "0.5");
        assert_eq!(apply("pow", &[int(0), int(-1)]), "E0202");
        assert_eq!(apply("pow", &[int(-2), Value::Float(0.5)]), "E0204");
        assert_eq!(apply("max", &[int(1), Value::Float(2.5), int(2)]), "2.5");
        assert_eq!(apply("min", &[int(3), int(2)]), "2");
        assert_eq!(apply("abs", &[int(i64::MIN)]), "E0202");
        assert_eq!(apply("sqrt", &[int(-1)]), "E0204");
    }
}
