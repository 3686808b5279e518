//! Where a change is on its way.

use std::rc::Rc;

use nexplane_core::api::{ChangeView, EventView};
use yew::prelude::*;

use crate::component::icon::{Glyph, Icon};
use crate::component::time::Time;
use crate::timeline::{self, Progress, Station};

#[derive(Properties, PartialEq)]
pub struct StationsProps {
    pub change: Rc<ChangeView>,
    /// Those that had happened when the change was so.
    pub events: Vec<EventView>,
}

#[component]
pub fn Stations(props: &StationsProps) -> Html {
    html! {
        <ol class="stations" aria-label="Where it is" data-testid="timeline">
            { for timeline::stations(&props.change, &props.events).iter().map(station) }
        </ol>
    }
}

fn station(station: &Station) -> Html {
    let (class, glyph, tone) = match &station.progress {
        Progress::Passed => ("passed", Glyph::Check, None),
        Progress::Here(label) => ("here", label.glyph, Some(label.tone.class())),
        Progress::Ahead => ("ahead", Glyph::Ring, None),
    };
    let here = matches!(station.progress, Progress::Here(_)).then_some("step");
    html! {
        <li class={classes!("station", class, tone)} aria-current={here}>
            <span class="station-mark"><Icon {glyph} /></span>
            <span class="station-text">
                <b>{ station.label }</b>
                <span class="faint small">
                    if let Some(at) = station.at {
                        <Time {at} />
                    }
                    if let Some(by) = &station.by {
                        { " " }{ by }
                    }
                </span>
            </span>
        </li>
    }
}
