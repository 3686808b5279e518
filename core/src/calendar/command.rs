//! What can be asked of the calendar. All of it is an admin's, signed in.

use crate::calendar::event::Scope;
use crate::id::{FreezeId, WindowId};
use crate::recurrence::Recurrence;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalendarCommand {
    DeclareFreeze {
        freeze: FreezeId,
        /// A tag has 1–40 characters, like the tags of assets.
        scope: Scope,
        /// May have passed: then it begins when it is declared.
        start: Timestamp,
        /// In the future, after `start`, at most 366 days after it.
        end: Timestamp,
        /// 1–500 characters.
        reason: String,
    },
    /// Early. Nothing happens when it was ended already.
    EndFreeze {
        freeze: FreezeId,
        /// 1–500 characters.
        reason: String,
    },
    DefineWindow {
        window: WindowId,
        /// 1–100 characters, of no other window.
        name: String,
        /// A tag has 1–40 characters, like the tags of assets.
        scope: Scope,
        slots: Recurrence,
    },
    /// Nothing happens when it was removed already.
    RemoveWindow {
        window: WindowId,
        /// 1–500 characters.
        reason: String,
    },
}
