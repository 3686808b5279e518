//! Hosts with an agent: how they are, and how a new one is enrolled.

use nexplane_core::actor::Role;
use nexplane_core::api::{EnrollmentToken, EnrollmentTokenRequest, HostView};
use serde::Serialize;
use yew::prelude::*;

use crate::api;
use crate::component::badge::{Badge, Callout};
use crate::component::copy::CopyButton;
use crate::component::dialog::Dialog;
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::TextInput;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::{Time, use_now};
use crate::component::toast::use_toaster;
use crate::live::use_live;
use crate::resource::{List, use_list, use_mutation};
use crate::route::Route;
use crate::session::{has, use_me};
use crate::words::{self, Tone};

/// `POST /hosts/{id}/revoke`
#[derive(Serialize)]
struct RevokeRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, PartialEq)]
enum Open {
    Nothing,
    Enrol,
    Revoke(Box<HostView>),
}

#[component]
pub fn Hosts() -> Html {
    let list = use_list::<HostView>(Some("/hosts?limit=200".to_owned()));
    let open = use_state(|| Open::Nothing);
    let admin = has(use_me().as_deref(), Role::Admin);
    {
        let list = list.clone();
        use_live(
            vec!["hosts".to_owned()],
            Callback::from(move |event: crate::live::Event| list.reload_at(event.position())),
        );
    }
    let enrol = {
        let open = open.setter();
        Callback::from(move |_: MouseEvent| open.set(Open::Enrol))
    };
    let close = {
        let open = open.setter();
        Callback::from(move |()| open.set(Open::Nothing))
    };
    let revoke = {
        let open = open.setter();
        Callback::from(move |host| open.set(Open::Revoke(Box::new(host))))
    };
    let why_not = (!admin).then_some("Only an administrator enrols hosts.");
    let button = html! {
        <button type="button" class="button primary" onclick={enrol} disabled={!admin} title={why_not}
            data-testid="enrol-host">
            <Icon glyph={Glyph::Plus} />{ "Enrol a host" }
        </button>
    };
    html! {
        <>
            <Head title="Hosts" lead="Machines with an agent. They call in; nothing connects to them.">
                { button.clone() }
            </Head>
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            { body(&list, &revoke, admin, button) }
            {
                match &*open {
                    Open::Nothing => html! {},
                    Open::Enrol => html! { <Enrol on_close={close} /> },
                    Open::Revoke(host) => html! {
                        <Revoke host={(**host).clone()} on_close={close}
                            on_done={let list = list.clone(); move |()| list.reload()} />
                    },
                }
            }
        </>
    }
}

fn body(list: &List<HostView>, revoke: &Callback<HostView>, admin: bool, button: Html) -> Html {
    match &list.items {
        None if list.error.is_none() => html! { <Skeleton lines={6} /> },
        None => html! {},
        Some(hosts) if hosts.is_empty() => html! {
            <Empty glyph={Glyph::Hosts} title="No host is enrolled" testid="hosts-empty">
                <p>{ "Enrolling takes one command on the host. Its agent then waits for signed orders \
                      and does only what the host's owner allows." }</p>
                { button }
            </Empty>
        },
        Some(hosts) => html! {
            <div class="table-frame">
                <table class="table hosts" data-testid="host-list">
                    <caption class="visually-hidden">{ "Hosts" }</caption>
                    <thead><tr>
                        <th scope="col">{ "Host" }</th>
                        <th scope="col">{ "Status" }</th>
                        <th scope="col">{ "Since" }</th>
                        <th scope="col">{ "Agent" }</th>
                        <th scope="col">{ "Certificate" }</th>
                        <th scope="col" class="col-buttons"><span class="visually-hidden">{ "What can be done" }</span></th>
                    </tr></thead>
                    <tbody>
                        { for hosts.iter().map(|host| html! {
                            <Row key={host.id.to_string()} host={host.clone()} on_revoke={revoke.clone()} {admin} />
                        }) }
                    </tbody>
                </table>
            </div>
        },
    }
}

