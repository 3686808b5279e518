//! The approval policy: what is in force and what each rule means, every version, the difference of two, and a draft
//! of the next one.

mod draft;

use nexplane_core::actor::Role;
use nexplane_core::api::{Page, PolicyView};
use nexplane_core::policy::Analysis;
use serde::{Deserialize, Serialize};
use yew::prelude::*;
use yew_router::hooks::{use_location, use_navigator};

use self::draft::Draft;
use crate::component::badge::Callout;
use crate::component::diff::Lines;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::FilterSelect;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::policy_text::{self, Row};
use crate::resource::use_resource;
use crate::route::Route;
use crate::session::{has, use_me};
use crate::words::Tone;
use crate::{diff, format, storage};

/// What the address asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Asked {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// The version that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<u32>,
    /// The draft is open.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draft: bool,
}

#[component]
pub fn Policies() -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let asked =
        use_location().and_then(|location| location.query::<Asked>().ok()).unwrap_or_default();
    let versions = use_resource::<Page<PolicyView>>(Some("/policies?limit=200".to_owned()));
    let me = use_me();
    let key = me.as_ref().map(|me| draft::key(me)).unwrap_or_default();
    let kept = storage::read(&key).is_some();
    let all = versions.value.as_ref().map_or(&[][..], |page| page.items.as_slice());
    let in_force = all.first();
    let shown = match asked.version {
        Some(version) => all.iter().find(|view| view.version == version),
        None => in_force,
    };
    let compare = {
        let (navigator, asked) = (navigator.clone(), asked.clone());
        Callback::from(move |with: String| {
            let asked = Asked { with: with.parse().ok(), ..asked.clone() };
            // Of numbers a query string can always be made.
            drop(navigator.replace_with_query(&Route::Policies, asked));
        })
    };
    let published = {
        let versions = versions.clone();
        Callback::from(move |()| {
            versions.reload();
            navigator.push(&Route::Policies);
        })
    };
    let moved = {
        let versions = versions.clone();
        Callback::from(move |()| versions.reload())
    };
    html! {
        <>
            <Head title="Policies" lead="How many people have to approve what. The first rule that fits a change decides.">
                if !asked.draft && in_force.is_some() {
                    <Link to={Route::Policies} query={vec![("draft", "true".to_owned())]} class="button" testid="policy-edit">
                        <Icon glyph={Glyph::Pencil} />
                        { if kept { "Go on with your draft" } else { "Try a change of it" } }
                    </Link>
                }
            </Head>
            if let Some(error) = versions.error.clone() {
                <ProblemNote {error} retry={let versions = versions.clone(); move |()| versions.reload()} />
            }
            if versions.value.is_none() && versions.error.is_none() {
                <Skeleton lines={8} />
            }
            if asked.draft {
                if let Some(in_force) = in_force {
                    <Draft key={key.clone()} storage_key={key.clone()} in_force={in_force.clone()} on_published={published}
                        on_moved={moved} may_publish={has(me.as_deref(), Role::Admin)} />
                }
            } else if let Some(view) = shown {
                <div class="split">
                    <div class="stack">{ version(view, all, asked.with, compare) }</div>
                    <div class="stack">{ list(all, view.version) }</div>
                </div>
            } else if let Some(version) = asked.version.filter(|_| versions.value.is_some()) {
                <Callout tone={Tone::Neutral} glyph={Glyph::Question} testid="policy-unknown">
                    <p>{ format!("There is no version {version} of the policy. ") }
                        <Link to={Route::Policies}>{ "Show the one in force" }</Link></p>
                </Callout>
            }
        </>
    }
}

/// Who published a version, for people.
fn author(view: &PolicyView) -> String {
    match view.published_by {
        Some(by) => {
            view.names.get(&by.to_string()).cloned().unwrap_or_else(|| format::short_id(by.0))
        }
        None => "Nexplane, built in".to_owned(),
    }
}

