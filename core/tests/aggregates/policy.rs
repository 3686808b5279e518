use std::collections::BTreeSet;

use nexplane_core::actor::ActorKind;
use nexplane_core::catalog::EffectClass;
use nexplane_core::policy::event::PolicyEvent as E;
use nexplane_core::policy::{
    Ask, Case, OnConflict, Policy, PolicyCommand as C, PolicyDocument, PolicyState as S,
    ReversibilityKind, Rule, Then, VALID_S, When, analyse, faults,
};
use nexplane_core::risk::{Environment, RiskLevel};

use crate::*;

const LEVELS: [RiskLevel; 4] =
    [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];
const ENVIRONMENTS: [Environment; 3] = [Environment::Prod, Environment::Staging, Environment::Dev];
const TAGS: [&str; 2] = ["billing", "core"];
/// What rules name, and what changes are.
const NAMED: [&str; 4] = ["a.*", "a.x", "b.*", "b.x"];
const TYPES: [&str; 5] = ["a.x", "a.y", "b.x", "b.y", "c.x"];
/// The first is one that no rule names.
const EFFECTS: [EffectClass; 3] =
    [EffectClass::Keyed, EffectClass::Verifiable, EffectClass::Unprotected];

fn some<T>(of: &[T]) -> impl Strategy<Value = Option<Vec<T>>> + use<T>
where
    T: Clone + std::fmt::Debug + 'static,
{
    let most = of.len();
    prop::option::weighted(0.3, prop::sample::subsequence(of.to_vec(), 1..=most))
}

