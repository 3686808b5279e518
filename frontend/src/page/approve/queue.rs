//! The changes that wait for the reader, as a queue.

use nexplane_core::api::{ChangeView, InboxItem, Page};
use nexplane_core::id::ChangeId;

/// What waits for the reader, those that wait longest first.
pub fn mine(inbox: Option<&Page<InboxItem>>) -> Vec<&ChangeView> {
    let items = inbox.map(|page| page.items.as_slice()).unwrap_or_default();
    items.iter().filter(|item| item.may_approve).map(|item| &item.change).collect()
}

/// The one after this, or the first one when this is the last; never this one.
pub fn next(mine: &[&ChangeView], number: u64, id: ChangeId) -> Option<(ChangeId, String)> {
    let others = || mine.iter().filter(|change| change.id != id);
    let found = others().find(|change| change.number > number).or_else(|| others().next())?;
    Some((found.id, format!("#{} {}", found.number, found.title)))
}

/// `2 of 5 for you`; nothing when it does not wait for the reader.
pub fn place(mine: &[&ChangeView], id: ChangeId) -> Option<String> {
    let place = mine.iter().position(|change| change.id == id)?;
    Some(format!("{} of {} for you", place + 1, mine.len()))
}
