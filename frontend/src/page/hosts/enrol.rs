//! Enrolling a host, in three steps: which one, the command to paste there, and waiting until it has come in.
//!
//! The token is in this dialog and nowhere else. Nobody is asked whether the host has come: the server says so.

use gloo_timers::callback::Interval;
use nexplane_core::api::{EnrollmentToken, EnrollmentTokenRequest, HostView};
use nexplane_core::time::Timestamp;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use crate::component::badge::Callout;
use crate::component::copy::CopyButton;
use crate::component::dialog::Dialog;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{Select, TextInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::time::Time;
use crate::live::{News, use_news};
use crate::resource::use_mutation;
use crate::route::Route;
use crate::words::Tone;
use crate::{api, clock, format};

/// Seconds that a token may be good for, and how people say it. The server takes a minute to a day.
const LIFETIMES: [(u32, &str); 4] =
    [(900, "15 minutes"), (3_600, "1 hour"), (14_400, "4 hours"), (86_400, "24 hours")];

/// How often the time that is left is told anew.
const TICK_MS: u32 = 1_000;

#[derive(Properties, PartialEq)]
pub struct EnrolProps {
    /// For the host that is enrolled again.
    #[prop_or_default]
    pub hostname: AttrValue,
    pub on_close: Callback<()>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Which,
    Command,
    Arrived,
}

#[component]
pub fn Enrol(props: &EnrolProps) -> Html {
    let hostname = use_state_eq(|| props.hostname.to_string());
    let lifetime = use_state_eq(|| LIFETIMES[0].0);
    let create = use_mutation();
    let made = use_state(|| None::<EnrollmentToken>);
    let arrived = use_state_eq(|| None::<HostView>);
    {
        let (awaited, arrived) = (made.as_ref().map(|token| token.host_id), arrived.setter());
        let on_news = Callback::from(move |news: News| {
            let Some(id) = awaited.filter(|id| news.concern(id.0)) else { return };
            let arrived = arrived.clone();
            spawn_local(async move {
                // Until it has enrolled there is no such host.
                if let Ok(host) = api::get_at(&format!("/hosts/{id}"), news.position).await {
                    arrived.set(Some(host));
                }
            });
        });
        use_news(vec!["hosts".to_owned()], on_news);
    }
    let onsubmit = {
        let (create, made) = (create.clone(), made.setter());
        let (hostname, lifetime) = (hostname.clone(), lifetime.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let hostname = Some(hostname.trim().to_owned()).filter(|name| !name.is_empty());
            let request = EnrollmentTokenRequest { hostname, ttl_s: Some(*lifetime) };
            let made = made.clone();
            create.start(
                async move { api::post("/hosts/enrollment-tokens", &request).await },
                move |token| made.set(Some(token)),
            );
        })
    };
    let again = {
        let made = made.setter();
        Callback::from(move |()| made.set(None))
    };
    let stage = match (&*made, &*arrived) {
        (None, _) => Stage::Which,
        (Some(_), None) => Stage::Command,
        (Some(_), Some(_)) => Stage::Arrived,
    };
    let wanted = (*hostname).clone();
    html! {
        <Dialog title="Enrol a host" on_close={props.on_close.clone()} sticky={stage == Stage::Command} testid="enrol-dialog">
            { stations(stage) }
            {
                match (&*made, &*arrived) {
                    (None, _) => html! {
                        <form {onsubmit} class="form">
                            <TextInput id="hostname" label="Host name" value={wanted} optional=true
                                on_change={let hostname = hostname.setter(); move |text| hostname.set(text)}
                                help="When given, only a host that calls itself so can use the command."
                                autofocus=true monospace=true autocomplete="off" testid="enrol-hostname" />
                            <Select id="lifetime" label="The command works for" value={lifetime.to_string()}
                                options={LIFETIMES.map(|(s, words)| (s.to_string().into(), words.into())).to_vec()}
                                on_change={let lifetime = lifetime.setter(); move |text: String| {
                                    if let Ok(seconds) = text.parse() {
                                        lifetime.set(seconds);
                                    }
                                }}
                                help="And once. As short as it takes you to get to the host." testid="enrol-lifetime" />
                            if let Some(error) = create.error() {
                                <ProblemNote error={error.clone()} />
                            }
                            <div class="actions">
                                <button class="button primary" disabled={create.busy()} data-testid="enrol-submit">
                                    { "Make the command" }
                                </button>
                                <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>
                                    { "Back" }
                                </button>
                            </div>
                        </form>
                    },
                    (Some(token), None) => html! {
                        <Waiting key={token.host_id.to_string()} script={script(token)} until={token.expires_at}
                            gateway={token.gateway.clone()} hostname={wanted.trim().to_owned()} on_again={again}
                            on_close={props.on_close.clone()} />
                    },
                    (Some(_), Some(host)) => html! { <Arrived host={host.clone()} on_close={props.on_close.clone()} /> },
                }
            }
        </Dialog>
    }
}

