//! One sentence per event: what happened, without who and when, which stand beside it.
//!
//! No personal data and no secret: free texts of people (titles, reasons, comments) stay in the
//! payload, where those who may read it find them.

use nexplane_core::actor::Role;
use nexplane_core::asset::event::AssetEvent;
use nexplane_core::calendar::event::{CalendarEvent, Scope};
use nexplane_core::change::event::{ChangeEvent, Draft, Found};
use nexplane_core::connection::event::{ConnectionEvent, Limits, Purpose};
use nexplane_core::event::Event;
use nexplane_core::gateway::event::GatewayEvent;
use nexplane_core::host::event::HostEvent;
use nexplane_core::id::ChangeId;
use nexplane_core::job::RefusalCode;
use nexplane_core::manifest::event::ManifestEvent;
use nexplane_core::person::event::{PersonEvent, TokenKind};
use nexplane_core::policy::event::PolicyEvent;
use nexplane_core::project::event::ProjectEvent;
use nexplane_core::refusal::Cause;
use nexplane_core::rollout::event::{RolloutEvent, Tally};
use nexplane_core::run::event::{Finding, RunEvent, RunOutcome};
use nexplane_core::schedule::event::{ScheduleEvent, Skip, Timing};

/// What happened, in one sentence.
pub fn summary(event: &Event) -> String {
    match event {
        Event::Asset(event) => asset(event),
        Event::Calendar(event) => calendar(event),
        Event::Change(event) => change(event),
        Event::Connection(event) => connection(event),
        Event::Gateway(event) => gateway(event),
        Event::Host(event) => host(event),
        Event::Manifest(ManifestEvent::PageAdded { change: _, steps }) => {
            format!("Wrote down {} of a plan.", count(steps.len(), "step"))
        }
        Event::Person(event) => person(event),
        Event::Policy(event) => policy(event),
        Event::Rollout(event) => rollout(event),
        Event::Project(event) => project(event),
        Event::Run(event) => run(event),
        Event::Schedule(event) => schedule(event),
    }
}

fn asset(event: &AssetEvent) -> String {
    use AssetEvent as E;
    match event {
        E::Discovered { asset_type, external_key, .. } => {
            format!("Discovered {asset_type} {external_key}.")
        }
        E::Drifted { facts, explained_by: Some(_) } => {
            format!("{} changed, as a change explains.", facts.name)
        }
        E::Drifted { facts, explained_by: None } => {
            format!("{} changed, and no change here explains it.", facts.name)
        }
        E::Gone {} => "The asset is gone from its target.".to_owned(),
        E::Returned { facts } => format!("{} is there again.", facts.name),
        E::Annotated { owner: _, tags, critical, environment } => format!(
            "Annotated the asset: {}, {}{}.",
            if *critical { "critical" } else { "not critical" },
            count(tags.len(), "tag"),
            environment.map_or_else(String::new, |label| format!(", {}", label.as_str()))
        ),
    }
}

fn calendar(event: &CalendarEvent) -> String {
    use CalendarEvent as E;
    match event {
        E::FreezeDeclared { freeze: _, scope, start, end, reason: _ } => {
            format!("Declared a freeze of {} from {start} until {end}.", covered(scope))
        }
        E::FreezeEnded { freeze: _, reason: _ } => "Ended a freeze before its time.".to_owned(),
        E::WindowDefined { window: _, name, scope, slots } => format!(
            "Defined the maintenance window “{name}” of {}: {} in {}, for {} minutes.",
            covered(scope),
            slots.cron,
            slots.zone,
            slots.duration_s / 60
        ),
        E::WindowRemoved { window: _, reason: _ } => "Removed a maintenance window.".to_owned(),
    }
}

fn covered(scope: &Scope) -> String {
    match scope {
        Scope::All => "every change".to_owned(),
        Scope::Environment { environment } => format!("changes in {}", environment.as_str()),
        Scope::Tag { tag } => format!("changes to assets tagged {tag}"),
    }
}

