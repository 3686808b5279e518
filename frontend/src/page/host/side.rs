//! What a host is: its identity, its certificate, and its owner's policy.

use std::rc::Rc;

use nexplane_core::api::{AssetView, HostView};
use serde_json::Value;
use yew::prelude::*;

use crate::component::copy::CopyButton;
use crate::component::link::Link;
use crate::component::time::{Time, use_now};
use crate::format;
use crate::route::Route;

#[derive(Properties, PartialEq)]
pub struct IdentityProps {
    pub host: Rc<HostView>,
    /// With the facts that its agent told last.
    pub asset: Option<Rc<AssetView>>,
}

#[component]
pub fn Identity(props: &IdentityProps) -> Html {
    let IdentityProps { host, asset } = props;
    html! {
        <section class="panel order-2" aria-labelledby="who-title" data-testid="host-identity">
            <h2 id="who-title">{ "Who it is" }</h2>
            <dl class="facts">
                <div><dt>{ "Asset" }</dt><dd>
                    if let Some(id) = host.asset_id {
                        <Link to={Route::Asset { id }} testid="host-asset">
                            { asset.as_ref().map_or_else(|| host.hostname.clone(), |asset| asset.name.clone()) }
                        </Link>
                    } else {
                        <span class="faint">{ "Not discovered yet" }</span>
                    }
                </dd></div>
                if let Some(asset) = asset {
                    { for facts(&asset.metadata).into_iter().map(|(name, value)| html! {
                        <div><dt>{ name }</dt><dd>{ value }</dd></div>
                    }) }
                    if let Some(owner) = &asset.owner {
                        <div><dt>{ "Owner" }</dt><dd>{ owner }</dd></div>
                    }
                    <div><dt>{ "Last told" }</dt><dd><Time at={asset.last_seen} relative=true /></dd></div>
                }
                <div><dt>{ "Enrolled" }</dt><dd><Time at={host.enrolled_at} /></dd></div>
                <div><dt>{ "Agent id" }</dt><dd>
                    <code class="wrap-any" data-testid="host-id">{ host.id.to_string() }</code>
                    <CopyButton text={host.id.to_string()} what="the agent's id" />
                </dd></div>
            </dl>
        </section>
    }
}

/// What an operator looks for first; the page of the asset has all.
fn facts(metadata: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let number = |name: &str| metadata.get(name).and_then(Value::as_u64);
    let counted = |name: &str| {
        let list = metadata.get(name).and_then(Value::as_array).filter(|list| !list.is_empty())?;
        Some(format::number(u64::try_from(list.len()).unwrap_or(u64::MAX)))
    };
    let facts = [
        ("System", text("os_name")),
        ("Kernel", text("kernel")),
        ("Architecture", text("architecture")),
        ("CPUs", number("cpus").map(format::number)),
        ("Memory", number("memory_bytes").map(format::bytes)),
        ("Packages", counted("packages")),
        ("Services", counted("services")),
        ("Accounts", counted("accounts")),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[derive(Properties, PartialEq)]
pub struct HostProps {
    pub host: Rc<HostView>,
}

#[component]
pub fn Certificate(props: &HostProps) -> Html {
    let host = &props.host;
    let now = use_now();
    let renewed = host.certificate_issued_at != host.enrolled_at;
    html! {
        <section class="panel order-4" aria-labelledby="certificate-title" data-testid="host-certificate">
            <h2 id="certificate-title">{ "Certificate" }</h2>
            <dl class="facts">
                if host.status == "revoked" {
                    <div><dt>{ "Refused" }</dt><dd>{ "Since the host was revoked" }</dd></div>
                } else if let Some(end) = host.certificate_expires_at {
                    <div><dt>{ if end < now { "Ended" } else { "Valid until" } }</dt><dd><Time at={end} /></dd></div>
                }
                <div>
                    <dt>{ if renewed { "Last renewal" } else { "Issued" } }</dt>
                    <dd><Time at={host.certificate_issued_at} /></dd>
                </div>
                <div><dt>{ "Key" }</dt><dd>
                    <code title={host.certificate_key_hash.clone()}>{ format::short_digest(&host.certificate_key_hash) }</code>
                    <CopyButton text={host.certificate_key_hash.clone()} what="the fingerprint of the key" />
                </dd></div>
            </dl>
            <p class="faint small note">
                { "The key is made on the host and never leaves it; this is the SHA-256 of its public half. The agent renews at \
                   half of the time, each time with a fresh key." }
            </p>
        </section>
    }
}

#[component]
pub fn Policy(props: &HostProps) -> Html {
    let host = &props.host;
    html! {
        <section class="panel order-5" aria-labelledby="policy-title" data-testid="host-policy">
            <h2 id="policy-title">{ "Host owner's policy" }</h2>
            <dl class="facts">
                <div><dt>{ "File" }</dt><dd>
                    if let Some(hash) = &host.policy_hash {
                        <code title={hash.clone()}>{ format::short_digest(hash) }</code>
                        <CopyButton text={hash.clone()} what="the hash of the policy" />
                    } else {
                        { "None: the owner limits nothing." }
                    }
                </dd></div>
                <div><dt>{ "Changed" }</dt><dd>
                    if let Some(at) = host.policy_changed_at {
                        <Time {at} />
                    } else {
                        { "Not since it enrolled" }
                    }
                </dd></div>
            </dl>
            <p class="faint small note">
                { "A file on the host that only its owner writes: which operations and paths the agent accepts, how many \
                   approvals it wants to see, and whether it changes anything at all. The agent reads it for every order, and \
                   can refuse what everybody here has approved. Of its content, only the hash is known here." }
            </p>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_that_are_not_there_are_left_out() {
        let told = json!({
            "os_name": "Debian GNU/Linux 12", "kernel": "", "cpus": 2, "memory_bytes": 4_000_000_000_u64,
            "packages": [{}, {}], "services": [],
        });
        let facts: Vec<_> = facts(&told).into_iter().map(|(name, _)| name).collect();
        assert_eq!(facts, ["System", "CPUs", "Memory", "Packages"]);
        assert!(super::facts(&Value::Null).is_empty());
    }
}