fn names(of: &[&str]) -> impl Strategy<Value = Option<Vec<String>>> + use<> {
    some(&of.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

prop_compose! {
    fn when()(
        level in some(&LEVELS),
        environment in some(&ENVIRONMENTS),
        change_type in names(&NAMED),
        tag in names(&TAGS),
        rollback in prop::option::weighted(0.3, any::<bool>()),
        reversibility in some(&ReversibilityKind::ALL),
        effect_class in some(&EFFECTS[1..]),
        score_at_least in prop::option::weighted(0.2, 1..11_u8),
    ) -> When {
        When {
            level, environment, change_type, tag, rollback, reversibility, effect_class,
            score_at_least,
        }
    }
}

fn then() -> impl Strategy<Value = Then> {
    let validity = prop::sample::select(vec![3600, VALID_S, 100_000]);
    prop_oneof![
        6 => (0..4_u32, any::<bool>(), prop::sample::select(vec![0, 60, 900]), validity).prop_map(
            |(approvals, admin, delay_s, valid_s)| {
                Then::Ask(Ask { approvals, admin, delay_s, valid_s })
            }
        ),
        1 => prop::sample::select(vec!["no", "not now"])
            .prop_map(|reason| Then::Refuse { reason: reason.to_owned() }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    (when(), then()).prop_map(|(when, then)| Rule { when, then })
}

/// With a last rule for everything else.
fn document() -> impl Strategy<Value = PolicyDocument> {
    (prop::collection::vec(rule(), 0..5), then()).prop_map(|(rules, then)| {
        let last = Rule { when: When::default(), then };
        let rules = rules.into_iter().chain([last]).collect();
        PolicyDocument { rules, on_conflict: OnConflict::Wait }
    })
}

fn command() -> impl Strategy<Value = C> {
    let publishable = (1..4_u32, rule()).prop_map(|(approvals, mut rule)| {
        let ask = Ask { approvals, admin: false, delay_s: 0, valid_s: VALID_S };
        rule.then = Then::Ask(ask);
        let last = Rule { when: When::default(), then: Then::Ask(ask) };
        PolicyDocument { rules: vec![rule, last], on_conflict: OnConflict::Refuse }
    });
    let documents = prop_oneof![4 => publishable, 1 => document()];
    (documents, text(), 1..4_u32).prop_map(|(document, note, based_on)| C::Publish {
        document,
        note,
        based_on,
    })
}

/// All that rules here can tell apart.
fn every_case() -> Vec<Case> {
    let tag_sets: [&[&str]; 4] = [&[], &TAGS[..1], &TAGS[1..], &TAGS];
    let mut cases = Vec::new();
    for score in 1..11 {
        for environment in ENVIRONMENTS {
            for change_type in TYPES {
                for tags in tag_sets {
                    for is_rollback in [false, true] {
                        for reversibility in ReversibilityKind::ALL {
                            for effect_class in EFFECTS {
                                cases.push(Case {
                                    score,
                                    level: RiskLevel::of(score),
                                    environment,
                                    change_type: change_type.to_owned(),
                                    tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                                    is_rollback,
                                    reversibility,
                                    effect_class,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

/// From 1.
fn decides(document: &PolicyDocument, case: &Case) -> u32 {
    let place = document.rules.iter().position(|rule| rule.when.holds(case));
    u32::try_from(place.expect("the last rule matches everything")).expect("few") + 1
}

/// An opinion of its own on what less is.
fn asks_for_less(now: &Then, before: &Then) -> bool {
    match (now, before) {
        (Then::Refuse { .. }, _) => false,
        (Then::Ask(_), Then::Refuse { .. }) => true,
        (Then::Ask(now), Then::Ask(before)) => {
            now.approvals < before.approvals
                || (before.admin && !now.admin)
                || now.delay_s < before.delay_s
                || now.valid_s > before.valid_s
        }
    }
}

#[test]
fn lives_reach_several_versions() {
    let lives = sample(commands(command())).into_iter().map(life::<Policy>);
    let newest = lives.filter_map(|life| life.last().map(|moment| moment.after.version)).max();
    assert!(newest.is_some_and(|version| version >= 3), "{newest:?}");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(versions in prop::collection::vec((any::<u32>(), document()), 0..9)) {
        let mut newest = 1;
        let mut state = S::default();
        for (version, document) in versions {
            let event = E::Published { version, document, note: String::new() };
            state = fold::<Policy>(state, &[event]);
            newest = newest.max(version);
        }
        prop_assert_eq!(state.version, newest);
    }

    #[test]
    fn versions_go_up_by_one_and_keep_the_floor(commands in commands(command())) {
        for moment in life::<Policy>(commands) {
            let Ok(events) = &moment.answer else {
                prop_assert_eq!(moment.before, moment.after);
                continue;
            };
            prop_assert_eq!(moment.by.actor.kind, ActorKind::User);
            prop_assert!(moment.by.has(Role::Admin));
            let C::Publish { document, based_on, .. } = &moment.command;
            prop_assert_eq!(events.len(), 1);
            prop_assert_eq!(*based_on, moment.before.version);
            prop_assert_eq!(moment.after.version, moment.before.version + 1);
            prop_assert_eq!(&moment.after.document, document);
            prop_assert_eq!(faults(document), Vec::new());
            prop_assert!(again(&moment).is_err());
        }
    }

    /// Rules that differ at all differ in what people read of them.
    #[test]
    fn what_is_shown_is_what_is_done(one in rule(), other in rule(), field in 0..9) {
        let mut altered = one.clone();
        match field {
            0 => altered.when.level = other.when.level,
            1 => altered.when.environment = other.when.environment,
            2 => altered.when.change_type = other.when.change_type,
            3 => altered.when.tag = other.when.tag,
            4 => altered.when.rollback = other.when.rollback,
            5 => altered.when.reversibility = other.when.reversibility,
            6 => altered.when.effect_class = other.when.effect_class,
            7 => altered.when.score_at_least = other.when.score_at_least,
            _ => altered.then = other.then,
        }
        prop_assert_eq!(one == altered, one.sentence() == altered.sentence());
    }

    #[test]
    fn it_is_read_as_it_was_written(document in document()) {
        let text = serde_json::to_string(&document).unwrap();
        prop_assert_eq!(serde_json::from_str::<PolicyDocument>(&text).unwrap(), document);
    }
}

proptest! {
    // Every case there is, of each document.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn evaluation_is_total_and_a_rule_that_does_not_match_changes_nothing(
        document in document(),
        front in rule(),
    ) {
        let before = S { version: 1, document: document.clone() };
        let rules = [front.clone()].into_iter().chain(document.rules).collect();
        let after = S { version: 1, document: PolicyDocument { rules, on_conflict: OnConflict::Wait } };
        for case in every_case() {
            let answer = before.quorum(&case);
            if front.when.holds(&case) {
                let asked = after.quorum(&case).map_or_else(|no| no.rule, |quorum| quorum.rule);
                prop_assert_eq!(asked, front.sentence());
            } else {
                prop_assert_eq!(after.quorum(&case), answer);
            }
        }
    }

    /// The proof and the trial of every case come to the same.
    #[test]
    fn the_analysis_is_exact(document in document(), before in document()) {
        let mut deciding = BTreeSet::new();
        let mut weaker = BTreeSet::new();
        for case in every_case() {
            let (new, old) = (decides(&document, &case), decides(&before, &case));
            deciding.insert(new);
            let (now, then) = (document.matching(&case), before.matching(&case));
            if asks_for_less(&now.unwrap().then, &then.unwrap().then) {
                weaker.insert((new, old));
            }
        }
        let last = u32::try_from(document.rules.len()).unwrap();
        let idle: Vec<_> = (1..last).filter(|rule| !deciding.contains(rule)).collect();
        let found = analyse(&document, Some(&before));
        prop_assert_eq!(found.unreachable.iter().map(|u| u.rule).collect::<Vec<_>>(), idle);
        let found: Vec<_> = found.weakened.iter().map(|w| (w.rule, w.before)).collect();
        prop_assert_eq!(found, weaker.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn what_keeps_the_floor_keeps_its_promises(document in document()) {
        if faults(&document).is_empty() {
            let policy = S { version: 1, document };
            for case in every_case() {
                let answer = policy.quorum(&case);
                prop_assert!(answer.is_ok() || !case.is_rollback);
                let approvals = answer.map_or(1, |quorum| quorum.approvals);
                prop_assert!(approvals > 0 || case.level != RiskLevel::Critical);
            }
        }
    }
}
