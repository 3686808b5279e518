//! The proof of an event, computed in this browser while the person looks.

use std::rc::Rc;

use gloo_timers::callback::Timeout;
use nexplane_core::api::{EventDetail, EventProof};
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use super::key::{LogKey, pinned};
use crate::api::{self, ApiError};
use crate::component::copy::CopyButton;
use crate::component::icon::{Glyph, Icon};
use crate::component::problem::ProblemNote;
use crate::proof::{Found, Judgement, STEPS, Step, Verdict, judge};
use crate::resource::use_resource;
use crate::session::use_me;
use crate::words::{Label, Tone};

/// Between looks for a checkpoint: at first as long as one usually takes, then longer.
const FIRST_PAUSE_MS: u32 = 1_000;
const LONGEST_PAUSE_MS: u32 = 16_000;

#[derive(Properties, PartialEq)]
pub struct ProofProps {
    pub detail: Rc<EventDetail>,
}

#[component]
pub fn Proof(props: &ProofProps) -> Html {
    let position = props.detail.event.position;
    let proof = use_resource::<EventProof>(Some(format!("/audit/events/{position}/proof")));
    let unsealed = proof.error.as_ref().and_then(ApiError::code) == Some("log.not_sealed");
    // Nothing is sealed in a replay.
    let is_replay = use_me().is_some_and(|me| me.replay.is_some());
    {
        let (proof, pause_ms) = (proof.clone(), use_mut_ref(|| FIRST_PAUSE_MS));
        use_effect_with(unsealed && !is_replay && !proof.loading, move |again| {
            let timer = again.then(|| {
                let mut pause_ms = pause_ms.borrow_mut();
                let timer = Timeout::new(*pause_ms, move || proof.reload());
                *pause_ms = (*pause_ms * 2).min(LONGEST_PAUSE_MS);
                timer
            });
            move || drop(timer)
        });
    }
    let attempt = use_state_eq(|| 0_u32);
    let shown = use_log_key(*attempt);
    let pinned = use_state_eq(pinned);
    let shown_key = shown.as_ref().and_then(|answer| answer.clone().ok().flatten());

    let deps = (proof.value.clone(), Rc::clone(&props.detail), shown.clone(), (*pinned).clone());
    let judged = use_memo(deps, |(proof, detail, shown, pinned)| {
        let shown = shown.as_ref()?.as_ref().ok()?;
        // The record that is judged is the one on the screen.
        let proof = EventProof { record: detail.record.clone(), ..proof.as_deref()?.clone() };
        Some(judge(&proof, shown.as_deref(), pinned.as_deref()))
    });
    let error = match shown {
        Some(Err(error)) => Some(error),
        Some(Ok(_)) | None => proof.error.clone().filter(|_| !unsealed),
    };
    let state = match &*judged {
        Some(judged) => State::Judged(judged.verdict),
        None if unsealed && is_replay => State::SealedLater,
        None if unsealed => State::Unsealed,
        None => State::Checking,
    };
    let on_pin = {
        let pinned = pinned.setter();
        Callback::from(move |()| pinned.set(super::key::pinned()))
    };
    html! {
        <section class="panel order-1" aria-labelledby="proof-title" data-testid="proof"
            data-state={state.name()}>
            <div class="panel-head">
                <h2 id="proof-title">{ "Proof" }</h2>
                <span class="faint small">{ "Computed in this browser" }</span>
            </div>
            if let Some(error) = error {
                <ProblemNote {error} retry={move |()| { proof.reload(); attempt.set(*attempt + 1); }} />
            } else {
                { verdict(state, props.detail.event.position) }
            }
            { steps(judged.as_ref().as_ref()) }
            <LogKey shown={shown_key.map(AttrValue::from)}
                pinned={(*pinned).clone().map(AttrValue::from)} {on_pin} />
            { meaning() }
            { offline(position) }
        </section>
    }
}