fn stations(stage: Stage) -> Html {
    let stations = [
        (Stage::Which, "Which host"),
        (Stage::Command, "Run the command"),
        (Stage::Arrived, "It comes in"),
    ];
    html! {
        <ol class="wizard" data-testid="enrol-steps">
            { for (1..).zip(stations).map(|(number, (at, word)): (u8, _)| html! {
                <li aria-current={(at == stage).then_some("step")} class={classes!((at < stage).then_some("passed"))}>
                    <span class="wizard-mark" aria-hidden="true">
                        if at < stage { <Icon glyph={Glyph::Check} /> } else { { number } }
                    </span>
                    { word }
                    if at < stage { <span class="visually-hidden">{ " (done)" }</span> }
                </li>
            }) }
        </ol>
    }
}

#[derive(Properties, PartialEq)]
struct WaitingProps {
    script: String,
    until: Timestamp,
    gateway: String,
    /// The one that the host has to have; empty when any will do.
    hostname: String,
    on_again: Callback<()>,
    on_close: Callback<()>,
}

/// The command, the time that is left, and what to look at when nothing comes.
#[component]
fn Waiting(props: &WaitingProps) -> Html {
    let now = use_state_eq(clock::now);
    {
        let now = now.setter();
        use_effect_with((), move |()| {
            let ticks = Interval::new(TICK_MS, move || now.set(clock::now()));
            move || drop(ticks)
        });
    }
    let p = props;
    let again = p.on_again.reform(|_: MouseEvent| ());
    let close = p.on_close.reform(|_: MouseEvent| ());
    if *now >= p.until {
        return html! {
            <>
                <Callout tone={Tone::Failed} glyph={Glyph::Hourglass} testid="enrol-over">
                    <p>{ "The time is over, and no host has used the command. It is worth nothing now." }</p>
                </Callout>
                <div class="actions">
                    <button type="button" class="button primary" onclick={again} data-testid="enrol-again">
                        { "Make another one" }
                    </button>
                    <button type="button" class="button" onclick={close} data-testid="enrol-done">{ "Close" }</button>
                </div>
            </>
        };
    }
    html! {
        <>
            <p>
                { "Paste this on " }
                if p.hostname.is_empty() { { "the host" } } else { <b>{ &p.hostname }</b> }
                { ", as root. It is shown only now, and works once, until " }<Time at={p.until} exact=true />{ "." }
            </p>
            <div class="command">
                <pre data-testid="enrol-command" tabindex="0" aria-label="The command">{ &p.script }</pre>
                <CopyButton text={p.script.clone()} what="the command" testid="enrol-copy" />
            </div>
            <p class="faint small">
                { "It begins with the certificate by which the agent knows the control plane. The token is not among \
                   the program's arguments: those, everybody on the host can read in the list of processes." }
            </p>
            <div class="waiting" data-testid="enrol-waiting">
                <p role="status"><Icon glyph={Glyph::Hourglass} /><b>{ "Waiting for the agent" }</b></p>
                <p role="timer" class="faint" data-testid="enrol-left">{ format::countdown(p.until, *now) }{ " left" }</p>
            </div>
            <details data-testid="enrol-help">
                <summary>{ "Nothing comes?" }</summary>
                <ul class="bullets">
                    <li>{ "What the command says on the host is nearer to the reason than anything here. Mend that, and \
                           run the same command again: it goes on where it stopped." }</li>
                    <li>{ "The host has to reach " }<code class="wrap-any">{ &p.gateway }</code>{ ", through firewalls and \
                           proxies. It calls out; nothing has to reach it." }</li>
                    if !p.hostname.is_empty() {
                        <li>{ "It has to call itself " }<code>{ &p.hostname }</code>{ ": compare with what " }
                            <code>{ "hostname" }</code>{ " says there. A wrong name does not use the token up." }</li>
                    }
                    <li>{ "Its clock has to be right: a certificate that is not valid yet is refused." }</li>
                </ul>
            </details>
            <div class="actions">
                <button type="button" class="button" onclick={close} data-testid="enrol-done">{ "Close" }</button>
                <span class="faint small">{ "The host appears in the list also when this is closed." }</span>
            </div>
        </>
    }
}

