//! An ordered group of changes: which of them has to be complete before which may start.
//!
//! ```text
//! absent ──create──→ open ──execute──→ running ──all complete──→ complete
//!                     ↑ ↑                 │                         │
//!                     │ └─────────────────┼─────────────edit────────┘
//!                     │                   └──one stopped──→ blocked ──execute──→ running
//!                     └───────────────────────────edit────────┘
//! all of them ──close──→ closed
//!
//! all but absent, closed and undone ──go back──→ going back ──nothing stands──→ undone
//!                                                  ↑    │                        │
//!                                               go back └──one stopped──→ blocked │
//!                                                  └──────────────────────┘       │
//!                          open ←──────────────────edit───────────────────┴───────┘
//! ```
//!
//! This stream guarantees: members and what each comes after never form a cycle; what a member comes after
//! is a member; what others come after is not removed; a project is complete only when all its members are.
//! That a change is a member of one open project at most is held together with the change's own stream, which
//! says which project it joined: each of the two is guarded when the other is written.
//!
//! A project executes nothing itself. What it starts is started by the decision that everybody's executions go
//! through, in the name of whoever asked for it and with the roles that they have then; that a member waits
//! for others is a gate in that very decision, whoever comes to it.
//!
//! Nor does it undo anything itself: going back, it has the rollback of one member after the other made,
//! each a change of its own that has to be approved, and started as above.
//!
//! Deliberately absent: what has become of the members, which is in their own streams and is read when it is
//! asked for.

#[cfg(feature = "decide")]
mod back;
#[cfg(feature = "decide")]
mod command;
#[cfg(feature = "decide")]
mod decide;
pub mod event;
#[cfg(feature = "decide")]
mod evolve;
#[cfg(feature = "decide")]
mod rejection;
#[cfg(feature = "decide")]
mod state;
#[cfg(all(test, feature = "decide"))]
mod tests;

#[cfg(feature = "decide")]
pub use self::{
    back::{Applied, Back, Stands},
    command::{Became, ProjectCommand},
    decide::{MAX_MEMBERS, Project, may_add},
    rejection::ProjectRejection,
    state::*,
};
