//! What documents say and do.

use serde_json::json;

use super::*;
use crate::change::event::Quorum;
use crate::id::ChangeId;
use crate::policy::simulation::{Replayed, Simulation};

const HOURS_72: u32 = 259_200;
const CRITICAL: &str = "critical risk needs two approvers, one of them an admin, and 15 minutes";

#[test]
fn the_table_of_the_module_documentation() {
    use Environment::{Dev, Prod, Staging};
    use RiskLevel::{Critical, High, Low, Medium};
    // Level, environment; approvals, an admin's among them, delay in seconds.
    let table = [
        (Low, Prod, 1, false, 0, "low risk in prod needs one approver"),
        (Low, Staging, 0, false, 0, "low risk in staging needs no approver"),
        (Low, Dev, 0, false, 0, "low risk in dev needs no approver"),
        (Medium, Prod, 1, false, 0, "medium risk needs one approver"),
        (Medium, Staging, 1, false, 0, "medium risk needs one approver"),
        (Medium, Dev, 1, false, 0, "medium risk needs one approver"),
        (High, Prod, 2, false, 0, "high risk needs two approvers"),
        (High, Staging, 2, false, 0, "high risk needs two approvers"),
        (High, Dev, 2, false, 0, "high risk needs two approvers"),
        (Critical, Prod, 2, true, 900, CRITICAL),
        (Critical, Staging, 2, true, 900, CRITICAL),
        (Critical, Dev, 2, true, 900, CRITICAL),
    ];
    for (level, environment, approvals, admin, delay_s, rule) in table {
        let rule = rule.to_owned();
        let valid_s = HOURS_72;
        let on_conflict = OnConflict::Wait;
        let expected =
            Quorum { policy_version: 1, rule, approvals, admin, delay_s, valid_s, on_conflict };
        assert_eq!(quorum(level, environment, false), expected);
        let fast = Quorum {
            rule: "a rollback needs one approver".to_owned(),
            approvals: 1,
            admin: false,
            delay_s: 0,
            ..expected
        };
        assert_eq!(quorum(level, environment, true), fast);
    }
}

#[test]
fn version_1_keeps_the_floor_and_has_no_idle_rule() {
    let standard = PolicyDocument::standard();
    assert_eq!(faults(&standard), []);
    assert_eq!(analyse(&standard, Some(&standard)), Analysis::default());
}

#[test]
fn the_first_that_matches_decides() {
    let document = document(vec![
        rule(tag(&["billing"]), ask(3)),
        rule(level(&[RiskLevel::Low]), ask(0)),
        rule(tag(&["core"]), ask(4)),
    ]);
    assert_eq!(approvals(&document, &tagged(&["core", "billing"])), Some(3));
    assert_eq!(approvals(&document, &tagged(&["core"])), Some(0));
    assert_eq!(approvals(&document, &case(RiskLevel::High)), Some(2));
}

#[test]
fn every_condition_has_to_hold_and_one_of_each_list() {
    let when = When {
        level: Some(vec![RiskLevel::Low, RiskLevel::Medium]),
        environment: Some(vec![Environment::Staging]),
        change_type: Some(vec!["postgres.*".to_owned(), "host.reboot".to_owned()]),
        tag: Some(vec!["billing".to_owned(), "core".to_owned()]),
        rollback: Some(false),
        reversibility: Some(vec![ReversibilityKind::OneWay]),
        effect_class: Some(vec![EffectClass::Unprotected]),
        score_at_least: Some(3),
    };
    let fits = Case {
        score: 3,
        level: RiskLevel::Medium,
        environment: Environment::Staging,
        change_type: "postgres.lock_user".to_owned(),
        tags: BTreeSet::from(["core".to_owned(), "other".to_owned()]),
        is_rollback: false,
        reversibility: ReversibilityKind::OneWay,
        effect_class: EffectClass::Unprotected,
    };
    assert!(when.holds(&fits));
    let others = [
        Case { score: 2, ..fits.clone() },
        Case { level: RiskLevel::High, ..fits.clone() },
        Case { environment: Environment::Prod, ..fits.clone() },
        Case { change_type: "postgresql.lock_user".to_owned(), ..fits.clone() },
        Case { change_type: "host.reboots".to_owned(), ..fits.clone() },
        Case { tags: BTreeSet::from(["cor".to_owned()]), ..fits.clone() },
        Case { is_rollback: true, ..fits.clone() },
        Case { reversibility: ReversibilityKind::CompensateOnly, ..fits.clone() },
        Case { effect_class: EffectClass::Verifiable, ..fits.clone() },
    ];
    for other in others {
        assert!(!when.holds(&other), "{other:?}");
    }
    assert!(When::default().holds(&fits));
}

