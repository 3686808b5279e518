//! What each role is shown.

use nexplane_core::actor::Role;

use crate::route::Route;

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    At(&'static str),
    /// On the page of a change, whichever the step before led to.
    Change,
    /// Where that change is decided.
    Approve,
    /// On the page of an event.
    Event,
}

impl Place {
    /// Whether a page that was opened is the one.
    pub fn is(self, route: Option<Route>) -> bool {
        match self {
            Self::At(_) => false,
            Self::Change => matches!(route, Some(Route::Change { .. })),
            Self::Approve => matches!(route, Some(Route::Approve { .. })),
            Self::Event => matches!(route, Some(Route::Event { .. })),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub place: Place,
    /// What it points at.
    pub testid: &'static str,
    pub title: &'static str,
    pub text: &'static str,
    /// What it points at leads to the next step.
    pub press: bool,
}

const fn step(place: Place, testid: &'static str, title: &'static str, text: &'static str) -> Step {
    Step { place, testid, title, text, press: false }
}

const fn press(
    address: &'static str,
    testid: &'static str,
    title: &'static str,
    text: &'static str,
) -> Step {
    Step { place: Place::At(address), testid, title, text, press: true }
}

/// The steps for somebody with these roles; none for who can only look.
pub fn steps(roles: &[Role]) -> Vec<Step> {
    let has = |role| roles.contains(&role);
    if has(Role::Admin) {
        ADMIN.to_vec()
    } else if has(Role::Operator) {
        OPERATOR.to_vec()
    } else if has(Role::Approver) {
        APPROVER.to_vec()
    } else if has(Role::Auditor) {
        AUDITOR.to_vec()
    } else {
        Vec::new()
    }
}

const OPERATOR: [Step; 6] = [
    step(
        Place::At("/"),
        "home-next",
        "Your day",
        "What you can go on with comes first: drafts to submit, approved changes to execute. Beside it is the calendar.",
    ),
    press(
        "/changes?state=submitted",
        "change-link",
        "Changes in review",
        "Every row says what it waits for. Open the first one: nothing has happened to its target yet.",
    ),
    step(
        Place::Change,
        "plan",
        "The plan is a diff",
        "It was read from the real target: what is there now, and what will be there. Approvals are for exactly this plan.",
    ),
    step(
        Place::Change,
        "why-not",
        "Why not",
        "You asked for it, so somebody else has to approve it. What you cannot do says why.",
    ),
    press(
        "/changes?state=approved",
        "change-link",
        "Approved",
        "Others have approved this one. Open it: it is ready to be executed.",
    ),
    step(
        Place::Change,
        "action-execute",
        "Execute it",
        "The target is read once more, changed, and read back. Only what was read back is shown in green. Then try to roll it back.",
    ),
];

const APPROVER: [Step; 5] = [
    step(
        Place::At("/"),
        "home-decide",
        "What waits for you",
        "What is due first, then the riskiest, then the oldest. It appears here by itself.",
    ),
    press(
        "/approvals",
        "inbox-link",
        "Approvals",
        "Each shows what it would do. Open the first one.",
    ),
    step(
        Place::Approve,
        "plan",
        "What will happen",
        "The diff against the real target, and the checks that passed. If the target moves, the plan no longer counts.",
    ),
    step(
        Place::Approve,
        "approve-why",
        "Why you",
        "Which rule and which role let you decide, what is still needed, and who else can.",
    ),
    step(
        Place::Approve,
        "decision",
        "Your decision",
        "Approve it, or reject it with a reason. Your approval names the plan's digest, so it cannot be used for another one.",
    ),
];

const AUDITOR: [Step; 6] = [
    step(
        Place::At("/"),
        "home-gaps",
        "What has to be explained",
        "Emergencies and overrides that nobody has reviewed, and outcomes that nobody knows.",
    ),
    press(
        "/audit?type=change.rejected",
        "audit-open",
        "The log",
        "Everything that happened is one event, and none is ever changed. Open this one.",
    ),
    step(
        Place::Event,
        "proof",
        "Proof",
        "Your browser computes whether this event is in the sealed log. It does not take the server's word for it.",
    ),
    press(
        "/changes?state=complete",
        "change-link",
        "A change from start to end",
        "Open one that is complete.",
    ),
    step(
        Place::Change,
        "moments",
        "As it was",
        "Move through its moments: plan, approvals and run as they were then.",
    ),
    step(
        Place::Change,
        "events",
        "Who did what",
        "Each line is an event of the log, with who caused it.",
    ),
];

const ADMIN: [Step; 5] = [
    step(
        Place::At("/"),
        "home-health",
        "Is all well?",
        "Read models, hosts, connections and the seal of the log, in a sentence each. Each leads to more.",
    ),
    step(
        Place::At("/connections"),
        "connection-list",
        "Connections",
        "What changes are made through. A test says for each permission whether it is there.",
    ),
    step(
        Place::At("/changes/new"),
        "action-list",
        "A change",
        "Pick what should happen. Then its targets and a reason; it is planned before anybody is asked.",
    ),
    step(
        Place::At("/calendar"),
        "freeze-declare",
        "The calendar",
        "Declare a freeze, and nothing is approved or executed until it ends.",
    ),
    step(
        Place::At("/people"),
        "person-list",
        "People",
        "Who may ask, approve, execute and audit. Nobody approves their own change, not even you.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pressed_leads_to_a_page_that_has_the_next_step() {
        for steps in [&OPERATOR[..], &APPROVER, &AUDITOR, &ADMIN] {
            for pair in steps.windows(2) {
                let [step, next] = pair else { continue };
                assert_eq!(
                    step.press,
                    !matches!(next.place, Place::At(_)) && matches!(step.place, Place::At(_)),
                    "{step:?}"
                );
            }
            assert!(matches!(steps.first().map(|step| step.place), Some(Place::At("/"))));
            assert!(steps.last().is_some_and(|step| !step.press));
        }
        assert!(steps(&[Role::Viewer]).is_empty());
    }
}
