//! State and command to events, or the exact reason why not.

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::asset::command::AssetCommand;
use crate::asset::event::{AssetEvent, Facts};
use crate::asset::evolve::evolve;
use crate::asset::rejection::AssetRejection as No;
use crate::asset::state::{Annotations, AssetState, Identity};
use crate::event::Event;
use crate::id::{Category, ChangeId};
use crate::time::Timestamp;

/// Most characters of an owner.
pub const MAX_OWNER: usize = 100;
/// Most characters of a tag.
pub const MAX_TAG: usize = 40;
/// Most tags of one asset.
pub const MAX_TAGS: usize = 20;

const OPERATOR: &str = "the operator or admin role, as a person who is signed in";

/// The asset aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Asset;

impl Decider for Asset {
    const CATEGORY: Category = Category::Asset;
    type State = AssetState;
    type Command = AssetCommand;
    type Event = AssetEvent;
    type Rejection = No;

    fn decide(state: &AssetState, asked: Asked<AssetCommand>) -> Result<Vec<AssetEvent>, No> {
        let Asked { by, at: _, command } = asked;
        permitted(&by, &command)?;
        match command {
            AssetCommand::Observe {
                connection,
                asset_type,
                external_key,
                environment,
                facts,
                explained_by,
            } => {
                let seen = Identity { connection, asset_type, external_key, environment };
                observe(state, seen, normal(facts), explained_by)
            }
            AssetCommand::MarkGone => match state {
                AssetState::Absent => Err(No::NotFound),
                AssetState::Present(_) => Ok(vec![AssetEvent::Gone {}]),
                AssetState::Gone(_) => Ok(Vec::new()),
            },
            AssetCommand::Annotate { owner, tags, critical, environment } => {
                let owner = owner.map(checked_owner).transpose()?;
                let tags = checked_tags(&tags)?;
                annotate(state, Annotations { owner, tags, critical, environment })
            }
        }
    }

    fn evolve(state: AssetState, event: &AssetEvent, _by: Actor, at: Timestamp) -> AssetState {
        evolve(state, event, at)
    }

    fn own(event: &Event) -> Option<&AssetEvent> {
        if let Event::Asset(event) = event { Some(event) } else { None }
    }
}

impl From<AssetEvent> for Event {
    fn from(event: AssetEvent) -> Self {
        Self::Asset(event)
    }
}

/// Who may ask for what, whatever the state.
fn permitted(by: &Principal, command: &AssetCommand) -> Result<(), No> {
    let is_operator =
        by.actor.kind == ActorKind::User && by.has_any(&[Role::Operator, Role::Admin]);
    let may = match command {
        AssetCommand::Observe { .. } | AssetCommand::MarkGone => {
            is_operator || by.actor.kind == ActorKind::System
        }
        AssetCommand::Annotate { .. } => is_operator,
    };
    if may { Ok(()) } else { Err(No::Denied { needed: OPERATOR }) }
}

fn observe(
    state: &AssetState,
    seen: Identity,
    facts: Facts,
    explained_by: Option<ChangeId>,
) -> Result<Vec<AssetEvent>, No> {
    match state {
        AssetState::Absent => {
            let Identity { connection, asset_type, external_key, environment } = seen;
            for (field, text) in [("asset_type", &asset_type), ("external_key", &external_key)] {
                if text.is_empty() {
                    return Err(No::Invalid { field, problem: "must not be empty".to_owned() });
                }
            }
            Ok(vec![AssetEvent::Discovered {
                connection,
                asset_type,
                external_key,
                environment,
                facts,
            }])
        }
        AssetState::Present(present) => {
            same(&present.identity, &seen)?;
            if facts == present.facts {
                return Ok(Vec::new());
            }
            Ok(vec![AssetEvent::Drifted { facts, explained_by }])
        }
        AssetState::Gone(gone) => {
            same(&gone.identity, &seen)?;
            Ok(vec![AssetEvent::Returned { facts }])
        }
    }
}

/// The environment may differ: it is the connection's to change.
fn same(known: &Identity, seen: &Identity) -> Result<(), No> {
    if known.connection == seen.connection
        && known.asset_type == seen.asset_type
        && known.external_key == seen.external_key
    {
        return Ok(());
    }
    Err(No::OtherIdentity {
        asset_type: known.asset_type.clone(),
        external_key: known.external_key.clone(),
    })
}

/// Targets list their relations in no order; only a difference in content is a drift.
fn normal(mut facts: Facts) -> Facts {
    facts.relations.sort_unstable();
    facts.relations.dedup();
    facts
}

fn annotate(state: &AssetState, wanted: Annotations) -> Result<Vec<AssetEvent>, No> {
    let annotations = match state {
        AssetState::Absent => return Err(No::NotFound),
        AssetState::Present(present) => &present.annotations,
        AssetState::Gone(gone) => &gone.annotations,
    };
    if *annotations == wanted {
        return Ok(Vec::new());
    }
    let Annotations { owner, tags, critical, environment } = wanted;
    Ok(vec![AssetEvent::Annotated { owner, tags, critical, environment }])
}

fn checked_owner(owner: String) -> Result<String, No> {
    checked_text("owner", &owner, MAX_OWNER)
}

fn checked_tags(tags: &[String]) -> Result<Vec<String>, No> {
    let mut tags =
        tags.iter().map(|tag| checked_text("tags", tag, MAX_TAG)).collect::<Result<Vec<_>, _>>()?;
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MAX_TAGS {
        return Err(No::Invalid { field: "tags", problem: format!("at most {MAX_TAGS} tags") });
    }
    Ok(tags)
}

fn checked_text(field: &'static str, text: &str, limit: usize) -> Result<String, No> {
    let text = text.trim();
    let invalid = |problem: String| Err(No::Invalid { field, problem });
    if text.is_empty() {
        return invalid("must not be empty".to_owned());
    }
    if text.chars().count() > limit {
        return invalid(format!("at most {limit} characters"));
    }
    if text.contains(char::is_control) {
        return invalid("must not contain control characters".to_owned());
    }
    Ok(text.to_owned())
}