fn policy(event: &PolicyEvent) -> String {
    let PolicyEvent::Published { version, document, note: _ } = event;
    format!("Published policy version {version}, of {}.", count(document.rules.len(), "rule"))
}

fn change(event: &ChangeEvent) -> String {
    use ChangeEvent as E;
    match event {
        E::Drafted { draft, rollback_of: None } => format!("Drafted {}.", about(draft)),
        E::Drafted { draft, rollback_of: Some(_) } => {
            format!("Drafted the rollback of a change: {}.", about(draft))
        }
        E::MadeBySchedule { editors, schedule: _ } if editors.is_empty() => {
            "A schedule made the change.".to_owned()
        }
        E::MadeBySchedule { editors, schedule: _ } => format!(
            "A schedule made the change, of a template that {} edited.",
            if editors.len() == 1 {
                "1 person".to_owned()
            } else {
                format!("{} people", editors.len())
            }
        ),
        E::JoinedProject { project: _ } => "The change joined a project.".to_owned(),
        E::Edited { draft } => format!("Edited the change: {}.", about(draft)),
        E::Planned { plan } => {
            let failed = plan.checks.iter().filter(|check| !check.ok).count();
            let steps = plan.parts.as_ref().map_or(plan.steps.len(), |parts| parts.count as usize);
            let steps = count(steps, "step");
            if failed == 0 {
                format!("Planned {steps}, every check passed.")
            } else {
                format!("Planned {steps}, {} did not pass.", count(failed, "check"))
            }
        }
        E::Submitted { environment, risk, quorum, .. } => format!(
            "Submitted for {} in {}: risk {} ({}), {}.",
            if quorum.approvals == 0 { "execution" } else { "approval" },
            environment.as_str(),
            risk.score,
            risk.level.as_str(),
            quorum.rule
        ),
        E::ApprovalGiven { as_admin: false, delegator: Some(_), .. } => {
            "Approved the plan for somebody who delegated it.".to_owned()
        }
        E::ApprovalGiven { as_admin: true, delegator: Some(_), .. } => {
            "Approved the plan for an admin who delegated it.".to_owned()
        }
        E::ApprovalGiven { as_admin: false, .. } => "Approved the plan.".to_owned(),
        E::ApprovalGiven { as_admin: true, .. } => "Approved the plan, as an admin.".to_owned(),
        E::Approved { until, .. } => format!("The plan is approved, until {until}."),
        E::Rejected { .. } => "Rejected the plan.".to_owned(),
        E::Withdrawn {} => "Withdrew the change from review.".to_owned(),
        E::Cancelled { .. } => "Cancelled the change.".to_owned(),
        E::Expired {} => "The approvals ran out.".to_owned(),
        E::FreezeOverridden { .. } => "Overrode a freeze for this change.".to_owned(),
        E::WindowOverridden { .. } => {
            "Let this change run outside of maintenance windows.".to_owned()
        }
        E::GlassBroken { .. } => "Broke glass for the plan, instead of approvals.".to_owned(),
        E::Scheduled { opens, asked_by: _ } => format!("Scheduled its execution for {opens}."),
        E::Unscheduled { reason } => format!("Took its execution out of the schedule: {reason}"),
        E::ExecutionStarted { .. } => "Started the execution.".to_owned(),
        E::UndoLimited { until, run: _ } => {
            format!("What the change did can be undone until {until}.")
        }
        E::Completed { secrets, .. } => ended("The change is complete", secrets.len()),
        E::Failed { secrets, .. } => ended("The change failed", secrets.len()),
        E::OutcomeUnknown { secrets, .. } => {
            ended("What became of the change is unknown", secrets.len())
        }
        E::Settled { finding: Found::Applied, .. } => {
            "Found, by looking at the target, that the change was applied.".to_owned()
        }
        E::Settled { finding: Found::NotApplied, .. } => {
            "Found, by looking at the target, that the change was not applied.".to_owned()
        }
        E::RollbackStarted { .. } => "Its rollback began.".to_owned(),
        E::RolledBack { .. } => "The change is rolled back.".to_owned(),
        E::RollbackPartial { .. } => "Only a part was rolled back.".to_owned(),
        E::RollbackBlocked { .. } => {
            "The rollback was blocked before anything was undone.".to_owned()
        }
        E::Reviewed { .. } => "Reviewed what was done in spite of a freeze.".to_owned(),
        E::SecretRevealed { .. } => "Handed a produced secret over.".to_owned(),
    }
}

