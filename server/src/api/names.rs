//! Names for ids. People's names are in the directory only; they are added when somebody reads.

use std::collections::BTreeSet;

use nexplane_core::actor::Actor;
use nexplane_core::api::{ChangeView, EventView, HostView};
use nexplane_core::id::StreamId;
use nexplane_projections::upkeep;
use uuid::Uuid;

use crate::app::App;
use crate::problem::ApiResult;

/// Adds the names of people, assets and connections that appear in changes.
pub async fn of_changes<'a>(
    app: &App,
    changes: impl Iterator<Item = &'a mut ChangeView>,
) -> ApiResult<()> {
    let changes: Vec<_> = changes.collect();
    let mut people = BTreeSet::new();
    let mut things = BTreeSet::new();
    for change in &changes {
        people.insert(change.requester.0);
        people.extend(change.editors.iter().map(|person| person.0));
        people.extend(change.approvals.iter().map(|approval| approval.by.0));
        people.extend(change.approvals.iter().filter_map(|given| given.delegator).map(|p| p.0));
        people.extend(change.seats.iter().flat_map(|seat| &seat.people).map(|person| person.0));
        people.extend(change.scheduled.iter().map(|scheduled| scheduled.by.0));
        people.extend(change.overrides.iter().map(|given| given.by.0));
        people.extend(change.glass.iter().map(|broken| broken.by.0));
        people.extend(change.review.iter().map(|review| review.by.0));
        things.extend(change.targets.iter().map(|asset| asset.0));
        things.insert(change.connection_id.0);
    }
    let people: Vec<Uuid> = people.into_iter().collect();
    let mut names = app.directory.names(&people).await?;
    names.insert(Actor::SYSTEM.id, "Nexplane".to_owned());
    let things: Vec<Uuid> = things.into_iter().collect();
    names.extend(upkeep::names(&app.pool, &things).await?);
    for change in changes {
        let ids = std::iter::once(change.requester.0)
            .chain(change.editors.iter().map(|person| person.0))
            .chain(change.approvals.iter().map(|approval| approval.by.0))
            .chain(change.approvals.iter().filter_map(|given| given.delegator).map(|p| p.0))
            .chain(change.seats.iter().flat_map(|seat| &seat.people).map(|person| person.0))
            .chain(change.scheduled.iter().map(|scheduled| scheduled.by.0))
            .chain(change.overrides.iter().map(|given| given.by.0))
            .chain(change.glass.iter().map(|broken| broken.by.0))
            .chain(change.review.iter().map(|review| review.by.0))
            .chain(change.targets.iter().map(|asset| asset.0))
            .chain(std::iter::once(change.connection_id.0));
        change.names =
            ids.filter_map(|id| Some((id.to_string(), names.get(&id)?.clone()))).collect();
    }
    Ok(())
}

/// Adds the names of those who acted, and of what it is about.
pub async fn of_events<'a>(
    app: &App,
    events: impl Iterator<Item = &'a mut EventView>,
) -> ApiResult<()> {
    let events: Vec<_> = events.collect();
    let mut ids = BTreeSet::new();
    for event in &events {
        ids.insert(event.actor.id);
        ids.extend(subject(event));
    }
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let mut names = upkeep::subjects(&app.pool, &ids).await?;
    names.extend(app.directory.names(&ids).await?);
    for event in events {
        event.actor_name = names.get(&event.actor.id).cloned();
        event.stream_name = subject(event).and_then(|id| names.get(&id)).cloned();
    }
    Ok(())
}

/// What the stream of an event is about.
fn subject(event: &EventView) -> Option<Uuid> {
    event.stream.parse().ok().map(|stream: StreamId| stream.id)
}

/// Adds the names of those who revoked hosts.
pub async fn of_hosts<'a>(
    app: &App,
    hosts: impl Iterator<Item = &'a mut HostView>,
) -> ApiResult<()> {
    let revoked: Vec<_> = hosts.filter(|host| host.revoked_by.is_some()).collect();
    let people: BTreeSet<Uuid> =
        revoked.iter().filter_map(|host| host.revoked_by).map(|person| person.0).collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let names = app.directory.names(&people).await?;
    for host in revoked {
        host.revoked_by_name = host.revoked_by.and_then(|person| names.get(&person.0)).cloned();
    }
    Ok(())
}
