//! Every command in every phase of a run and of its first step, and by everybody.

use super::*;

/// What each order of the newest epoch leads to in each phase of the first of two steps:
///
/// `+` it happens, `=` it is so already, `x` exists, `?` not found, `!` the step is not in this
/// state, `f` fenced off, `.` its steps have not come to an end, `e` the run has ended.
const ANSWERS: &str = "
                  absent
                  | unclaimed
                  | | planned
                  | | | intended
                  | | | | succeeded
                  | | | | | verified
                  | | | | | | unverified
                  | | | | | | | failed
                  | | | | | | | | unknown
                  | | | | | | | | | found applied
                  | | | | | | | | | | found not applied
                  | | | | | | | | | | | found in conflict
                  | | | | | | | | | | | | blocked
                  | | | | | | | | | | | | | finished
start             + x x x x x x x x x x x x x
claim             ? f + + + + + + + + + + + e
intend            ? f + ! ! ! ! ! ! ! + ! ! e
succeed           ? f ! + ! ! ! ! ! ! ! ! ! e
fail              ? f ! + ! ! ! ! ! ! ! ! ! e
lose sight        ? f ! + ! ! ! ! ! ! ! ! ! e
reconcile         ? f ! ! ! ! ! ! + ! ! ! ! e
verify            ? f ! ! + ! ! ! ! + ! ! ! e
unverify          ? f ! ! + ! ! ! ! + ! ! ! e
block             ? f + ! ! ! ! ! ! ! + ! ! e
finish            ? f . . . . + + + . . + + =
";

fn sign(answer: &Result<Vec<E>, No>) -> char {
    match answer {
        Ok(events) if events.is_empty() => '=',
        Ok(_) => '+',
        Err(no) => match no.code() {
            "not_found" => '?',
            "run.exists" => 'x',
            "run.fenced" => 'f',
            "run.finished" => 'e',
            "run.not_over" => '.',
            "run.step_not_in_state" => '!',
            _ => '#',
        },
    }
}

/// The rows of the table, without those that head its columns.
fn rows() -> impl Iterator<Item = &'static str> {
    ANSWERS.lines().filter(|line| line.starts_with(char::is_alphabetic))
}

fn every_phase() -> Vec<Vec<E>> {
    let unknown = |then: &[E]| {
        let mut events = run(&[intended(0), unknown(0)]);
        events.extend_from_slice(then);
        events
    };
    let mut over = run(&[intended(0), failed(0)]);
    over.push(finished(RunOutcome::Failed));
    vec![
        Vec::new(),
        vec![started_with(plan(), None)],
        run(&[]),
        run(&[intended(0)]),
        run(&[intended(0), succeeded(0)]),
        run(&done(0)),
        run(&[intended(0), succeeded(0), unverified(0)]),
        run(&[intended(0), failed(0)]),
        unknown(&[]),
        unknown(&[reconciled(0, Finding::Applied)]),
        unknown(&[reconciled(0, Finding::NotApplied)]),
        unknown(&[reconciled(0, Finding::Conflict)]),
        run(&[blocked(0)]),
        over,
    ]
}

fn every_command() -> Vec<(&'static str, C)> {
    let mut commands = vec![("start", start()), ("claim", claim(1))];
    commands.extend(every_order(0, 1));
    commands
}

#[test]
fn every_command_has_an_answer_in_every_phase() {
    assert_eq!(rows().count(), every_command().len());
    for (expected, (name, command)) in rows().zip(every_command()) {
        let row = every_phase().iter().fold(format!("{name:<17}"), |row, events| {
            format!("{row} {}", sign(&when(events, command.clone())))
        });
        assert_eq!(row, expected);
    }
}

/// Not even with every role: who may ask for an execution asks the change.
#[test]
fn only_the_runtime_gives_orders() {
    let roles = Role::ALL.to_vec();
    for actor in [Actor::user(ANN), Actor::machine(ANN), Actor::agent(HostId(Uuid::from_u128(7)))] {
        for events in every_phase() {
            for (name, command) in every_command() {
                let by = Principal { actor, roles: roles.clone() };
                let refused = when_by(&events, by, command);
                assert_eq!(refused, Err(No::Denied), "{name}");
            }
        }
    }
    assert_eq!(No::Denied.code(), "access.denied");
}

/// The states' names stand in sentences that people read.
#[test]
fn every_phase_of_a_step_has_a_name() {
    let phases = every_phase();
    let names = phases[2..=12].iter().map(|events| running(events).unwrap().steps[0].name());
    let expected = [
        "planned",
        "intended",
        "done but not verified",
        "verified",
        "done but not as intended",
        "failed",
        "of unknown outcome",
        "reconciled",
        "reconciled",
        "reconciled",
        "blocked",
    ];
    assert!(names.eq(expected));
}
