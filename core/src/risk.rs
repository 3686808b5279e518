//! Risk: a number from 1 to 10 that explains itself.
//!
//! `score = clamp(base × environment + blast + irreversibility + history, 1, 10)`. Every factor is
//! kept with its value and a sentence, so that an approver reads reasons and not a number.

use serde::{Deserialize, Serialize};

/// Low 1–3, medium 4–6, high 7–8, critical 9–10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    Low,
    Medium,
    High,
    Critical,
}

impl RiskLevel {
    pub const fn of(score: u8) -> Self {
        match score {
            0..=3 => Self::Low,
            4..=6 => Self::Medium,
            7..=8 => Self::High,
            _ => Self::Critical,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One reason for the score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Factor {
    /// `base`, `environment`, `blast`, `irreversibility` or `history`.
    pub name: String,
    /// What it adds to the score (for `environment`: what the multiplication adds).
    pub value: f64,
    /// One sentence for people.
    pub because: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Risk {
    /// 1–10.
    pub score: u8,
    pub level: RiskLevel,
    pub factors: Vec<Factor>,
}

/// Label of a connection; what an outage there would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    Prod,
    Staging,
    Dev,
}

impl Environment {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prod => "prod",
            Self::Staging => "staging",
            Self::Dev => "dev",
        }
    }
}

/// An asset that depends on a target, directly or through others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependant {
    /// 1 for direct dependants.
    pub depth: u32,
    pub critical: bool,
}

/// Outcomes of earlier changes of the same type in this installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub finished: u32,
    pub failed: u32,
}

/// What a score is computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct RiskInputs<'a> {
    /// 1–9, declared by the action.
    pub base: u8,
    pub environment: Environment,
    pub dependants: &'a [Dependant],
    pub reversibility: &'a crate::catalog::Reversibility,
    pub history: History,
}

/// The most that dependants can add.
const BLAST_LIMIT: f64 = 3.0;
/// The most that history can add.
const HISTORY_LIMIT: f64 = 2.0;

/// Scores a change. Never lower with one more dependant.
pub fn score(inputs: &RiskInputs<'_>) -> Risk {
    use crate::catalog::Reversibility;

    let base = f64::from(inputs.base.clamp(1, 9));
    let multiplier = match inputs.environment {
        Environment::Prod => 1.3,
        Environment::Staging => 1.0,
        Environment::Dev => 0.8,
    };
    let mut factors = vec![
        factor("base", base, format!("This kind of change has a base risk of {}.", inputs.base)),
        factor(
            "environment",
            base * (multiplier - 1.0),
            format!("The environment is {} (×{multiplier}).", inputs.environment.as_str()),
        ),
    ];

    // Depth-weighted and saturating: 1 − e^(−w/4) rises quickly at first and never passes 1.
    let weight: f64 = inputs
        .dependants
        .iter()
        .map(|d| (if d.critical { 3.0 } else { 1.0 }) / f64::from(d.depth.max(1)))
        .sum();
    let critical = inputs.dependants.iter().filter(|d| d.critical).count();
    let blast = BLAST_LIMIT * (1.0 - (-weight / 4.0).exp());
    factors.push(factor(
        "blast",
        blast,
        match inputs.dependants.len() {
            0 => "Nothing known depends on the target.".to_owned(),
            n => format!(
                "{n} known asset{} on the target, {critical} of them critical.",
                if n == 1 { " depends" } else { "s depend" }
            ),
        },
    ));

    let (irreversibility, because) = match inputs.reversibility {
        Reversibility::Reversible => {
            (0.0, "It can be undone: the before-state is captured.".to_owned())
        }
        Reversibility::CompensateOnly { why } => {
            (1.0, format!("It can only be compensated: {why}."))
        }
        Reversibility::OneWay { why } => (2.0, format!("It cannot be undone: {why}.")),
    };
    factors.push(factor("irreversibility", irreversibility, because));

    let History { finished, failed } = inputs.history;
    let history = HISTORY_LIMIT * wilson_lower_bound(failed.min(finished), finished);
    factors.push(factor(
        "history",
        history,
        match finished {
            0 => "No change of this type has finished here yet.".to_owned(),
            _ => format!("{failed} of {finished} earlier changes of this type failed."),
        },
    ));

    let total: f64 = factors.iter().map(|f| f.value).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1–10")]
    let score = total.round().clamp(1.0, 10.0) as u8;
    Risk { score, level: RiskLevel::of(score), factors }
}

fn factor(name: &str, value: f64, because: String) -> Factor {
    Factor { name: name.to_owned(), value: (value * 100.0).round() / 100.0, because }
}

/// Lower end of the 95 % Wilson score interval of a proportion: few observations weigh little.
fn wilson_lower_bound(hits: u32, of: u32) -> f64 {
    if of == 0 {
        return 0.0;
    }
    let (n, z) = (f64::from(of), 1.96_f64);
    let p = f64::from(hits) / n;
    let centre = p + z * z / (2.0 * n);
    let spread = z * ((p * (1.0 - p) + z * z / (4.0 * n)) / n).sqrt();
    ((centre - spread) / (1.0 + z * z / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Reversibility;

    fn inputs(base: u8, environment: Environment, dependants: &[Dependant]) -> RiskInputs<'_> {
        RiskInputs {
            base,
            environment,
            dependants,
            reversibility: &Reversibility::Reversible,
            history: History::default(),
        }
    }

    #[test]
    fn environment_moves_the_level() {
        assert_eq!(score(&inputs(4, Environment::Dev, &[])).level, RiskLevel::Low);
        assert_eq!(score(&inputs(4, Environment::Staging, &[])).level, RiskLevel::Medium);
        assert_eq!(score(&inputs(6, Environment::Prod, &[])).level, RiskLevel::High);
    }

    #[test]
    fn one_more_dependant_never_lowers_the_score() {
        let mut dependants = Vec::new();
        let mut last = 0;
        for depth in 1..60 {
            dependants.push(Dependant { depth: depth % 5 + 1, critical: depth % 7 == 0 });
            let now = score(&inputs(3, Environment::Prod, &dependants)).score;
            assert!(now >= last);
            last = now;
        }
        assert!(last <= 10);
    }

    #[test]
    fn two_failures_weigh_less_than_twenty() {
        assert!(wilson_lower_bound(2, 2) < wilson_lower_bound(20, 20));
        assert!(wilson_lower_bound(0, 50) < 0.01);
    }
}