fn about(draft: &Draft) -> String {
    format!("{} on {}", draft.change_type, count(draft.targets.len(), "target"))
}

fn ended(what: &str, secrets: usize) -> String {
    match secrets {
        0 => format!("{what}."),
        n => format!("{what}; it produced {}.", count(n, "secret")),
    }
}

fn connection(event: &ConnectionEvent) -> String {
    use ConnectionEvent as E;
    match event {
        E::Created { name, connector, environment, .. } => {
            format!("Created the {connector} connection {name} ({}).", environment.as_str())
        }
        E::Renamed { name } => format!("Renamed the connection to {name}."),
        E::Relabelled { environment } => {
            format!("Labelled the connection {}.", environment.as_str())
        }
        E::Limited { limits: Limits { sessions, per_minute } } => {
            let sessions = count(usize::try_from(*sessions).unwrap_or(usize::MAX), "session");
            let pace = per_minute.map_or_else(String::new, |count| format!(", {count} a minute"));
            format!("Limited the connection to {sessions} at a time{pace}.")
        }
        E::DiscoveryScheduled { every_s: Some(every_s) } => {
            format!("Had the connection discovered every {every_s} s.")
        }
        E::DiscoveryScheduled { every_s: None } => {
            "Had the connection discovered only when somebody asks.".to_owned()
        }
        E::CredentialsReplaced { .. } => "Replaced the connection's credentials.".to_owned(),
        E::Removed {} => "Removed the connection.".to_owned(),
        E::Tested { ok: true, checks } => {
            format!("Tested the connection: {} passed.", count(checks.len(), "check"))
        }
        E::Tested { ok: false, checks } => {
            let failed = checks.iter().filter(|check| !check.ok).count();
            format!(
                "Tested the connection: {failed} of {} did not pass.",
                count(checks.len(), "check")
            )
        }
        E::Discovered { found, new, changed, gone, .. } => {
            format!("Discovered {found} assets: {new} new, {changed} changed, {gone} gone.")
        }
        E::DiscoveryFailed { kind, .. } => format!("Discovery failed: {kind}."),
        E::CredentialsOpened { purpose, reads_for, .. } => format!(
            "Opened the connection's credentials to {}{}.",
            if reads_for.is_some() { "read a secret of another connection, to " } else { "" },
            match (purpose, reads_for) {
                (Purpose::Test, None) => "test it",
                (Purpose::Test, Some(_)) => "test that",
                (Purpose::Discover, _) => "discover assets",
                (Purpose::Plan, _) => "plan a change",
                (Purpose::Execute, _) => "execute a change",
            }
        ),
    }
}

fn host(event: &HostEvent) -> String {
    use HostEvent as E;
    match event {
        E::Enrolled { hostname, agent_version, .. } => {
            format!("Host {hostname} enrolled with agent {agent_version}.")
        }
        E::Renewed { certificate } => {
            format!("The agent's certificate was renewed until {}.", certificate.not_after)
        }
        E::CameOnline {} => "The host came online.".to_owned(),
        E::WentOffline { .. } => "The host went offline.".to_owned(),
        E::PolicyChanged { policy_hash: Some(_) } => {
            "The host owner changed the agent's local policy.".to_owned()
        }
        E::PolicyChanged { policy_hash: None } => {
            "The host owner removed the agent's local policy.".to_owned()
        }
        E::AgentChanged { agent_version } => {
            format!("The host's agent runs in version {agent_version}.")
        }
        E::Locked { .. } => "The host was locked: it gets no more jobs.".to_owned(),
        E::Revoked { .. } => "The host was revoked.".to_owned(),
        E::Refused { cause, count, since: _, source } => {
            refused("The gateway refused an agent as this host", *cause, *count, source.as_deref())
        }
        E::OrderRefused { code, count, .. } => {
            format!("The host's agent refused {}: {}.", orders(*count), why(*code))
        }
        E::OrderDistrusted { code, count, .. } => format!(
            "The host's agent got {} that it did not take for this control plane's: {}.",
            orders(*count),
            why(*code)
        ),
    }
}

