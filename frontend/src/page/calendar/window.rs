//! Maintenance windows: which there are, defining one, and removing one.

use std::rc::Rc;

use nexplane_core::actor::Role;
use nexplane_core::api::{DefineWindowRequest, Page, ReasonRequest, WindowState, WindowView};
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use super::freeze::{scope_of, scopes};
use super::{listed, scope};
use crate::component::badge::Badge;
use crate::component::dialog::Dialog;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{Select, TextInput};
use crate::component::problem::ProblemNote;
use crate::component::time::{Time, use_now};
use crate::resource::{use_mutation, use_resource};
use crate::session::{has, use_me};
use crate::{api, clock, words};

/// What is done about windows.
#[derive(Clone, PartialEq)]
enum Doing {
    Nothing,
    Defining,
    Removing(Rc<WindowView>),
}

#[derive(Properties, PartialEq)]
pub struct WindowsProps {
    /// One was defined or removed.
    pub on_change: Callback<()>,
}

#[component]
pub fn Windows(props: &WindowsProps) -> Html {
    let windows =
        use_resource::<Page<WindowView>>(Some("/maintenance-windows?limit=200".to_owned()));
    let doing = use_state(|| Doing::Nothing);
    let (me, now) = (use_me(), use_now());
    let is_admin = has(me.as_deref(), Role::Admin);
    let close = {
        let doing = doing.setter();
        use_callback((), move |(), ()| doing.set(Doing::Nothing))
    };
    let done = {
        let (doing, windows, on_change) =
            (doing.setter(), windows.clone(), props.on_change.clone());
        Callback::from(move |()| {
            doing.set(Doing::Nothing);
            windows.reload();
            on_change.emit(());
        })
    };
    let define = {
        let doing = doing.setter();
        move |_: MouseEvent| doing.set(Doing::Defining)
    };
    html! {
        <section class="panel flush" aria-labelledby="windows-title">
            <div class="panel-head">
                <h2 id="windows-title">{ "Maintenance windows" }</h2>
                if is_admin {
                    <button type="button" class="button" onclick={define} data-testid="window-define">
                        <Icon glyph={Glyph::Plus} />{ "Define a window" }
                    </button>
                }
            </div>
            { listed(&windows, |all| {
                let held: Vec<_> = all.iter().filter(|view| view.state != WindowState::Removed).collect();
                if held.is_empty() {
                    return html! {
                        <p class="faint panel-note" data-testid="windows-none">
                            { "None is defined, so no change waits for one." }
                        </p>
                    };
                }
                let row = |view: &WindowView| {
                    let (doing, removed) = (doing.setter(), Rc::new(view.clone()));
                    let remove = is_admin.then(|| {
                        Callback::from(move |_: MouseEvent| doing.set(Doing::Removing(Rc::clone(&removed))))
                    });
                    window(view, now, remove)
                };
                html! {
                    <div class="table-frame inner">
                        <table class="table" data-testid="window-list">
                            <thead><tr>
                                <th scope="col">{ "Name" }</th><th scope="col">{ "Holds for" }</th>
                                <th scope="col">{ "When" }</th><th scope="col">{ "Now" }</th>
                                <th scope="col" class="col-buttons"><span class="visually-hidden">{ "What can be done" }</span></th>
                            </tr></thead>
                            <tbody>{ for held.into_iter().map(row) }</tbody>
                        </table>
                    </div>
                }
            }) }
            { match &*doing {
                Doing::Nothing => html! {},
                Doing::Defining => html! { <Define on_close={close} on_done={done} /> },
                Doing::Removing(window) => html! {
                    <Remove window={Rc::clone(window)} on_close={close} on_done={done} />
                },
            } }
        </section>
    }
}

fn window(view: &WindowView, now: Timestamp, remove: Option<Callback<MouseEvent>>) -> Html {
    let closes = view.closes.filter(|closes| *closes > now);
    html! {
        <tr key={view.id.to_string()} data-testid="window-row">
            <td class="col-main"><b>{ &view.name }</b></td>
            <td>{ scope(&view.scope) }</td>
            <td>
                { &view.description }
                <p class="faint small">{ format!("in {}", view.slots.zone) }</p>
            </td>
            <td>
                <Badge label={words::window_state(closes.is_some())} />
                <p class="faint small">
                    if let Some(at) = closes {
                        { "until " }<Time {at} />
                    } else if let Some(at) = view.next.iter().find(|start| **start > now) {
                        { "opens " }<Time at={*at} />
                    } else {
                        { "read again to see when it opens" }
                    }
                </p>
            </td>
            <td class="col-buttons">
                if let Some(remove) = remove {
                    <button type="button" class="button small danger" onclick={remove} data-testid="window-remove">{ "Remove" }</button>
                }
            </td>
        </tr>
    }
}

#[derive(Properties, PartialEq)]
struct DefineProps {
    on_close: Callback<()>,
    on_done: Callback<()>,
}

#[derive(Clone, PartialEq)]
struct Form {
    name: String,
    /// `all`, the name of an environment, or `tag`.
    scope: String,
    tag: String,
    cron: String,
    zone: String,
    minutes: String,
}

impl Form {
    /// What is asked for; nothing while something is missing.
    fn request(&self) -> Option<DefineWindowRequest> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let minutes: u32 = self.minutes.trim().parse().ok()?;
        Some(DefineWindowRequest {
            name: text(&self.name)?,
            scope: scope_of(&self.scope, &self.tag)?,
            cron: text(&self.cron)?,
            zone: text(&self.zone)?,
            duration_s: minutes.checked_mul(60)?,
        })
    }
}

