//! Whether two classifiers of the same studies err equally often (McNemar, Psychometrika 1947, 12:153).

use serde::{Deserialize, Serialize};

/// Fewer discordant studies than this are tested exactly.
pub const EXACT_BELOW: u64 = 25;

/// The test of two classifiers. Studies where both are right or both wrong say nothing of which is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Studies that both have right.
    pub both: u64,
    /// Studies that only the first has right.
    pub only_a: u64,
    /// Studies that only the second has right.
    pub only_b: u64,
    /// Studies that neither has right.
    pub neither: u64,
    /// `exact binomial` or `chi-square with continuity correction`.
    pub method: String,
    /// Chi-square with one degree of freedom; none of the exact test.
    pub statistic: Option<f64>,
    /// The probability, were both equally good, of a difference as large or larger, in either direction.
    pub p: f64,
}

impl McNemar {
    /// Of pairs (the first is right, the second is right). With fewer than [`EXACT_BELOW`] discordant pairs the two-sided exact
    /// binomial test, else chi-square = (max(|b - c| - 1, 0))^2 / (b + c) (Edwards, Psychometrika 1948, 13:185; as R's
    /// `mcnemar.test`, equal counts have no correction to make).
    pub fn new(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = [[0u64; 2]; 2]; // [a is right][b is right]
        pairs.into_iter().for_each(|(a, b)| counts[usize::from(a)][usize::from(b)] += 1);
        let [[neither, only_b], [only_a, both]] = counts;
        let discordant = only_a + only_b;
        let (method, statistic, p) = if discordant < EXACT_BELOW {
            ("exact binomial", None, exact(only_a.min(only_b), discordant))
        } else {
            let difference = only_a.abs_diff(only_b).saturating_sub(1) as f64;
            let statistic = difference * difference / discordant as f64;
            ("chi-square with continuity correction", Some(statistic), chi_square_tail(statistic))
        };
        McNemar { both, only_a, only_b, neither, method: method.to_owned(), statistic, p }
    }
}

/// Twice the probability of at most `fewer` heads of `trials` throws of a coin, at most 1; exact for so few trials.
fn exact(fewer: u64, trials: u64) -> f64 {
    let mut binomial = 1u64; // trials over heads
    let mut sum = 0;
    for heads in 0..=fewer {
        sum += binomial;
        binomial = binomial * (trials - heads) / (heads + 1);
    }
    (2.0 * sum as f64 / (1u64 << trials) as f64).min(1.0)
}

/// The probability that chi-square with one degree of freedom is at least `x`: erfc(sqrt(x / 2)).
///
/// With z = x / 2 it is 1 - P(1/2, z), the incomplete gamma function: below 1.5 by its series, from there on by its continued
/// fraction (Abramowitz and Stegun 6.5.29 and 6.5.31), to about 1e-14.
fn chi_square_tail(x: f64) -> f64 {
    let z = x / 2.0;
    if z <= 0.0 {
        return 1.0;
    }
    // z^(1/2) exp(-z) / Gamma(1/2)
    let front = z.sqrt() * (-z).exp() / std::f64::consts::PI.sqrt();
    if z < 1.5 {
        let (mut term, mut sum) = (2.0, 2.0); // 1 / a
        for n in 1..200 {
            term *= z / (0.5 + f64::from(n));
            sum += term;
            if term < sum * f64::EPSILON {
                break;
            }
        }
        return 1.0 - front * sum;
    }
    // Lentz's evaluation of 1 / (z + 1 - a - 1 (1 - a) / (z + 3 - a - ...)), a = 1/2.
    let mut b = z + 0.5;
    let (mut c, mut d) = (f64::MAX, 1.0 / b);
    let mut fraction = d;
    for n in 1..500 {
        let n = f64::from(n);
        let a = -n * (n - 0.5);
        b += 2.0;
        d = 1.0 / (a * d + b);
        c = b + a / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(only_a: usize, only_b: usize) -> McNemar {
        McNemar::new(vec![(true, false); only_a].into_iter().chain(vec![(false, true); only_b]))
    }

    // scipy.special.erfc(numpy.sqrt(x / 2)).
    #[test]
    fn the_tail_of_chi_square() {
        for (x, p) in [
            (0.0, 1.0),
            (0.01, 0.920344325445942),
            (1.0, 0.31731050786291415),
            (2.9, 0.0885795525797768),
            (3.1, 0.0782922941464099),
            (3.841458820694124, 0.05),
            (10.0, 0.001565402258002548),
            (100.0, 1.523970604832094e-23),
        ] {
            let ours = chi_square_tail(x);
            assert!((ours / p - 1.0).abs() < 1e-11, "{x}: {ours} beside {p}");
        }
    }

    #[test]
    fn few_are_counted_exactly() {
        // 2 (1 + 10 + 45) / 1024
        let few = test(2, 8);
        assert_eq!((few.p, few.statistic, few.method.as_str()), (0.109375, None, "exact binomial"));
        assert_eq!(test(8, 2).p, few.p);
        assert_eq!((test(0, 0).p, test(5, 5).p, test(0, 1).p), (1.0, 1.0, 1.0));
        assert_eq!(test(0, 24).p, 2.0 / f64::from(1 << 24));
    }

    #[test]
    fn many_by_chi_square() {
        // (|10 - 20| - 1)^2 / 30 = 2.7
        let many = test(10, 20);
        assert!((many.statistic.unwrap() - 2.7).abs() < 1e-12 && (many.p - 0.1003).abs() < 1e-4, "{many:?}");
        assert_eq!((test(15, 15).p, test(15, 15).statistic), (1.0, Some(0.0)));
        assert_eq!((many.only_a, many.only_b, many.both), (10, 20, 0));
    }
}