fn gateway(event: &GatewayEvent) -> String {
    let GatewayEvent::Refused { cause, count, since: _, source } = event;
    refused("The gateway refused somebody", *cause, *count, source.as_deref())
}

fn refused(who: &str, cause: Cause, count: u64, source: Option<&str>) -> String {
    let from = source.map_or_else(String::new, |network| format!(" from {network}"));
    let times = if count == 1 { String::new() } else { format!(", {count} times") };
    let why = match cause {
        Cause::CertificateForeign => "its certificate is not of this installation's authority",
        Cause::CertificateMisnamed => "its certificate names no host of this installation",
        Cause::CertificateMissing => "there was no certificate",
        Cause::CertificateExpired => "its certificate has ended",
        Cause::ClockWrong => {
            "at its time the gateway's own certificate is not valid, so its clock is probably wrong"
        }
        Cause::KeyNotProven => "the certificate was shown without its key",
        Cause::HostUnknown => "the host, or its key, is not known",
        Cause::HostLocked => "the host is locked",
        Cause::HostRevoked => "the host was revoked",
        Cause::KeyShared => "two agents use one key",
        Cause::KeyOfAnother => "the key belongs to another host",
        Cause::NamesRequested => {
            "it asked for names of its own in its certificate, which was issued without them"
        }
        Cause::RequestInvalid => "the certificate request is not valid",
        Cause::ReceiptForged => "a receipt was not signed by the host",
        Cause::ReceiptMisdirected => "a receipt was for another host or job",
        Cause::ReceiptForked => "a receipt contradicts the ones before it",
        Cause::TokenUnknown => "there is no such enrolment token",
        Cause::TokenUsed => "the enrolment token was used before",
        Cause::TokenExpired => "the enrolment token has expired",
        Cause::TokenForAnother => "the enrolment token is for another host",
    };
    format!("{who}{from}{times}: {why}.")
}

fn orders(count: u64) -> String {
    if count == 1 { "an order".to_owned() } else { format!("{count} orders") }
}

fn why(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::Unreadable => "not readable",
        RefusalCode::WrongHost => "for another host",
        RefusalCode::BadSignature => "the signature is not valid",
        RefusalCode::Replayed => "given before, or out of sequence",
        RefusalCode::NotYetValid => "too early",
        RefusalCode::Expired => "too late",
        RefusalCode::PlanMismatch => "not what was approved",
        RefusalCode::LocalPolicy => "the host's owner does not allow it",
        RefusalCode::Drift => "the target is not as it was planned for",
        RefusalCode::UnknownOperation => "no such operation",
        RefusalCode::InvalidParameters => "the parameters are not valid",
        RefusalCode::CheckFailed => "a check did not pass",
        RefusalCode::NoSnapshot => "the state before cannot be captured",
    }
}

