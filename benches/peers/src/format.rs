//! Figures as people read them.

use crate::measure::Unit;

/// A value with its unit, to three digits.
pub(crate) fn in_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => format!("{}/s", grouped(value)),
        Unit::Seconds => seconds(value),
        Unit::Bytes => format!("{} MB", digits(value / 1e6)),
    }
}

pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if value >= 1.0 => format!("{} s", digits(value)),
        value if value >= 1e-3 => format!("{} ms", digits(value * 1e3)),
        value => format!("{} µs", digits(value * 1e6)),
    }
}

/// How many times; less than a tenth as a fraction.
pub(crate) fn ratio(times: f64) -> String {
    match times {
        times if times >= 9.95 => format!("{}×", grouped(times)),
        times if times >= 1.995 => format!("{times:.1}×"),
        times if times >= 0.1 => format!("{times:.2}×"),
        times => format!("1/{}×", grouped(1.0 / times)),
    }
}

/// A whole number with its thousands set apart.
pub(crate) fn grouped(value: f64) -> String {
    let plain = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn digits(value: f64) -> String {
    match value {
        value if value >= 99.95 => grouped(value),
        value if value >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(in_unit(12_345.6, Unit::PerSecond), "12,346/s");
        assert_eq!(in_unit(999.0, Unit::PerSecond), "999/s");
        assert_eq!(seconds(0.000_009_12), "9.12 µs");
        assert_eq!(seconds(0.025), "25.0 ms");
        assert_eq!(seconds(123.4), "123 s");
        assert_eq!(in_unit(632e6, Unit::Bytes), "632 MB");
    }

    #[test]
    fn ratios_are_exact_where_it_matters() {
        assert_eq!([0.001, 0.644, 1.254, 3.21, 16.4].map(ratio), ["1/1,000×", "0.64×", "1.25×", "3.2×", "16×"]);
    }
}
