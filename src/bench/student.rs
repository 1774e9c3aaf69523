//! Student's t distribution ("The probable error of a mean", Biometrika 1908): how far the mean of a few values may lie
//! from the true one. `df` are degrees of freedom, which need not be whole.

/// The value that is not passed with probability `p`, 0 < p < 1.
pub fn quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 {
        return -quantile(1.0 - p, df);
    }
    let mut high = 1.0;
    while cumulative(high, df) < p && high < 1e12 {
        high *= 2.0;
    }
    let mut low = 0.0;
    // As many halvings as a number has bits.
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        *(if cumulative(middle, df) < p { &mut low } else { &mut high }) = middle;
    }
    high
}

/// The probability that `t`, at least 0, is not passed.
fn cumulative(t: f64, df: f64) -> f64 {
    1.0 - 0.5 * incomplete_beta(df / 2.0, 0.5, df / (df + t * t))
}

/// The regularised incomplete beta function (NIST Digital Library of Mathematical Functions, 8.17.22 with 8.17.4, by
/// Lentz's method).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges quickly on this side only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (1.0 - x).ln();
    front.exp() / (a * fraction(a, b, x))
}

/// 1 + d1 / (1 + d2 / (1 + ..)) of 8.17.22.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_0 = |v: f64| if v.abs() < TINY { TINY } else { v };
    let (mut f, mut c, mut d) = (1.0, 1.0, 0.0);
    for n in 1..1000 {
        let m = f64::from(n / 2);
        let coefficient = match n % 2 {
            0 => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        d = 1.0 / away_from_0(1.0 + coefficient * d);
        c = away_from_0(1.0 + coefficient / c);
        f *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    f
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of printed tables, for example NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2; the last two are those
    /// of the normal distribution.
    #[test]
    fn quantiles_are_those_of_tables() {
        let table = [
            (0.975, 1.0, 12.706),
            (0.975, 2.0, 4.303),
            (0.975, 3.0, 3.182),
            (0.975, 4.0, 2.776),
            (0.975, 8.0, 2.306),
            (0.975, 30.0, 2.042),
            (0.95, 4.0, 2.132),
            (0.995, 9.0, 3.250),
            (0.999, 1.0, 318.309),
            (0.975, 1e6, 1.960),
            (0.75, 1e6, 0.674),
        ];
        for (p, df, expected) in table {
            assert!((quantile(p, df) - expected).abs() < 6e-4, "{p} {df}: {}", quantile(p, df));
            assert_eq!(quantile(1.0 - p, df), -quantile(1.0 - (1.0 - p), df), "symmetric");
        }
        // Between whole degrees of freedom, and far out.
        assert!((2.776..3.182).contains(&quantile(0.975, 3.5)));
        assert!(quantile(1.0 - 1e-9, 1.0).is_finite());
    }
}