fn person(event: &PersonEvent) -> String {
    use PersonEvent as E;
    match event {
        E::Added { roles } => format!("Added a person: {}.", names(roles)),
        E::RolesChanged { roles } => format!("Changed a person's roles to: {}.", names(roles)),
        E::Disabled {} => "Disabled a person's account.".to_owned(),
        E::Enabled {} => "Enabled a person's account.".to_owned(),
        E::PasswordSet {} => "Set a password.".to_owned(),
        E::SignedIn { .. } => "Signed in.".to_owned(),
        E::SignedOut { .. } => "Signed out.".to_owned(),
        E::TokenCreated { kind: TokenKind::User, .. } => "Created an API token.".to_owned(),
        E::TokenCreated { kind: TokenKind::Machine, .. } => {
            "Created an API token for a machine.".to_owned()
        }
        E::TokenRevoked { .. } => "Revoked an API token.".to_owned(),
        E::AgentInvited { hostname: Some(hostname), .. } => {
            format!("Made an enrolment token for {hostname}.")
        }
        E::ApprovalsDelegated { from, until, .. } => {
            format!("Delegated approving to somebody from {from} until {until}.")
        }
        E::DelegationEnded { .. } => "Ended a delegation of approving.".to_owned(),
        E::AgentInvited { hostname: None, .. } => "Made an enrolment token.".to_owned(),
    }
}

fn rollout(event: &RolloutEvent) -> String {
    use RolloutEvent as E;
    match event {
        E::Started { size, undoes: None, .. } => format!("The rollout to {size} targets began."),
        E::Started { size, undoes: Some(_), .. } => {
            format!("The rollout that undoes {size} targets began.")
        }
        E::BatchBegun { no: 0, count, .. } => format!("The canary of {count} began."),
        E::BatchBegun { no, count, .. } => format!("Batch {no} of {count} began."),
        E::BatchEnded { no: 0, tally, .. } => format!("The canary ended: {}.", tallied(tally)),
        E::BatchEnded { no, tally, .. } => format!("Batch {no} ended: {}.", tallied(tally)),
        E::Paused { reason: _ } => "The rollout was paused.".to_owned(),
        E::Resumed {} => "The rollout goes on.".to_owned(),
        E::Stopped { reason: _ } => "The rollout was stopped.".to_owned(),
        E::Finished { outcome, reason: _, tally } => {
            format!("The rollout ended {}: {}.", outcome.as_str(), tallied(tally))
        }
    }
}

fn tallied(tally: &Tally) -> String {
    let Tally { complete, failed, unknown, not_started } = tally;
    format!("{complete} complete, {failed} failed, {unknown} unknown, {not_started} not started")
}

fn run(event: &RunEvent) -> String {
    use RunEvent as E;
    match event {
        E::Started { plan, undoes: None, .. } => {
            format!("The run of {} began.", count(plan.steps.len(), "step"))
        }
        E::Started { plan, undoes: Some(_), .. } => {
            format!("The run that undoes {} began.", count(plan.steps.len(), "step"))
        }
        E::Claimed { epoch, .. } => format!("A worker claimed the run (epoch {epoch})."),
        E::StepIntended { step, attempt: 1, .. } => {
            format!("Step {} is about to be sent.", no(*step))
        }
        E::StepIntended { step, attempt, .. } => {
            format!("Step {} is about to be sent, attempt {attempt}.", no(*step))
        }
        E::StepSucceeded { step, produced, .. } => {
            ended(&format!("Step {} succeeded", no(*step)), produced.len())
        }
        E::StepFailed { step, reason, .. } => {
            format!("Step {} failed ({}); nothing changed.", no(*step), reason.kind)
        }
        E::StepUnknown { step, reason, .. } => {
            format!("What became of step {} is unknown ({}).", no(*step), reason.kind)
        }
        E::StepReconciled { step, finding, .. } => format!(
            "Reading the target settled step {}: {}.",
            no(*step),
            match finding {
                Finding::Applied => "it had its effect",
                Finding::NotApplied => "it had no effect",
                Finding::Conflict => "the target is neither as it was nor as intended",
            }
        ),
        E::StepVerified { step, .. } => {
            format!("Step {} is verified: the target is as intended.", no(*step))
        }
        E::StepUnverified { step, reason, .. } => {
            format!("Step {} is not as intended ({}).", no(*step), reason.kind)
        }
        E::StepBlocked { step, reason, .. } => {
            format!("Step {} was blocked ({}); nothing was sent.", no(*step), reason.kind)
        }
        E::CancelAsked { reason: _ } => "Asked that no further step begins.".to_owned(),
        E::LateReported { step, epoch, report } => format!(
            "A worker whose turn was over (epoch {epoch}) said of step {}: {}. That is evidence only.",
            no(*step),
            report.as_str()
        ),
        E::Finished { outcome, secrets, .. } => ended(
            match outcome {
                RunOutcome::Complete => "The run is complete",
                RunOutcome::Failed => "The run failed",
                RunOutcome::OutcomeUnknown => "The run ended with an unknown outcome",
                RunOutcome::RollbackPartial => "The run undid only a part",
                RunOutcome::RollbackBlocked => "The run was blocked and undid nothing",
            },
            secrets.len(),
        ),
    }
}

