//! Why the reader may approve it, what it takes, and who else may.

use nexplane_core::api::{ApprovingView, WayView};
use yew::prelude::*;

use crate::component::icon::{Glyph, Icon};
use crate::component::time::Time;
use crate::words;

pub fn why(approving: &ApprovingView) -> Html {
    let others: Vec<&str> = approving.others.iter().map(|person| person.name.as_str()).collect();
    html! {
        <section class="panel order-4" aria-labelledby="why-title" data-testid="approve-why">
            <h2 id="why-title">{ "Why you" }</h2>
            <ul class="ways">{ for approving.ways.iter().map(way) }</ul>
            <div class="sentences">
                if let Some(rule) = &approving.rule {
                    <p data-testid="approve-rule">
                        <b>{ "Policy" }</b>
                        if let Some(version) = approving.policy_version {
                            <span class="faint">{ format!(" version {version}") }</span>
                        }
                        { ": " }{ words::sentence(rule) }
                    </p>
                }
                if let Some(needed) = &approving.needed {
                    <p data-testid="approve-needed">{ needed }</p>
                }
                if let Some(after) = &approving.after_mine {
                    <p data-testid="approve-after">{ after }</p>
                }
                <p data-testid="approve-others">
                    <b>{ "Who else can" }</b>{ ": " }
                    { match (others.is_empty(), approving.more_others) {
                        (true, _) => "nobody.".to_owned(),
                        (false, true) => format!("{} and more.", others.join(", ")),
                        (false, false) => format!("{}.", others.join(", ")),
                    } }
                </p>
                <p class="faint small" data-testid="approve-four-eyes">{ &approving.four_eyes }</p>
            </div>
        </section>
    }
}

fn way(way: &WayView) -> Html {
    let roles: Vec<&str> = way.roles.iter().map(|role| role.as_str()).collect();
    html! {
        <li class={classes!("way", if way.ok { "way-open" } else { "way-closed" })} data-testid="approve-way"
            data-ok={way.ok.to_string()}>
            <Icon glyph={if way.ok { Glyph::Approvals } else { Glyph::Blocked }} />
            <div>
                <p>{ words::sentence(&way.because) }</p>
                if let Some(until) = way.until {
                    <p class="faint small">
                        { format!("With the roles {}, until ", roles.join(", ")) }<Time at={until} />{ "." }
                    </p>
                }
            </div>
        </li>
    }
}
