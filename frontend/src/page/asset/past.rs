//! An asset as it was known at a moment. The moment is in the address, so that it can be sent to somebody.

use nexplane_core::api::AssetView;
use nexplane_core::id::AssetId;
use yew::prelude::*;
use yew_router::prelude::*;

use crate::clock;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::time::Time;
use crate::format;
use crate::page::change::AtQuery;
use crate::route::Route;

#[derive(Properties, PartialEq)]
pub struct MomentProps {
    pub id: AssetId,
    /// The moment that is asked for; nothing is now.
    pub at: Option<AttrValue>,
    /// What was known then, once it is read.
    pub then: Option<std::rc::Rc<AssetView>>,
}

#[component]
pub fn Moment(props: &MomentProps) -> Html {
    let MomentProps { id, at, then } = props;
    let id = *id;
    let navigator = use_navigator().expect("every page is inside the router");
    let onchange = Callback::from(move |event: Event| {
        let typed = event.target_unchecked_into::<web_sys::HtmlInputElement>().value();
        let at = clock::from_local_input(&typed).map(|at| at.to_string());
        // Of a plain text a query string can always be made.
        drop(navigator.push_with_query(&Route::Asset { id }, AtQuery { at }));
    });
    let moment = at.as_ref().and_then(|at| at.parse().ok());
    let value = moment.map(|at| format::local_input(at, clock::offset_minutes(at)));
    html! {
        <section class={classes!("moments", at.is_some().then_some("past"))} aria-label="Moment"
            data-testid="asset-moment" data-past={at.is_some().to_string()}>
            <div class="moments-line as-of">
                <label for="as-of" class="small">{ "As it was known at" }</label>
                <input type="datetime-local" id="as-of" class="input" {value} {onchange} data-testid="asset-as-of" />
            </div>
            if let Some(at) = at {
                <p class="moments-text" role="status" data-testid="asset-then">
                    <Icon glyph={Glyph::Clock} />
                    <span>
                        <b>{ "As it was known " }
                            if let Some(moment) = moment {
                                { "at " }<Time at={moment} exact=true />
                            } else {
                                { format!("at event {at}") }
                            }
                        </b>
                        if let Some(then) = then {
                            <span class="moments-what">
                                { format!(": version {}, since event {}. ", then.version, format::number(then.position)) }
                                { "Only its own relations to others are known of the past, by their names of today." }
                            </span>
                        }
                    </span>
                    <Link to={Route::Asset { id }} class="moments-now" testid="asset-now">{ "Back to now" }</Link>
                </p>
            }
        </section>
    }
}