#[component]
fn Define(props: &DefineProps) -> Html {
    let form = use_state(|| Form {
        name: String::new(),
        scope: "prod".to_owned(),
        tag: String::new(),
        cron: "0 22 * * mon-fri".to_owned(),
        zone: clock::zone(),
        minutes: "240".to_owned(),
    });
    let define = use_mutation();
    let request = form.request();
    let set = |change: fn(&mut Form, String)| {
        let form = form.clone();
        Callback::from(move |text: String| {
            let mut next = (*form).clone();
            change(&mut next, text);
            form.set(next);
        })
    };
    let onsubmit = {
        let (define, request, on_done) = (define.clone(), request.clone(), props.on_done.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (Some(request), on_done) = (request.clone(), on_done.clone()) else { return };
            define.start(
                async move { api::post::<WindowView>("/maintenance-windows", &request).await },
                move |_| on_done.emit(()),
            );
        })
    };
    html! {
        <Dialog title="Define a maintenance window" on_close={props.on_close.clone()} testid="window-form">
            <form {onsubmit} class="form">
                <TextInput id="window-name" label="Name" value={form.name.clone()} autofocus=true testid="window-name"
                    help="Who waits for it reads this." on_change={set(|form, text| form.name = text)} />
                <Select id="window-scope" label="What waits for it" value={form.scope.clone()} options={scopes()}
                    on_change={set(|form, text| form.scope = text)} testid="window-scope" />
                if form.scope == "tag" {
                    <TextInput id="window-tag" label="Tag" value={form.tag.clone()} testid="window-tag"
                        on_change={set(|form, text| form.tag = text)} />
                }
                <TextInput id="window-cron" label="Opens" value={form.cron.clone()} monospace=true testid="window-cron"
                    help="Minute, hour, day of the month, month, day of the week: 0 22 * * mon-fri is 22:00 on weekdays."
                    on_change={set(|form, text| form.cron = text)} />
                <TextInput id="window-zone" label="In the time zone" value={form.zone.clone()} testid="window-zone"
                    help="Such as Europe/Vienna." on_change={set(|form, text| form.zone = text)} />
                <TextInput id="window-minutes" label="Stays open, in minutes" value={form.minutes.clone()} testid="window-minutes"
                    help="Up to a week, which is 10080." on_change={set(|form, text| form.minutes = text)} />
                if let Some(error) = define.error() {
                    <ProblemNote error={error.clone()} />
                }
                <p class="faint small">
                    { "From then on, what it covers runs while it is open, and at no other time. It never changes: remove it, and define another one." }
                </p>
                <div class="actions">
                    <button class="button primary" disabled={define.busy() || request.is_none()}
                        data-testid="window-save">{ "Define it" }</button>
                    <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

#[derive(Properties, PartialEq)]
struct RemoveProps {
    window: Rc<WindowView>,
    on_close: Callback<()>,
    on_done: Callback<()>,
}

#[component]
fn Remove(props: &RemoveProps) -> Html {
    let reason = use_state_eq(String::new);
    let remove = use_mutation();
    let onsubmit = {
        let (remove, id, on_done) = (remove.clone(), props.window.id, props.on_done.clone());
        let reason = reason.trim().to_owned();
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (request, on_done) = (ReasonRequest { reason: reason.clone() }, on_done.clone());
            let path = format!("/maintenance-windows/{id}/remove");
            remove.start(
                async move { api::post::<WindowView>(&path, &request).await },
                move |_| {
                    on_done.emit(());
                },
            );
        })
    };
    html! {
        <Dialog title={format!("Remove {}", props.window.name)} on_close={props.on_close.clone()} testid="window-remove-form">
            <form {onsubmit} class="form">
                <p>{ format!("From now on {} no longer wait for it. What waits for nothing else starts at once.", scope(&props.window.scope)) }</p>
                <TextInput id="window-reason" label="Why" value={(*reason).clone()} autofocus=true testid="window-remove-reason"
                    on_change={let reason = reason.setter(); move |text| reason.set(text)} />
                if let Some(error) = remove.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button danger" disabled={remove.busy() || reason.trim().is_empty()}
                        data-testid="window-remove-save">{ "Remove it" }</button>
                    <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

#[cfg(test)]
mod tests {
    use nexplane_core::api::ScopeRequest;

    use super::*;

    #[test]
    fn a_window_is_asked_for_when_nothing_is_missing() {
        let form = Form {
            name: " Nightly ".to_owned(),
            scope: "all".to_owned(),
            tag: String::new(),
            cron: "0 22 * * *".to_owned(),
            zone: "UTC".to_owned(),
            minutes: "90".to_owned(),
        };
        let request = form.request().unwrap();
        assert_eq!((request.name.as_str(), request.duration_s), ("Nightly", 5400));
        assert_eq!(request.scope, ScopeRequest::All {});
        for wrong in [
            Form { name: " ".to_owned(), ..form.clone() },
            Form { minutes: "an hour".to_owned(), ..form.clone() },
            Form { minutes: "99999999".to_owned(), ..form.clone() },
            Form { scope: "tag".to_owned(), ..form },
        ] {
            assert_eq!(wrong.request(), None);
        }
    }
}