fn version(
    view: &PolicyView,
    all: &[PolicyView],
    with: Option<u32>,
    compare: Callback<String>,
) -> Html {
    let number = view.version;
    let mut choices = vec![(AttrValue::from(""), AttrValue::from("Compare with …"))];
    choices.extend(all.iter().filter(|other| other.version != number).map(|other| {
        (other.version.to_string().into(), format!("Version {}", other.version).into())
    }));
    let other = with.and_then(|with| all.iter().find(|view| view.version == with));
    let chosen = other.map(|other| other.version.to_string()).unwrap_or_default();
    html! {
        <section class="panel flush" aria-labelledby="policy-title" data-testid="policy" data-version={number.to_string()}>
            <div class="panel-head">
                <h2 id="policy-title">
                    { format!("Version {number}") }
                    if view.current {
                        <span class="tag strong policy-current" data-testid="policy-current">{ "in force" }</span>
                    }
                </h2>
                if choices.len() > 1 {
                    <FilterSelect label="Compare with another version" value={chosen} options={choices}
                        on_change={compare} testid="policy-compare" />
                }
            </div>
            <div class="policy-about">
                <p>
                    { format!("By {}", author(view)) }
                    if let Some(at) = view.published_at {
                        { ", " }<Time {at} />
                    }
                </p>
                if let Some(note) = &view.note {
                    <p><q>{ note }</q></p>
                }
                { found(&view.analysis) }
            </div>
            if let Some(other) = other {
                { difference(other, view) }
            } else {
                { source(view) }
            }
        </section>
    }
}

/// The text with the numbers of its lines, and above each rule what it means.
fn source(view: &PolicyView) -> Html {
    let rows = policy_text::rows(&view.document, &view.text);
    html! {
        <div class="policy-source" role="region" aria-label={format!("Text of version {}", view.version)} tabindex="0"
            data-testid="policy-source">
            { for rows.into_iter().map(|row| match row {
                Row::Rule { number, sentence } => html! {
                    <p class="policy-rule" data-testid="policy-rule">
                        <b>{ format!("Rule {number}") }</b><span>{ sentence }</span>
                    </p>
                },
                Row::Line { number, text } => html! {
                    <div class="policy-line"><span class="policy-number">{ number }</span><code>{ text }</code></div>
                },
            }) }
        </div>
    }
}

/// What becomes of one version in another.
fn difference(before: &PolicyView, after: &PolicyView) -> Html {
    let lines = |sentences: &[String]| sentences.join("\n");
    let sentences = diff::texts(&lines(&before.text), &lines(&after.text));
    let source =
        diff::texts(&policy_text::text(&before.document), &policy_text::text(&after.document));
    html! {
        <div class="policy-diff" data-testid="policy-diff">
            <h3>{ format!("What version {} says that version {} does not", after.version, before.version) }</h3>
            <Lines lines={sentences} />
            <h3>{ "In its text" }</h3>
            <Lines lines={source} />
        </div>
    }
}

/// What a look at all cases found.
fn found(analysis: &Analysis) -> Html {
    let weaker = analysis.weakened.iter().map(|it| (Tone::Waiting, "Asks for less", &it.sentence));
    let unreachable =
        analysis.unreachable.iter().map(|it| (Tone::Neutral, "Never decides", &it.sentence));
    let rows = weaker.chain(unreachable).map(|(tone, word, sentence)| {
        html! {
            <li class={classes!("policy-found", tone.class())}>
                <Icon glyph={Glyph::Warning} /><span><b>{ word }</b>{ ": " }{ sentence }</span>
            </li>
        }
    });
    let rows: Vec<Html> = rows.collect();
    if rows.is_empty() {
        return html! {};
    }
    html! { <ul class="policy-findings" data-testid="policy-findings">{ for rows }</ul> }
}

fn list(all: &[PolicyView], shown: u32) -> Html {
    html! {
        <section class="panel flush" aria-labelledby="versions-title">
            <h2 id="versions-title">{ "Versions" }</h2>
            <ol class="policy-versions" data-testid="policy-versions">
                { for all.iter().map(|view| html! {
                    <li key={view.version} class={classes!((view.version == shown).then_some("picked"))}
                        data-testid="policy-version" data-version={view.version.to_string()}>
                        <Link to={Route::Policies} query={vec![("version", view.version.to_string())]} row=true
                            current={view.version == shown} testid="policy-version-link">
                            { format!("Version {}", view.version) }
                        </Link>
                        if view.current {
                            <span class="tag strong policy-current">{ "in force" }</span>
                        }
                        if !view.analysis.weakened.is_empty() {
                            <span class="tag" title="It asks for less than the version before it somewhere.">{ "asks for less" }</span>
                        }
                        <p class="faint small">
                            { author(view) }
                            if let Some(at) = view.published_at {
                                { " · " }<Time {at} />
                            }
                        </p>
                        if let Some(note) = &view.note {
                            <p class="small">{ note }</p>
                        }
                    </li>
                }) }
            </ol>
        </section>
    }
}
