//! What a run was started under, until its first intent; and its time in total, until the last.

use super::*;
use crate::freeze::Dependency;
use crate::run::begin::{Terms, Unbegun};
use crate::run::{Held, UNSTORABLE};

fn later(seconds: i64) -> Timestamp {
    now().plus_seconds(seconds)
}

/// They hold for a minute.
fn terms() -> Terms {
    Terms { until: later(60), window_end: None, project: None, waits_for: Vec::new() }
}

fn missing() -> Vec<Dependency> {
    vec![Dependency { change: ChangeId(Uuid::from_u128(51)), number: Some(3), state: "failed" }]
}

fn intend_under(events: &[E], step: u32, at: Timestamp, terms: Terms) -> Result<Vec<E>, No> {
    let C::Intend { key, before, in_the_way, held, .. } = intend(step, 1) else { unreachable!() };
    let terms = Some(terms);
    let command = C::Intend { step, epoch: 1, key, before, in_the_way, held, terms };
    Run::decide(&given(events), Asked { by: Principal::SYSTEM, at, command })
}

/// Each that does not hold, with the moment, the code and a piece of the sentence.
fn broken() -> Vec<(Terms, i64, &'static str, &'static str)> {
    let window = || Terms { window_end: Some(later(10)), ..terms() };
    vec![
        (terms(), 60, "run.approval_expired", "approvals ran out at"),
        (terms(), 3600, "run.approval_expired", "approvals ran out at"),
        (window(), 10, "run.window_over", "window ended at"),
        (
            Terms { project: Some("going back"), ..terms() },
            0,
            "run.project_stopped",
            "its project is going back",
        ),
        (Terms { waits_for: missing(), ..terms() }, 0, "run.dependency_missing", "#3 (failed)"),
    ]
}

#[test]
fn nothing_begins_under_what_no_longer_holds() {
    let window = Terms { window_end: Some(later(10)), ..terms() };
    for (terms, at) in [(terms(), 0), (terms(), 59), (window, 9)] {
        assert_eq!(intend_under(&run(&[]), 0, later(at), terms), Ok(vec![intended(0)]));
    }
    for (terms, at, code, words) in broken() {
        let no = intend_under(&run(&[]), 0, later(at), terms).unwrap_err();
        assert_eq!(no.code(), code);
        assert!(no.to_string().contains(words) && no.to_string().contains("nothing was sent"));
        assert!(matches!(no, No::NotBegun { why } if why.code() == code));
    }
}

/// It began in time, and half of it is the worse half.
#[test]
fn what_has_begun_goes_on_whatever_it_was_started_under() {
    let tried = [intended(0), unknown(0), reconciled(0, Finding::NotApplied)];
    for (terms, at, ..) in broken() {
        let next = intend_under(&run(&done(0)), 1, later(at), terms.clone());
        assert_eq!(next, Ok(vec![intended(1)]));
        let again = intend_under(&run(&tried), 0, later(at), terms);
        assert_eq!(again, Ok(vec![attempted(0, 1, 2)]));
    }
}

/// Of a rollout that was stopped the parts say that it was, whatever else has run out meanwhile.
#[test]
fn a_stop_and_a_pause_come_first() {
    let stopped = Held::Stopped { reason: UNSTORABLE.to_owned() };
    for (held, code) in [(Held::Paused, "rollout.paused"), (stopped, "rollout.stopped")] {
        let C::Intend { step, epoch, key, before, in_the_way, .. } = intend(0, 1) else {
            unreachable!()
        };
        let (held, terms) = (Some(held), Some(terms()));
        let command = C::Intend { step, epoch, key, before, in_the_way, held, terms };
        let asked = Asked { by: Principal::SYSTEM, at: later(60), command };
        assert_eq!(Run::decide(&given(&run(&[])), asked).unwrap_err().code(), code);
    }
}

fn limited(then: &[E]) -> Vec<E> {
    let Plan { header, steps, checks, computed_at, .. } = *plan();
    let header = PlanHeader { limit_s: Some(100), ..header };
    run_of(Box::new(Plan::new(header, steps, checks, computed_at)), None, then)
}

#[test]
fn no_step_begins_once_the_time_in_total_is_over() {
    let forever = || Terms { until: later(100_000), ..terms() };
    let tried = [intended(0), unknown(0), reconciled(0, Finding::NotApplied)];
    for (then, step, done) in [(Vec::new(), 0, 0), (tried.to_vec(), 0, 0), (done(0), 1, 1)] {
        assert!(intend_under(&limited(&then), step, later(99), forever()).is_ok());
        for at in [100, 5000] {
            let no = intend_under(&limited(&then), step, later(at), forever()).unwrap_err();
            assert_eq!(no, No::TimeOver { end: later(100), done, of: 2 });
            assert_eq!(no.code(), "run.time_over");
        }
        // Plans from before there was a limit have none.
        assert!(intend_under(&run(&then), step, later(5000), forever()).is_ok());
    }
    let words = No::TimeOver { end: later(100), done: 1, of: 2 }.to_string();
    assert!(words.starts_with("Total time over") && words.contains("1 of 2 steps are done"));
    // What is under way comes to its end.
    let late = Asked { by: Principal::SYSTEM, at: later(5000), command: succeed(0, 1) };
    assert_eq!(Run::decide(&given(&limited(&[intended(0)])), late), Ok(vec![succeeded(0)]));
    let why = Unbegun::WindowOver { end: later(1) };
    assert_eq!(No::NotBegun { why }.code(), "run.window_over");
}