#[derive(Properties, PartialEq)]
struct ArrivedProps {
    host: HostView,
    on_close: Callback<()>,
}

#[component]
fn Arrived(props: &ArrivedProps) -> Html {
    let host = &props.host;
    let polls = host.status == "online";
    html! {
        <>
            <div role="status">
                <Callout tone={Tone::Active} glyph={if polls { Glyph::Check } else { Glyph::Hourglass }} testid="enrol-arrived">
                    if polls {
                        <p><b>{ &host.hostname }</b>{ " is here. Its agent is connected, and takes signed orders that the \
                            host's owner allows." }</p>
                    } else {
                        <p><b>{ &host.hostname }</b>{ " has enrolled. Its agent polls within seconds." }</p>
                    }
                </Callout>
            </div>
            <div class="actions">
                <Link to={Route::Host { id: host.id }} class="button primary" testid="enrol-open">{ "Open its page" }</Link>
                <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}
                    data-testid="enrol-done">{ "Done" }</button>
            </div>
        </>
    }
}

/// What to paste: the gateway's certificate goes into the file that the command names, then the
/// command itself. A command that brings the certificate along is pasted as it is.
fn script(token: &EnrollmentToken) -> String {
    let EnrollmentToken { ca_pem, command, .. } = token;
    let certificate = ca_pem.trim();
    if command.contains(certificate) {
        return command.clone();
    }
    let file = command
        .split_once("--ca ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or("ca.pem");
    format!("cat > {file} <<'END'\n{certificate}\nEND\n{command}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(command: &str) -> EnrollmentToken {
        EnrollmentToken {
            token: "t".to_owned(),
            host_id: uuid::Uuid::nil().into(),
            ca_pem: "PEM\n".to_owned(),
            gateway: "https://gateway:8443".to_owned(),
            expires_at: Timestamp::from_micros(0),
            command: command.to_owned(),
        }
    }

    #[test]
    fn one_paste_brings_certificate_and_command() {
        assert_eq!(
            script(&token("nexplane-agent run --ca keys/ca.pem --token-file t")),
            "cat > keys/ca.pem <<'END'\nPEM\nEND\nnexplane-agent run --ca keys/ca.pem --token-file t"
        );
    }

    #[test]
    fn a_command_that_brings_the_certificate_is_left_as_it_is() {
        let whole = "cat > ca.pem <<'END'\nPEM\nEND\nnexplane-agent install --ca ca.pem";
        assert_eq!(script(&token(whole)), whole);
    }
}
