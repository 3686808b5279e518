//! Lives of changes as an auditor reads them.

use std::collections::BTreeSet;

use nexplane_core::change::Change;
use nexplane_core::change::event::{ChangeEvent as E, Quorum, Window};

use crate::*;

/// What an auditor writes down who reads the events one by one and knows nothing of `evolve`.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub author: Option<PersonId>,
    /// Author and editors.
    pub own: BTreeSet<PersonId>,
    pub window: Option<Window>,
    pub planned: Option<String>,
    pub review: Option<Review>,
}

#[derive(Clone, Debug)]
pub struct Review {
    pub digest: String,
    pub quorum: Quorum,
    pub approvals: Vec<(PersonId, bool, Timestamp)>,
    /// Who broke glass for it, and when.
    pub glass: Option<(PersonId, Timestamp)>,
    /// From when until when it may run.
    pub approved: Option<(Timestamp, Timestamp)>,
}

impl Ledger {
    fn review_of(&mut self, digest: &str) -> Option<&mut Review> {
        self.review.as_mut().filter(|review| review.digest == digest)
    }

    pub fn read(&mut self, event: &E, by: Actor, at: Timestamp) {
        match event {
            E::Drafted { draft, .. } => {
                self.author = by.person();
                self.own.extend(by.person());
                self.window = draft.window;
            }
            E::MadeBySchedule { editors, .. } => self.own.extend(editors),
            E::Edited { draft } => {
                self.own.extend(by.person());
                self.window = draft.window;
                (self.planned, self.review) = (None, None);
            }
            E::Planned { plan } => {
                (self.planned, self.review) = (Some(plan.digest.clone()), None);
            }
            E::Submitted { digest, quorum, .. } => {
                self.review = Some(Review {
                    digest: digest.clone(),
                    quorum: quorum.clone(),
                    approvals: Vec::new(),
                    glass: None,
                    approved: None,
                });
            }
            E::ApprovalGiven { digest, as_admin, .. } => {
                if let (Some(review), Some(by)) = (self.review_of(digest), by.person()) {
                    review.approvals.push((by, *as_admin, at));
                }
            }
            E::GlassBroken { digest, .. } => {
                if let (Some(review), Some(by)) = (self.review_of(digest), by.person()) {
                    review.glass = Some((by, at));
                }
            }
            E::Approved { digest, not_before, until } => {
                if let Some(review) = self.review_of(digest) {
                    review.approved = Some((*not_before, *until));
                }
            }
            E::Withdrawn {} | E::Rejected { .. } | E::Cancelled { .. } | E::Expired {} => {
                self.review = None;
            }
            E::JoinedProject { .. }
            | E::FreezeOverridden { .. }
            | E::WindowOverridden { .. }
            | E::Scheduled { .. }
            | E::Unscheduled { .. }
            | E::Reviewed { .. }
            | E::ExecutionStarted { .. }
            | E::UndoLimited { .. }
            | E::Completed { .. }
            | E::Failed { .. }
            | E::OutcomeUnknown { .. }
            | E::Settled { .. }
            | E::RollbackStarted { .. }
            | E::RolledBack { .. }
            | E::RollbackPartial { .. }
            | E::RollbackBlocked { .. }
            | E::SecretRevealed { .. } => {}
        }
    }
}

/// Every event of a life, with the moment it is of and what the ledger said before it.
pub fn audited(moments: &[Moment<Change>]) -> Vec<(Ledger, &Moment<Change>, &E)> {
    let mut ledger = Ledger::default();
    let mut lines = Vec::new();
    for moment in moments {
        for event in moment.answer.iter().flatten() {
            lines.push((ledger.clone(), moment, event));
            ledger.read(event, moment.by.actor, moment.at);
        }
    }
    lines
}
