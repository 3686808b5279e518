//! Every command in every phase, and by everybody.

use super::*;

/// What each command, given by somebody who may, leads to in each phase:
///
/// `+` it happens, `=` it is so already, `x` exists, `?` not found, `!` not in this state,
/// `p` no plan yet, `q` no quorum yet, `n` no review due.
const ANSWERS: &str = "
                  absent
                  | draft
                  | | planned
                  | | | submitted
                  | | | | approved
                  | | | | | scheduled
                  | | | | | | executing
                  | | | | | | | complete
                  | | | | | | | | failed
                  | | | | | | | | | unknown
                  | | | | | | | | | | rolling back
                  | | | | | | | | | | | rolled back
                  | | | | | | | | | | | | partial
                  | | | | | | | | | | | | | blocked
                  | | | | | | | | | | | | | | rejected
                  | | | | | | | | | | | | | | | cancelled
                  | | | | | | | | | | | | | | | | expired
draft             + x x x x x x x x x x x x x x x x
draft on schedule + x x x x x x x x x x x x x x x x
draft by project  + x x x x x x x x x x x x x x x x
give up           ? d d ! ! ! ! ! ! ! ! ! ! ! ! ! !
join project      ? + + + + + ! + ! ! ! ! ! ! ! ! !
on behalf         ? d d d d d d d d d d d d d d d d
edit              ? + + + + + ! ! ! ! ! ! ! ! ! ! !
record plan       ? + + + + + ! ! ! ! ! ! ! ! ! ! !
submit            ? p + ! ! ! ! ! ! ! ! ! ! ! ! ! !
approve           ? ! ! + ! ! ! ! ! ! ! ! ! ! ! ! !
approve for       ? ! ! + ! ! ! ! ! ! ! ! ! ! ! ! !
reject            ? ! ! + + + ! ! ! ! ! ! ! ! ! ! !
withdraw          ? ! ! + + + ! ! ! ! ! ! ! ! ! ! !
cancel            ? + + + + + ! ! ! ! ! ! ! ! ! ! !
expire            ? = = = + + = = = = = = = = = = =
override freeze   ? ! ! + + + ! ! ! ! ! ! ! ! ! ! !
override window   ? ! ! + + + ! ! ! ! ! ! ! ! ! ! !
break glass       ? ! ! + ! ! ! ! ! ! ! ! ! ! ! ! !
execute           ? ! ! q + + ! ! ! ! ! ! ! ! ! ! !
start scheduled   ? ! ! ! ! + ! ! ! ! ! ! ! ! ! ! !
unschedule        ? = = = = + = = = = = = = = = = =
go back           + x x x x x x x x x x x x x x x x
start back        ? ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! !
record outcome    ? ! ! ! ! ! + = = = = = = = ! ! !
settle            ? ! ! ! ! ! ! ! ! + ! ! ! ! ! ! !
start rollback    ? ! ! ! ! ! ! + + ! = ! + + ! ! !
record rollback   ? ! ! ! ! ! ! = = = + = = = ! ! !
review            ? ! ! ! ! ! ! n n n n n n n n n n
reveal            ? ? ? ? ? ? ? + + + + + + + ? ? ?
";

/// Who may give each command where it is possible at all:
///
/// `+` accepted, `d` access denied, `o` one's own. `operator` to `viewer` have that one role and
/// nothing to do with the change; author and editor have every role, and so do machine tokens.
const RIGHTS: &str = "
                  author
                  | editor
                  | | operator
                  | | | approver
                  | | | | admin
                  | | | | | responder
                  | | | | | | auditor
                  | | | | | | | viewer
                  | | | | | | | | machine of the author
                  | | | | | | | | | machine of an approver
                  | | | | | | | | | | agent
                  | | | | | | | | | | | system
draft             + + + d d d d d + + d d
draft on schedule + + + d d d d d + + d d
draft by project  + + + d d d d d + + d d
give up           d d d d d d d d d d d +
join project      + + + d d d d d d d d d
on behalf         d d d d d d d d d d d +
edit              + + + d d d d d + + d d
record plan       + + + d d d d d + + d d
submit            + + + d d d d d d d d d
approve           o o d + d d d d d d d d
approve for       o o + + + + + + d d d d
reject            o o d + d d d d d d d d
withdraw          + + d d d d d d d d d d
cancel            + + d d d d d d d d d d
expire            d d d d d d d d d d d +
override freeze   o o d d d + d d d d d d
override window   o o d d d + d d d d d d
break glass       o o d d d + d d d d d d
execute           + + + d d d d d d d d d
start scheduled   d d d d d d d d d d d +
unschedule        d d d d d d d d d d d +
go back           d d d d d d d d d d d +
start back        d d d d d d d d d d d +
record outcome    d d d d d d d d d d d +
settle            o o + d + d d d d d d d
start rollback    d d d d d d d d d d d +
record rollback   d d d d d d d d d d d +
review            o o d + + d d d d d d d
reveal            + d d d d d d d d d d d
";