#[test]
fn what_no_rule_is_about_is_refused() {
    let rules = vec![rule(environment(Environment::Dev), ask(0))];
    let policy = PolicyState { version: 4, document: of(rules) };
    let refusal = policy.quorum(&case(RiskLevel::Low)).unwrap_err();
    assert_eq!(refusal, Refusal { version: 4, rule: "no rule is about it".to_owned() });
}

#[test]
fn rules_say_what_they_do() {
    let all = When {
        level: Some(vec![RiskLevel::Low, RiskLevel::Medium, RiskLevel::High]),
        environment: Some(vec![Environment::Prod, Environment::Staging]),
        change_type: Some(vec!["postgres.*".to_owned()]),
        tag: Some(vec!["billing".to_owned()]),
        rollback: Some(false),
        reversibility: Some(vec![ReversibilityKind::CompensateOnly, ReversibilityKind::OneWay]),
        effect_class: Some(vec![EffectClass::Unprotected]),
        score_at_least: Some(5),
    };
    let five = Ask { approvals: 5, admin: true, delay_s: 5400, valid_s: 86_400 };
    assert_eq!(
        rule(all, Then::Ask(five)).sentence(),
        "a change that is no rollback of low, medium or high risk in prod or staging of type \
         postgres.* on a target tagged “billing” that can only be compensated or cannot be undone \
         with an unprotected effect with a score of 5 or more needs five approvers, one of them an \
         admin, and 1 hour 30 minutes; an approval is valid for 24 hours"
    );
    let said = |approvals, admin, delay_s| {
        rule(When::default(), Then::Ask(Ask { approvals, admin, delay_s, valid_s: VALID_S }))
            .sentence()
    };
    assert_eq!(said(1, true, 0), "anything else needs one approver who is an admin");
    assert_eq!(said(2, false, 60), "anything else needs two approvers and 1 minute");
    assert_eq!(said(0, false, 1), "anything else needs no approver, but 1 second");
    let refused = rule(When { rollback: Some(true), ..level(&[RiskLevel::High]) }, refuse());
    assert_eq!(refused.sentence(), "a rollback of high risk is refused: not here");
}