#[derive(Properties, PartialEq)]
struct RowProps {
    host: HostView,
    on_revoke: Callback<HostView>,
    admin: bool,
}

#[component]
fn Row(props: &RowProps) -> Html {
    let host = &props.host;
    let now = use_now();
    let revoked = host.status == "revoked";
    let onclick = {
        let (on_revoke, host) = (props.on_revoke.clone(), host.clone());
        Callback::from(move |_: MouseEvent| on_revoke.emit(host.clone()))
    };
    let certificate = host.certificate_expires_at.map(|at| {
        let word = if at < now { "expired " } else { "until " };
        html! { <>{ word }<Time {at} /></> }
    });
    html! {
        <tr data-testid="host-row" data-status={host.status.clone()} data-id={host.id.to_string()}>
            <td class="col-main">
                if let Some(id) = host.asset_id {
                    <Link to={Route::Asset { id }} row=true class="row-name" testid="host-link">{ &host.hostname }</Link>
                } else {
                    <b>{ &host.hostname }</b>
                }
                <p class="row-waits" data-testid="host-reason">
                    { host.reason.as_deref().map(words::sentence).unwrap_or_default() }
                </p>
            </td>
            <td><Badge label={words::host_status(&host.status)} testid="host-status" value={host.status.clone()} /></td>
            <td data-label="since"><Time at={host.status_since} relative=true /></td>
            <td data-label="agent">
                <code>{ &host.agent_version }</code>
                if let Some(hash) = &host.policy_hash {
                    <p class="faint small" title={hash.clone()}>
                        { "policy " }<code>{ crate::format::short_digest(hash) }</code>
                    </p>
                }
            </td>
            <td data-label="certificate">{ certificate.unwrap_or_else(|| html! { "—" }) }</td>
            <td class="col-buttons">
                if props.admin && !revoked {
                    <button type="button" class="button small danger" {onclick} data-testid="host-revoke">
                        { "Revoke" }
                    </button>
                }
            </td>
        </tr>
    }
}

#[derive(Properties, PartialEq)]
struct EnrolProps {
    on_close: Callback<()>,
}

#[component]
fn Enrol(props: &EnrolProps) -> Html {
    let hostname = use_state_eq(String::new);
    let create = use_mutation();
    // The token is shown here and nowhere else.
    let made = use_state(|| None::<EnrollmentToken>);
    let onsubmit = {
        let (create, made, hostname) = (create.clone(), made.setter(), hostname.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let hostname = Some(hostname.trim().to_owned()).filter(|name| !name.is_empty());
            let request = EnrollmentTokenRequest { hostname, ttl_s: None };
            let made = made.clone();
            create.start(
                async move { api::post("/hosts/enrollment-tokens", &request).await },
                move |token| made.set(Some(token)),
            );
        })
    };
    let close = props.on_close.reform(|_: MouseEvent| ());
    html! {
        <Dialog title="Enrol a host" on_close={props.on_close.clone()} testid="enrol-dialog">
            if let Some(token) = &*made {
                <p>{ "Paste this on the host, as root. It works once, and until " }<Time at={token.expires_at} exact=true />{ "." }</p>
                <div class="command">
                    <pre data-testid="enrol-command">{ script(token) }</pre>
                    <CopyButton text={script(token)} what="the command" testid="enrol-copy" />
                </div>
                <Callout tone={Tone::Active} glyph={Glyph::Info}>
                    <p>{ "The host appears in the list by itself as soon as its agent has called in." }</p>
                </Callout>
                <div class="actions">
                    <button type="button" class="button primary" onclick={close} data-testid="enrol-done">{ "Done" }</button>
                </div>
            } else {
                <form {onsubmit} class="form">
                    <TextInput id="hostname" label="Host name" value={(*hostname).clone()} optional=true
                        on_change={let hostname = hostname.setter(); move |text| hostname.set(text)}
                        help="When given, only a host that calls itself so can use the command."
                        autofocus=true monospace=true autocomplete="off" testid="enrol-hostname" />
                    if let Some(error) = create.error() {
                        <ProblemNote error={error.clone()} />
                    }
                    <div class="actions">
                        <button class="button primary" disabled={create.busy()} data-testid="enrol-submit">
                            { "Make the command" }
                        </button>
                        <button type="button" class="button" onclick={close}>{ "Back" }</button>
                    </div>
                </form>
            }
        </Dialog>
    }
}