fn sign(answer: &Result<Vec<E>, No>) -> char {
    match answer {
        Ok(events) if events.is_empty() => '=',
        Ok(_) => '+',
        Err(no) => match no.code() {
            "access.denied" => 'd',
            "change.exists" => 'x',
            "change.not_in_state" => '!',
            "change.no_review_due" => 'n',
            "change.own_approval"
            | "change.own_override"
            | "change.own_review"
            | "change.own_settlement" => 'o',
            "change.plan_missing" => 'p',
            "change.quorum_missing" => 'q',
            "not_found" => '?',
            _ => '#',
        },
    }
}

/// The rows of a table, without those that head its columns.
fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| line.starts_with(char::is_alphabetic))
}

fn row(name: &str, answers: impl Iterator<Item = char>) -> String {
    answers.fold(format!("{name:<17}"), |row, sign| format!("{row} {sign}"))
}

/// Somebody who may give the command.
fn somebody_for(command: &C) -> Principal {
    match command {
        C::Draft { .. }
        | C::DraftForSchedule { .. }
        | C::DraftForProject { .. }
        | C::Edit { .. }
        | C::RecordPlan { .. } => machine(EVE),
        C::JoinProject { .. } | C::Submit { .. } | C::StartExecution { .. } | C::Settle { .. } => {
            eve()
        }
        C::Approve { .. } | C::Reject { .. } | C::Review { .. } => cat(),
        C::ApproveFor { .. } => user(approval::DELEGATE, &[]),
        C::OverrideFreeze { .. } | C::OverrideWindow { .. } | C::BreakGlass { .. } => {
            user(EVE, &[Role::Responder])
        }
        C::Withdraw | C::Cancel { .. } | C::RevealSecret { .. } => ann(),
        C::Expire
        | C::GiveUp { .. }
        | C::OnBehalf { .. }
        | C::StartScheduled { .. }
        | C::Unschedule { .. }
        | C::GoBack { .. }
        | C::StartBack { .. }
        | C::RecordOutcome { .. }
        | C::StartRollback { .. }
        | C::RecordRollback { .. } => Principal::SYSTEM,
    }
}

/// Late enough for the command to mean something.
fn time_for(command: &C) -> i64 {
    if matches!(command, C::Expire) { APPROVED + VALID } else { NOW }
}

#[test]
fn every_command_has_an_answer_in_every_phase() {
    let phases = every_phase();
    let commands = every_command();
    assert_eq!(rows(ANSWERS).count(), commands.len());
    for (expected, (name, command)) in rows(ANSWERS).zip(commands) {
        let answers = phases.iter().map(|(_, past)| {
            let by = somebody_for(&command);
            sign(&when_at(past, time_for(&command), by, command.clone()))
        });
        assert_eq!(row(name, answers), expected);
    }
}

