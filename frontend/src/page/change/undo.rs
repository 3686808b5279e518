//! Until when a change can be undone, as its targets say.

use std::rc::Rc;

use nexplane_core::api::{ChangeState, ChangeView};
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use crate::component::icon::{Glyph, Icon};
use crate::component::time::{Time, use_now};

const DAY_S: i64 = 24 * 60 * 60;

#[derive(Properties, PartialEq)]
pub struct UndoLimitProps {
    pub change: Rc<ChangeView>,
}

/// Nothing when there is no limit, or nothing left to undo.
#[component]
pub fn UndoLimit(props: &UndoLimitProps) -> Html {
    let now = use_now();
    let change = &props.change;
    let Some(until) = change.rollback.map(|rollback| rollback.possible_until) else {
        return Html::default();
    };
    let (look, glyph, text) = match left(change.state, until, now) {
        Left::Nothing => return Html::default(),
        Left::Long => (
            "long",
            Glyph::Clock,
            html! {
                <>{ "Undo is possible until " }<Time at={until} />{ "." }</>
            },
        ),
        Left::Short => (
            "short",
            Glyph::Clock,
            html! {
                <>{ "Undo is possible until " }<Time at={until} />{ ", which is " }
                <Time at={until} relative=true />{ "." }</>
            },
        ),
        Left::Over => (
            "over",
            Glyph::OneWay,
            html! {
                <>{ "It can no longer be undone: what it was before was kept until " }<Time at={until} />
                { ". Make a new change that sets what is wanted." }</>
            },
        ),
    };
    html! {
        <p class="small" data-testid="undo-until" data-left={look}><Icon {glyph} />{ " " }{ text }</p>
    }
}

/// How much time is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// There is nothing to undo, or it is being undone.
    Nothing,
    Long,
    /// Less than a day.
    Short,
    Over,
}

fn left(state: ChangeState, until: Timestamp, now: Timestamp) -> Left {
    match state {
        ChangeState::Complete
        | ChangeState::Failed
        | ChangeState::OutcomeUnknown
        | ChangeState::RollbackPartial
        | ChangeState::RollbackBlocked => match until.seconds_since(now) {
            _ if now >= until => Left::Over,
            seconds if seconds < DAY_S => Left::Short,
            _ => Left::Long,
        },
        ChangeState::Draft
        | ChangeState::Submitted
        | ChangeState::Approved
        | ChangeState::Scheduled
        | ChangeState::Executing
        | ChangeState::RollingBack
        | ChangeState::RolledBack
        | ChangeState::Rejected
        | ChangeState::Cancelled
        | ChangeState::Expired => Left::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_depends_on_what_is_left() {
        let now: Timestamp = "2026-11-23T15:00:00Z".parse().unwrap();
        let said = |state, seconds| left(state, now.plus_seconds(seconds), now);
        assert_eq!(said(ChangeState::Complete, DAY_S), Left::Long);
        assert_eq!(said(ChangeState::Complete, DAY_S - 1), Left::Short);
        assert_eq!(said(ChangeState::RollbackPartial, 1), Left::Short);
        assert_eq!(said(ChangeState::Failed, 0), Left::Over);
        assert_eq!(said(ChangeState::Complete, -1), Left::Over);
        assert_eq!(said(ChangeState::RolledBack, DAY_S), Left::Nothing);
    }
}