/// What to paste: the gateway's certificate goes into the file that the command names, then the
/// command itself.
fn script(token: &EnrollmentToken) -> String {
    let EnrollmentToken { ca_pem, command, .. } = token;
    let file = command
        .split_once("--ca ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or("ca.pem");
    format!("cat > {file} <<'END'\n{}\nEND\n{command}", ca_pem.trim_end())
}

#[derive(Properties, PartialEq)]
struct RevokeProps {
    host: HostView,
    on_close: Callback<()>,
    on_done: Callback<()>,
}

#[component]
fn Revoke(props: &RevokeProps) -> Html {
    let typed = use_state_eq(String::new);
    let reason = use_state_eq(String::new);
    let call = use_mutation();
    let toaster = use_toaster();
    let ready = typed.trim() == props.host.hostname;
    let onsubmit = {
        let (call, id, hostname) = (call.clone(), props.host.id, props.host.hostname.clone());
        let reason = reason.clone();
        let (on_close, on_done) = (props.on_close.clone(), props.on_done.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            if !ready {
                return;
            }
            let (on_close, on_done) = (on_close.clone(), on_done.clone());
            let (toaster, hostname) = (toaster.clone(), hostname.clone());
            let reason = Some(reason.trim().to_owned()).filter(|reason| !reason.is_empty());
            let request = RevokeRequest { reason };
            call.start(
                async move { api::post::<HostView>(&format!("/hosts/{id}/revoke"), &request).await },
                move |_| {
                    toaster.say(format!("{hostname} is revoked."));
                    on_done.emit(());
                    on_close.emit(());
                },
            );
        })
    };
    html! {
        <Dialog title={format!("Revoke {}", props.host.hostname)} on_close={props.on_close.clone()} testid="revoke-dialog">
            <form {onsubmit} class="form">
                <p>{ "Its agent is cut off within seconds and its certificate is refused for ever. To use \
                      the host again, enrol it again." }</p>
                <TextInput id="revoke-reason" label="Reason" value={(*reason).clone()} optional=true
                    on_change={let reason = reason.setter(); move |text| reason.set(text)}
                    help="It stays in the audit log." autofocus=true testid="revoke-reason" />
                <TextInput id="revoke-name" label={format!("Type {} to go on", props.host.hostname)}
                    value={(*typed).clone()} on_change={let typed = typed.setter(); move |text| typed.set(text)}
                    monospace=true autocomplete="off" testid="revoke-name" />
                if let Some(error) = call.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button danger solid" disabled={!ready || call.busy()} data-testid="revoke-confirm">
                        { "Revoke" }
                    </button>
                    <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_paste_brings_certificate_and_command() {
        let token = EnrollmentToken {
            token: "t".to_owned(),
            ca_pem: "PEM\n".to_owned(),
            gateway: "https://gateway:8443".to_owned(),
            expires_at: nexplane_core::time::Timestamp::from_micros(0),
            command: "nexplane-agent run --ca /tmp/ca.pem --token t".to_owned(),
        };
        assert_eq!(
            script(&token),
            "cat > /tmp/ca.pem <<'END'\nPEM\nEND\nnexplane-agent run --ca /tmp/ca.pem --token t"
        );
    }
}