/// The log's key as this server shows it, read once per attempt: `Some(Ok(None))` when it has none.
#[hook]
fn use_log_key(attempt: u32) -> Option<Result<Option<String>, ApiError>> {
    let key = use_state_eq(|| None);
    {
        let key = key.setter();
        use_effect_with(attempt, move |_| {
            spawn_local(async move {
                key.set(Some(match api::text("/log/key").await {
                    Ok(text) => Ok(Some(text.trim().to_owned())),
                    Err(error) if error.code() == Some("log.no_key") => Ok(None),
                    Err(error) => Err(error),
                }));
            });
        });
    }
    (*key).clone()
}

#[derive(Clone, Copy)]
enum State {
    Checking,
    Unsealed,
    /// In a replay, which ends before its checkpoint.
    SealedLater,
    Judged(Verdict),
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Unsealed => "unsealed",
            Self::SealedLater => "sealed-later",
            Self::Judged(Verdict::VerifiedWithPinned | Verdict::Verified) => "verified",
            Self::Judged(Verdict::NoKey) => "no-key",
            Self::Judged(Verdict::OtherKey) => "other-key",
            Self::Judged(Verdict::OtherRecord) => "other-record",
            Self::Judged(Verdict::OtherTree) => "other-tree",
            Self::Judged(Verdict::Wrong) => "wrong",
        }
    }

    const fn label(self) -> Label {
        let (text, tone, glyph) = match self {
            Self::Checking => ("Being checked", Tone::Neutral, Glyph::Hourglass),
            Self::Unsealed => ("Not sealed yet", Tone::Waiting, Glyph::Clock),
            Self::SealedLater => ("Not sealed by then", Tone::Waiting, Glyph::Clock),
            Self::Judged(Verdict::VerifiedWithPinned | Verdict::Verified) => {
                ("Verified", Tone::Verified, Glyph::Check)
            }
            Self::Judged(Verdict::NoKey) => ("No key to check with", Tone::Waiting, Glyph::Key),
            Self::Judged(Verdict::OtherKey) => {
                ("Another key than the pinned one", Tone::Failed, Glyph::Warning)
            }
            Self::Judged(Verdict::OtherRecord) => {
                ("Not the record that was sealed", Tone::Failed, Glyph::Warning)
            }
            Self::Judged(Verdict::OtherTree) => {
                ("Not the tree that was sealed", Tone::Failed, Glyph::Warning)
            }
            Self::Judged(Verdict::Wrong) => ("Not proven", Tone::Failed, Glyph::Warning),
        };
        Label { text, tone, glyph }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Checking => "Record, path and signature are being read.",
            Self::Unsealed => {
                "A signed checkpoint comes within a second or so of an event. This page looks again \
                 by itself."
            }
            Self::SealedLater => {
                "The first signed checkpoint over this event is also over later ones, which are not in \
                 this replay. Look at the event in the running installation."
            }
            Self::Judged(Verdict::VerifiedWithPinned) => {
                "Exactly this record is in the log whose key you pinned."
            }
            Self::Judged(Verdict::Verified) => {
                "Exactly this record is in the log of the key that this server shows. Whether that is \
                 the right key, only you can tell."
            }
            Self::Judged(Verdict::NoKey) => {
                "The record fits the checkpoint. Who signed the checkpoint cannot be checked without \
                 the log's key."
            }
            Self::Judged(Verdict::OtherKey) => {
                "Either the log was replaced, or you pinned the key of another one. Trust nothing on \
                 this page until you know which."
            }
            Self::Judged(Verdict::OtherRecord) => {
                "It was changed after it was written. Do not rely on it."
            }
            Self::Judged(Verdict::OtherTree) => {
                "This record, or another one in the same tree, was changed after it was sealed. Do not \
                 rely on it before the whole log is verified."
            }
            Self::Judged(Verdict::Wrong) => {
                "A step of the proof does not hold. Do not rely on this record."
            }
        }
    }

    const fn is_failed(self) -> bool {
        match self {
            Self::Judged(
                Verdict::OtherKey | Verdict::OtherRecord | Verdict::OtherTree | Verdict::Wrong,
            ) => true,
            Self::Judged(Verdict::VerifiedWithPinned | Verdict::Verified | Verdict::NoKey)
            | Self::Checking
            | Self::Unsealed
            | Self::SealedLater => false,
        }
    }
}