#[test]
fn a_condition_that_this_build_does_not_know_is_not_left_out() {
    let read = |text| serde_json::from_value::<PolicyDocument>(text).map_err(|e| e.to_string());
    let ask = json!({ "ask": { "approvals": 1 } });
    assert!(read(json!({ "rules": [{ "then": ask }] })).is_ok());
    for wrong in [
        json!({ "rules": [{ "when": { "levels": ["low"] }, "then": ask }] }),
        json!({ "rules": [{ "when": { "level": ["lower"] }, "then": ask }] }),
        json!({ "rules": [{ "then": { "ask": { "approvals": 1, "admins": 1 } } }] }),
        json!({ "rules": [{ "then": { "allow": {} } }] }),
        json!({ "rules": [{ "then": ask, "unless": {} }] }),
        json!({ "rules": [{ "then": ask }], "default": "allow" }),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
}

/// The pointers of what is wrong.
fn pointers(document: &PolicyDocument) -> Vec<String> {
    faults(document).into_iter().map(|fault| fault.pointer).collect()
}

#[test]
fn bounds_and_shapes() {
    let one = |when, then| pointers(&document(vec![rule(when, then)]));
    let asked = |approvals, admin, delay_s, valid_s| {
        let then = Then::Ask(Ask { approvals, admin, delay_s, valid_s });
        one(level(&[RiskLevel::High]), then)
    };
    let none: [&str; 0] = [];
    assert_eq!(asked(5, true, 604_800, 3600), none);
    assert_eq!(asked(1, true, 0, 2_592_000), none);
    assert_eq!(asked(6, false, 0, VALID_S), ["/rules/0/then/ask/approvals"]);
    assert_eq!(asked(0, true, 0, VALID_S), ["/rules/0/then/ask/admin"]);
    assert_eq!(asked(1, false, 604_801, VALID_S), ["/rules/0/then/ask/delay_s"]);
    assert_eq!(asked(1, false, 0, 3599), ["/rules/0/then/ask/valid_s"]);
    assert_eq!(asked(1, false, 0, 2_592_001), ["/rules/0/then/ask/valid_s"]);
    assert_eq!(one(level(&[]), ask(1)), ["/rules/0/when/level"]);
    let twice = [RiskLevel::Low, RiskLevel::Low];
    assert_eq!(one(level(&twice), ask(1)), ["/rules/0/when/level"]);
    for bad in ["", "postgres", "postgres.", "*", ".*", "Postgres.*", "postgres.lock*", "a.b.c"] {
        let wanted = ["/rules/0/when/change_type/1"];
        assert_eq!(one(change_type(&["host.*", bad]), ask(1)), wanted, "{bad:?}");
    }
    for bad in ["", " a", "a\nb", &"x".repeat(41)] {
        assert_eq!(one(tag(&[bad]), ask(1)), ["/rules/0/when/tag/0"], "{bad:?}");
    }
    for bad in [0, 11] {
        let when = When { score_at_least: Some(bad), ..When::default() };
        assert_eq!(one(when, ask(1)), ["/rules/0/when/score_at_least"]);
    }
    for reason in ["", "a\u{7}", &"x".repeat(301)] {
        let then = Then::Refuse { reason: reason.to_owned() };
        let when = When { rollback: Some(false), ..When::default() };
        assert_eq!(one(when, then), ["/rules/0/then/refuse/reason"]);
    }
    assert_eq!(pointers(&of(Vec::new())), ["/rules"]);
    let many = vec![rule(level(&[RiskLevel::High]), ask(1)); MAX_RULES];
    assert_eq!(pointers(&document(many)), ["/rules"]);
    let tags: Vec<_> = (0..61).map(|no| format!("t{no}")).collect();
    let tags = tags.chunks(20).map(|some| {
        let tag = Some(some.to_vec());
        rule(When { tag, ..When::default() }, ask(1))
    });
    assert_eq!(pointers(&document(tags.collect())), ["/rules"]);
}

#[test]
fn nothing_is_without_a_rule() {
    let levels = [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High, RiskLevel::Critical];
    let rules = vec![rule(level(&levels), ask(1))];
    assert_eq!(pointers(&of(rules)), ["/rules/0/when"]);
}

#[test]
fn critical_risk_is_never_without_an_approver() {
    let none: [&str; 0] = [];
    let of = |rules| pointers(&document(rules));
    let low = level(&[RiskLevel::Low, RiskLevel::High]);
    assert_eq!(of(vec![rule(low, ask(0))]), none);
    let dev = || rule(environment(Environment::Dev), ask(0));
    assert_eq!(of(vec![dev()]), ["/rules/0/then/ask/approvals"]);
    // What a rule before decides is not the rule's own.
    assert_eq!(of(vec![rule(level(&[RiskLevel::Critical]), ask(1)), dev()]), none);
    // A tag decides it only where it is there.
    let both = When { level: Some(vec![RiskLevel::Critical]), ..tag(&["billing"]) };
    assert_eq!(of(vec![rule(both, ask(1)), dev()]), ["/rules/1/then/ask/approvals"]);
    let score = When { score_at_least: Some(9), ..When::default() };
    assert_eq!(of(vec![rule(score, ask(1)), dev()]), none);
    let last = document(vec![rule(When::default(), ask(0))]);
    assert_eq!(pointers(&last), ["/rules/0/then/ask/approvals"]);
}

#[test]
fn a_way_back_is_never_refused() {
    let none: [&str; 0] = [];
    let of = |rules| pointers(&document(rules));
    let dropping = || change_type(&["postgres.drop_user"]);
    assert_eq!(of(vec![rule(dropping(), refuse())]), ["/rules/0/when/rollback"]);
    let forwards = When { rollback: Some(false), ..dropping() };
    assert_eq!(of(vec![rule(forwards, refuse())]), none);
    let rollbacks = When { rollback: Some(true), ..When::default() };
    assert_eq!(of(vec![rule(rollbacks, ask(1)), rule(dropping(), refuse())]), none);
}

#[test]
fn a_rule_that_never_decides_is_named_with_those_that_do() {
    use RiskLevel::{High, Low, Medium};
    let idle = |rules| {
        let analysis = analyse(&document(rules), None);
        analysis.unreachable.into_iter().map(|u| (u.rule, u.shadowed_by)).collect::<Vec<_>>()
    };
    let prod = When { environment: Some(vec![Environment::Prod]), ..level(&[Low]) };
    assert_eq!(idle(vec![rule(level(&[Low]), ask(0)), rule(prod, ask(1))]), [(2, vec![1])]);
    // Two that share it out.
    let rules = vec![
        rule(level(&[Low]), ask(0)),
        rule(level(&[Medium]), ask(1)),
        rule(level(&[Low, Medium]), ask(2)),
    ];
    assert_eq!(idle(rules), [(3, vec![1, 2])]);
    // A connector's action is one of the connector's.
    let rules =
        vec![rule(change_type(&["host.*"]), ask(1)), rule(change_type(&["host.reboot"]), ask(2))];
    assert_eq!(idle(rules), [(2, vec![1])]);
    let rules =
        vec![rule(change_type(&["host.reboot"]), ask(1)), rule(change_type(&["host.*"]), ask(2))];
    assert_eq!(idle(rules), []);
    // No score of 7 is of low risk.
    let never = When { score_at_least: Some(7), ..level(&[Low]) };
    assert_eq!(idle(vec![rule(never, ask(1))]), [(1, vec![])]);
    // Tags, some of which another rule has.
    let rules = |second: &[&str]| {
        vec![rule(tag(&["a", "b"]), ask(1)), rule(tag(&["c"]), ask(1)), rule(tag(second), ask(3))]
    };
    assert_eq!(idle(rules(&["b", "c"])), [(3, vec![1, 2])]);
    assert_eq!(idle(rules(&["b", "d"])), []);
    // The last is there for what nobody thought of.
    let levels = level(&[Low, Medium, High, RiskLevel::Critical]);
    assert_eq!(idle(vec![rule(levels, ask(1))]), []);
}

#[test]
fn a_rule_that_asks_for_less_than_before_is_named() {
    let weaker = |now: &PolicyDocument, before: &PolicyDocument| {
        let found = analyse(now, Some(before)).weakened;
        found.into_iter().map(|w| (w.rule, w.before, w.sentence)).collect::<Vec<_>>()
    };
    let standard = PolicyDocument::standard();
    let mut fewer = standard.clone();
    fewer.rules[5].then = ask(1);
    let sentence = "Rule 6 (high risk needs one approver) asks for less than rule 6 did, for high \
                    risk in prod: one approver instead of two approvers.";
    assert_eq!(weaker(&fewer, &standard), [(6, 6, sentence.to_owned())]);
    assert_eq!(weaker(&standard, &fewer), []);
    // A rule in front takes something away from a rule that stays.
    let mut front = standard.clone();
    front.rules.insert(0, rule(tag(&["sandbox"]), ask(1)));
    let pairs: Vec<_> = weaker(&front, &standard).into_iter().map(|w| (w.0, w.1)).collect();
    assert_eq!(pairs, [(1, 6), (1, 7)]);
    // Not one that asks for the same.
    let of = |tags: &[&str]| document(vec![rule(tag(tags), ask(3)), rule(tag(&["b"]), ask(1))]);
    assert_eq!(weaker(&of(&["a", "b"]), &of(&["a"])), []);
    let pairs: Vec<_> = weaker(&of(&["a"]), &of(&["a", "b"])).iter().map(|w| (w.0, w.1)).collect();
    assert_eq!(pairs, [(2, 1)]);
    // Delay, an admin, and how long an approval lasts.
    let with = |admin, delay_s, valid_s| {
        let then = Then::Ask(Ask { approvals: 1, admin, delay_s, valid_s });
        document(vec![rule(level(&[RiskLevel::High]), then)])
    };
    let strict = with(true, 60, 3600);
    for loose in [with(false, 60, 3600), with(true, 59, 3600), with(true, 60, 3601)] {
        assert_eq!(weaker(&loose, &strict).len(), 1, "{loose:?}");
        assert_eq!(weaker(&strict, &loose), []);
    }
    let refused = document(vec![rule(level(&[RiskLevel::High]), refuse())]);
    assert_eq!(weaker(&strict, &refused).len(), 1);
    assert_eq!(weaker(&refused, &strict), []);
}

#[test]
fn a_draft_against_the_past() {
    use crate::api::ChangeState as S;
    let replayed = |number: u64, level, state| Replayed {
        change: ChangeId(uuid::Uuid::from_u128(number.into())),
        number,
        state,
        case: case(level),
        has_tags: true,
        quorum: quorum(level, Environment::Prod, false),
    };
    let past: Vec<_> = (1..=1200)
        .map(|number| match number {
            1..=38 => replayed(number, RiskLevel::Medium, S::Complete),
            39..=41 => replayed(number, RiskLevel::Medium, S::Failed),
            42 => replayed(number, RiskLevel::High, S::RolledBack),
            _ => replayed(number, RiskLevel::Low, S::Complete),
        })
        .rev()
        .collect();
    let run = |draft: &PolicyDocument| {
        let mut simulation = Simulation::default();
        for submission in &past {
            simulation.replay(draft, submission);
        }
        simulation.finish()
    };
    let same = run(&PolicyDocument::standard());
    assert_eq!((same.compared, same.changed.len()), (1200, 0));
    assert_eq!(same.sentence, "It would have asked the same of all 1,200 changes.");

    let mut draft = PolicyDocument::standard();
    draft.rules[4].then = ask(2);
    draft.rules[5].then = ask(1);
    let found = run(&draft);
    assert_eq!((found.stricter, found.looser, found.refused, found.mixed), (41, 1, 0, 0));
    assert_eq!(
        found.sentence,
        "It would have asked for more in 41 of 1,200 changes: 3 failed, 38 were fine. It would \
         have asked for less in 1: 1 was rolled back."
    );
    assert_eq!(found.by_outcome[&Shift::Stricter]["failed"], 3);
    assert_eq!(found.changed.len(), 42);
    assert_eq!((found.changed[0].number, found.changed[0].shift), (42, Shift::Looser));

    draft.rules[4].then = refuse();
    assert_eq!(run(&draft).refused, 41);
    draft.rules[4].then =
        Then::Ask(Ask { approvals: 2, admin: false, delay_s: 0, valid_s: VALID_S + 1 });
    assert_eq!(run(&draft).mixed, 41);
    // All of them, but no more than some by name.
    draft.rules[1].then = ask(2);
    let all = run(&draft);
    assert_eq!((all.stricter, all.changed.len()), (1158, MAX_EXAMPLES));
}

#[test]
fn a_draft_of_tags_says_nothing_of_changes_whose_tags_are_not_known() {
    let submission = |has_tags| Replayed {
        change: ChangeId(uuid::Uuid::nil()),
        number: 1,
        state: crate::api::ChangeState::Complete,
        case: tagged(&[]),
        has_tags,
        quorum: quorum(RiskLevel::Low, Environment::Prod, false),
    };
    let mut simulation = Simulation::default();
    let draft = document(vec![rule(tag(&["billing"]), ask(3))]);
    simulation.replay(&draft, &submission(false));
    simulation.replay(&draft, &submission(true));
    assert_eq!((simulation.compared, simulation.unknown), (1, 1));
}