#[test]
fn every_command_has_its_people() {
    let edited = E::Edited { draft: another_draft() };
    let by_dan = planned().then(&dan(), 15, edited);
    let plan = plan_of(&another_draft(), &[DAN], "can log in");
    let past = |command: &C| match command {
        C::Draft { .. }
        | C::DraftForSchedule { .. }
        | C::DraftForProject { .. }
        | C::GoBack { .. } => Past::default(),
        C::GiveUp { .. } => planned_for_schedule().0,
        C::OnBehalf { .. } => approved_for_schedule(),
        C::RecordPlan { .. } => drafted(),
        C::Edit { .. } => drafted().then(
            &dan(),
            5,
            E::Edited { draft: Draft { title: "Lock".to_owned(), ..draft() } },
        ),
        C::Submit { .. } => by_dan.clone().then(&ann(), 16, planned_event(&plan)),
        C::Approve { .. }
        | C::BreakGlass { .. }
        | C::ApproveFor { .. }
        | C::OverrideFreeze { .. }
        | C::OverrideWindow { .. }
        | C::Reject { .. }
        | C::Withdraw
        | C::Cancel { .. } => {
            let quorum = policy::quorum(RiskLevel::Medium, Environment::Prod, false);
            let planned = by_dan.clone().then(&ann(), 16, planned_event(&plan));
            planned.then(&ann(), 20, submitted_event(&plan, quorum, RiskLevel::Medium))
        }
        C::Expire | C::JoinProject { .. } | C::StartExecution { .. } => approved(),
        C::StartScheduled { .. } | C::Unschedule { .. } => {
            approved().then(&eve(), 40, E::Scheduled { opens: second(200), asked_by: None })
        }
        C::StartBack { .. } => beforehand::made(),
        C::RecordOutcome { .. } => executing(),
        C::Settle { .. } => by_dan
            .clone()
            .then(&ann(), 16, planned_event(&plan))
            .then(
                &ann(),
                20,
                submitted_event(
                    &plan,
                    policy::quorum(RiskLevel::Medium, Environment::Prod, false),
                    RiskLevel::Medium,
                ),
            )
            .then(&bob(), 30, approval_event(&plan, false))
            .then(&bob(), 30, approved_event(&plan, 30, 30 + VALID))
            .then(&eve(), 40, E::ExecutionStarted { run: RUN, digest: plan.digest.clone() })
            .then(
                &Principal::SYSTEM,
                50,
                E::OutcomeUnknown { run: RUN, reason: reason(), secrets: Vec::new() },
            ),
        C::StartRollback { .. } | C::RevealSecret { .. } => complete(),
        C::RecordRollback { .. } => rolling_back(),
        C::Review { .. } => {
            let responder = user(PersonId(Uuid::from_u128(7)), &[Role::Responder]);
            let freeze = FreezeId(Uuid::from_u128(30));
            by_dan
                .clone()
                .then(&ann(), 16, planned_event(&plan))
                .then(
                    &ann(),
                    20,
                    submitted_event(
                        &plan,
                        policy::quorum(RiskLevel::Medium, Environment::Prod, false),
                        RiskLevel::Medium,
                    ),
                )
                .then(&responder, 21, E::FreezeOverridden { freeze, justification: reason() })
                .then(&ann(), 22, E::Cancelled { reason: reason() })
        }
    };
    let stranger = |role| user(PersonId(Uuid::from_u128(6)), &[role]);
    let everybody = [
        ann(),
        dan(),
        stranger(Role::Operator),
        stranger(Role::Approver),
        stranger(Role::Admin),
        stranger(Role::Responder),
        stranger(Role::Auditor),
        stranger(Role::Viewer),
        machine(ANN),
        machine(BOB),
        Principal { actor: Actor::agent(HostId(Uuid::from_u128(7))), roles: Role::ALL.to_vec() },
        Principal::SYSTEM,
    ];
    let commands = every_command();
    assert_eq!(rows(RIGHTS).count(), commands.len());
    for (expected, (name, command)) in rows(RIGHTS).zip(commands) {
        let asked = match name {
            "approve" => approve(&plan),
            "approve for" => approval::approve_for(&plan),
            _ if matches!(command, C::BreakGlass { .. }) => break_glass(&plan),
            _ => command.clone(),
        };
        let answers = everybody.iter().map(|by| {
            sign(&when_at(&past(&command), time_for(&command), by.clone(), asked.clone()))
        });
        assert_eq!(row(name, answers), expected);
    }
}

/// The states' names stand in sentences that people read.
#[test]
fn every_phase_has_a_name() {
    let names: Vec<_> = every_phase().iter().map(|(_, past)| given(past).name()).collect();
    let expected = [
        "absent",
        "a draft",
        "a draft",
        "submitted",
        "approved",
        "scheduled",
        "executing",
        "complete",
        "failed",
        "of unknown outcome",
        "being rolled back",
        "rolled back",
        "partly rolled back",
        "blocked in its rollback",
        "rejected",
        "cancelled",
        "expired",
    ];
    assert_eq!(names, expected);
}

#[test]
fn every_phase_knows_its_subject_and_plan() {
    for (phase, past) in every_phase() {
        let state = given(&past);
        let author = state.subject().map(|subject| subject.author);
        assert_eq!(author, (phase != "absent").then_some(ANN), "{phase}");
        let without = ["absent", "draft", "rejected", "cancelled", "expired"];
        assert_eq!(state.plan().is_none(), without.contains(&phase), "{phase}");
    }
}