fn verdict(state: State, position: u64) -> Html {
    let Label { text, tone, glyph } = state.label();
    html! {
        <div class={classes!("callout", "verdict", tone.class())} data-testid="proof-verdict"
            role={if state.is_failed() { "alert" } else { "status" }}>
            <Icon {glyph} />
            <div class="callout-body">
                <p><b>{ text }{ ". " }</b>{ state.sentence() }</p>
                if state.is_failed() {
                    <p>{ "What to do: save the proof below, verify the whole log on a machine that you trust \
                          with " }<code>{ "nexplane audit verify --dsn … --key log.vkey" }</code>
                       { format!(", and show both to whoever answers for the security of this server. \
                          The event is at position {position}.") }</p>
                }
            </div>
        </div>
    }
}

/// The steps have their place from the beginning, so that nothing moves when they are known.
fn steps(judged: Option<&Judgement>) -> Html {
    let rows = STEPS.iter().enumerate().map(|(place, name)| {
        let step = judged.and_then(|judged| judged.steps.get(place));
        let (class, glyph, word) = match step.map(|step| step.found) {
            Some(Found::Holds) => ("tone-verified", Glyph::Check, "holds"),
            Some(Found::Fails) => ("tone-failed", Glyph::Cross, "fails"),
            Some(Found::Open) => ("tone-neutral", Glyph::Question, "open"),
            None => ("tone-neutral", Glyph::Dot, "pending"),
        };
        html! {
            <li key={*name} class={classes!("proof-step", class)} data-testid="proof-step"
                data-found={word}>
                <Icon {glyph} />
                <div>
                    <p><b>{ *name }</b><span class="visually-hidden">{ format!(": {word}") }</span></p>
                    <p class="proof-text">{ step.map(|step| step.text.clone()) }</p>
                    // The keys themselves follow below the steps.
                    if place + 1 < STEPS.len() {
                        <p class="proof-value">{ for step.and_then(value) }</p>
                    }
                </div>
            </li>
        }
    });
    html! { <ol class="proof-steps" aria-label="Steps of the proof">{ for rows }</ol> }
}

fn value(step: &Step) -> Option<Html> {
    step.value.as_ref().map(|value| html! { <code>{ value }</code> })
}

fn meaning() -> Html {
    html! {
        <details class="proof-more">
            <summary>{ "What this proves, and what it does not" }</summary>
            <ul class="bullets">
                <li>{ "It proves that these bytes are the event at this position of the tree whose root was signed. \
                       Nobody without the key can change or move them without this failing." }</li>
                <li>{ "It does not prove that the key is the right one. It came from this server; so did this page. \
                       Pin the key that you keep, or verify the saved proof on a machine that you trust." }</li>
                <li>{ "It does not prove that everybody is shown the same log. Checkpoints that you kept, and \
                       witnesses, do." }</li>
                <li>{ "It does not prove that the record is true, only that it has not changed since. The sentence \
                       and the names on this page are this server's words for it." }</li>
            </ul>
        </details>
    }
}

fn offline(position: u64) -> Html {
    let file = format!("proof-{position}.json");
    let commands = [
        ("Where the log is sealed, once", "nexplane keys show log > log.vkey".to_owned()),
        (
            "The same proof, from the database instead of this server",
            format!("nexplane audit proof {position} --dsn \"$DATABASE_URL\" > {file}"),
        ),
        ("Anywhere, without a network", format!("nexplane audit verify {file} --key log.vkey")),
    ];
    html! {
        <details class="proof-more">
            <summary>{ "Verify without this page" }</summary>
            <p>
                <a class="button small" href={format!("/api/v1/audit/events/{position}/proof")}
                    download={file} data-testid="audit-proof">{ "Save the proof" }</a>
            </p>
            { for commands.into_iter().map(|(what, command)| html! {
                <div class="key">
                    <span class="faint small">{ what }</span>
                    <code class="wrap-any">{ &command }</code>
                    <CopyButton text={command} what="the command" />
                </div>
            }) }
        </details>
    }
}
