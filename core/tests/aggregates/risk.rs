use nexplane_core::catalog::Reversibility;
use nexplane_core::policy::quorum;
use nexplane_core::risk::{Dependant, Environment, History, RiskInputs, RiskLevel, score};

use crate::*;

fn environment() -> impl Strategy<Value = Environment> {
    prop::sample::select(vec![Environment::Prod, Environment::Staging, Environment::Dev])
}

fn reversibility() -> impl Strategy<Value = Reversibility> {
    let why = || "so it is".to_owned();
    prop::sample::select(vec![
        Reversibility::Reversible,
        Reversibility::CompensateOnly { why: why() },
        Reversibility::OneWay { why: why() },
    ])
}

fn dependant() -> impl Strategy<Value = Dependant> {
    let depth = prop_oneof![9 => 0..9_u32, 1 => any::<u32>()];
    (depth, any::<bool>()).prop_map(|(depth, critical)| Dependant { depth, critical })
}

fn history() -> impl Strategy<Value = History> {
    let count = || prop_oneof![9 => 0..100_u32, 1 => any::<u32>()];
    (count(), count()).prop_map(|(finished, failed)| History { finished, failed })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_score_explains_itself(
        base in any::<u8>(),
        environment in environment(),
        dependants in prop::collection::vec(dependant(), 0..50),
        reversibility in reversibility(),
        history in history(),
    ) {
        let risk = score(&RiskInputs {
            base,
            environment,
            dependants: &dependants,
            reversibility: &reversibility,
            history,
        });
        prop_assert!((1..=10).contains(&risk.score));
        prop_assert_eq!(risk.level, RiskLevel::of(risk.score));
        let names: Vec<_> = risk.factors.iter().map(|factor| factor.name.as_str()).collect();
        let expected = ["base", "environment", "blast", "irreversibility", "history"];
        prop_assert_eq!(names, expected);
        let total: f64 = risk.factors.iter().map(|factor| factor.value).sum();
        prop_assert!((total.clamp(1.0, 10.0) - f64::from(risk.score)).abs() <= 0.5 + 1e-9);
        prop_assert!(risk.factors.iter().all(|factor| factor.because.ends_with('.')));
    }

    /// One more asset that depends on it, one step nearer to irreversible, or one more failure. Of
    /// few assets, where one more weighs most.
    #[test]
    fn more_at_stake_is_never_less_risk(
        base in 1..10_u8,
        environment in environment(),
        dependants in prop::collection::vec(dependant(), 0..4),
        (one_more, place) in (dependant(), any::<prop::sample::Index>()),
        finished in 0..200_u32,
        failed in 0..200_u32,
    ) {
        let ask = |dependants: &[Dependant], reversibility: &Reversibility, failed: u32| {
            let history = History { finished, failed: failed.min(finished) };
            score(&RiskInputs { base, environment, dependants, reversibility, history }).score
        };
        let (reversible, why) = (Reversibility::Reversible, "so it is".to_owned());
        let before = ask(&dependants, &reversible, failed);

        let mut more = dependants.clone();
        more.insert(place.index(dependants.len() + 1), one_more);
        prop_assert!(ask(&more, &reversible, failed) >= before);

        let compensate_only = Reversibility::CompensateOnly { why: why.clone() };
        let one_way = Reversibility::OneWay { why };
        let compensated = ask(&dependants, &compensate_only, failed);
        prop_assert!(compensated >= before);
        prop_assert!(ask(&dependants, &one_way, failed) >= compensated);

        prop_assert!(ask(&dependants, &reversible, failed + 1) >= before);
    }

    #[test]
    fn a_higher_score_never_needs_less(
        environment in environment(),
        (low, high) in (1..11_u8, 1..11_u8),
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let ask = |score| quorum(RiskLevel::of(score), environment, false);
        let (less, more) = (ask(low), ask(high));
        prop_assert!(more.approvals >= less.approvals);
        prop_assert!(more.admin >= less.admin);
        prop_assert!(more.delay_s >= less.delay_s);
        // In prod nothing passes without another person.
        prop_assert!(less.approvals >= 1 || environment != Environment::Prod);
    }
}