fn project(event: &ProjectEvent) -> String {
    use ProjectEvent as E;
    let after = |after: &[ChangeId]| match after.len() {
        0 => "which comes after no other".to_owned(),
        n => format!("which comes after {}", count(n, "other")),
    };
    match event {
        E::Created { name, description: _ } => format!("Created the project {name}."),
        E::Renamed { name, description: _ } => format!("Renamed the project: {name}."),
        E::MemberAdded { change: _, after: before } => {
            format!("Added a change to the project, {}.", after(before))
        }
        E::MemberRemoved { change: _ } => "Removed a change from the project.".to_owned(),
        E::DependenciesChanged { change: _, after: before } => {
            format!("Changed what a member comes after: a change {}.", after(before))
        }
        E::ExecutionAsked {} => "Asked for the execution of the project.".to_owned(),
        E::Blocked { .. } => "The project stopped at a change.".to_owned(),
        E::Completed {} => "Every member of the project is complete.".to_owned(),
        E::GoingBack { reason: _ } => {
            "Asked for the project to go back: what was applied of it is undone, newest first."
                .to_owned()
        }
        E::BackBlocked { .. } => "The project's going back stopped at a change.".to_owned(),
        E::WentBack {} => "Nothing that was applied of the project stands.".to_owned(),
        E::Closed { reason: _ } => "Closed the project.".to_owned(),
    }
}

fn schedule(event: &ScheduleEvent) -> String {
    use ScheduleEvent as E;
    match event {
        E::Created { template, timing } => format!(
            "Created a schedule of {} on {}: {}.",
            template.change_type,
            count(template.targets.len(), "target"),
            when(timing)
        ),
        E::Edited { template, timing } => format!(
            "Edited the schedule: {} on {}, {}.",
            template.change_type,
            count(template.targets.len(), "target"),
            when(timing)
        ),
        E::Paused { reason: _ } => "Paused the schedule.".to_owned(),
        E::Resumed {} => "Resumed the schedule.".to_owned(),
        E::Deleted { reason: _ } => "Deleted the schedule.".to_owned(),
        E::Fired { tick, change: _ } => format!("The tick of {tick} came, and a change is made."),
        E::Skipped { tick, ticks, why } => match why {
            Skip::Missed => format!(
                "Skipped {} until {tick}, which nobody was there for.",
                count(usize::try_from(*ticks).unwrap_or(usize::MAX), "tick")
            ),
            Skip::Open { change: _ } => {
                format!("Skipped the tick of {tick}: the change before it has not ended.")
            }
            Skip::Owner { problem: _ } => {
                format!("Skipped the tick of {tick}: its owner may not propose changes.")
            }
        },
        E::Stalled { change: _, reason: _ } => {
            "The change of the last tick could not be prepared.".to_owned()
        }
    }
}

fn when(timing: &Timing) -> String {
    format!("{} in {}", timing.cron, timing.zone)
}

/// Steps are counted from 1 for people.
fn no(step: u32) -> u64 {
    u64::from(step) + 1
}

fn names(roles: &[Role]) -> String {
    if roles.is_empty() {
        return "no role".to_owned();
    }
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
