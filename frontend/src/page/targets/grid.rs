//! Where every target of a rollout is, as it was laid out and as it is now. Pure.
//!
//! The places of targets stay as they were laid out until somebody asks for it: what moves is told where it
//! stands, and counted.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;

use nexplane_core::api::{RolloutTargetOrder, RolloutTargetView, TargetState};

/// Rows that are asked for at once: as many as the API gives.
pub const PAGE: usize = 200;

/// One target in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    no: u32,
    /// When it was laid out.
    then: TargetState,
    now: TargetState,
}

#[derive(Clone, Debug, Default)]
pub struct Grid {
    places: Vec<Place>,
    /// Where a target is, by its number.
    place_of: HashMap<u32, usize>,
    /// What has been read of targets, by their numbers.
    rows: HashMap<u32, Rc<RolloutTargetView>>,
    /// Everything up to here is in it.
    position: u64,
    /// Targets that are not where they would be laid out now.
    strays: BTreeSet<u32>,
    /// The states that the list is of; empty for all.
    wanted: Vec<TargetState>,
    /// It has all names, so that what is not in it can only be of another state.
    whole: bool,
}

impl Grid {
    /// Laid out in this order; `wanted` and `whole` say which targets it was asked for.
    pub fn new(order: &RolloutTargetOrder, wanted: Vec<TargetState>, whole: bool) -> Self {
        let places: Vec<Place> =
            of(order).map(|(no, state)| Place { no, then: state, now: state }).collect();
        let place_of = places.iter().enumerate().map(|(place, at)| (at.no, place)).collect();
        Self { places, place_of, position: order.position, wanted, whole, ..Self::default() }
    }

    /// Laid out anew; what has been read stays.
    pub fn lay_out(&mut self, mut other: Self) {
        other.rows = std::mem::take(&mut self.rows);
        other.drop_what_moved();
        *self = other;
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub const fn position(&self) -> u64 {
        self.position
    }

    pub fn no_at(&self, place: usize) -> Option<u32> {
        self.places.get(place).map(|at| at.no)
    }

    pub fn place_of(&self, no: u32) -> Option<usize> {
        self.place_of.get(&no).copied()
    }

    pub fn state_at(&self, place: usize) -> Option<TargetState> {
        self.places.get(place).map(|at| at.now)
    }

    pub fn states(&self) -> impl Iterator<Item = TargetState> + '_ {
        self.places.iter().map(|at| at.now)
    }

    pub fn row(&self, no: u32) -> Option<&Rc<RolloutTargetView>> {
        self.rows.get(&no)
    }

    /// How many targets are not where they would be laid out now.
    pub fn changed(&self) -> usize {
        self.strays.len()
    }

    /// The targets around these places that have not been read: a whole page, when one is.
    pub fn missing(&self, seen: Range<usize>) -> Vec<u32> {
        let unread = |range: Range<usize>| {
            let places = self.places.get(range).unwrap_or_default();
            places.iter().map(|at| at.no).filter(|no| !self.rows.contains_key(no))
        };
        let end = seen.end.min(self.len());
        let seen = seen.start.min(end)..end;
        if unread(seen.clone()).next().is_none() {
            return Vec::new();
        }
        let before = seen.start.saturating_sub(PAGE.saturating_sub(seen.len()) / 2);
        unread(before..self.len()).take(PAGE).collect()
    }

    /// What was read of some targets.
    pub fn take(&mut self, rows: Vec<RolloutTargetView>) {
        for row in rows {
            // An answer that is older than what was heard since says nothing new.
            if self.rows.get(&row.no).is_some_and(|known| known.position > row.position) {
                continue;
            }
            self.moves(row.no, row.state);
            self.rows.insert(row.no, Rc::new(row));
        }
    }

    /// What moved, up to the last of these.
    pub fn follow(&mut self, rows: Vec<RolloutTargetView>) {
        let last = rows.iter().map(|row| row.position).max().unwrap_or(0);
        self.take(rows);
        self.position = self.position.max(last);
    }

    /// Where all targets are now, whatever is asked for; their places stay.
    pub fn restate(&mut self, order: &RolloutTargetOrder) {
        for (no, state) in of(order) {
            self.moves(no, state);
        }
        self.position = self.position.max(order.position);
        self.drop_what_moved();
    }

    /// What they wait for is another thing now.
    pub fn forget_what_waits(&mut self) {
        self.rows.retain(|_, row| row.waiting_for.is_none());
    }

    fn moves(&mut self, no: u32, state: TargetState) {
        let strays = match self.place_of.get(&no).and_then(|place| self.places.get_mut(*place)) {
            Some(at) => {
                at.now = state;
                at.then != state
            }
            // It was of another state, and is of one that is asked for now.
            None => self.whole && self.wanted.contains(&state),
        };
        if strays {
            self.strays.insert(no);
        } else {
            self.strays.remove(&no);
        }
    }

    /// Rows that say another state than is known to be have to be read again.
    fn drop_what_moved(&mut self) {
        let (places, place_of) = (&self.places, &self.place_of);
        self.rows.retain(|no, row| {
            let at = place_of.get(no).and_then(|place| places.get(*place));
            at.is_none_or(|at| at.now == row.state)
        });
    }
}

fn of(order: &RolloutTargetOrder) -> impl Iterator<Item = (u32, TargetState)> + '_ {
    order.groups.iter().flat_map(|group| {
        let numbers = group.stretches.iter().flat_map(|(first, last)| *first..=*last);
        numbers.map(|no| (no, group.state))
    })
}

#[cfg(test)]
mod tests {
    use nexplane_core::api::RolloutTargetGroup;
    use nexplane_core::id::AssetId;
    use nexplane_core::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn order(groups: &[(TargetState, &[(u32, u32)])]) -> RolloutTargetOrder {
        let groups = groups.iter().map(|(state, stretches)| RolloutTargetGroup {
            state: *state,
            stretches: stretches.to_vec(),
        });
        RolloutTargetOrder { position: 100, groups: groups.collect() }
    }

    fn row(no: u32, state: TargetState, position: u64) -> RolloutTargetView {
        RolloutTargetView {
            no,
            asset: AssetId(Uuid::nil()),
            name: format!("web-{no}"),
            state,
            reason: None,
            run: None,
            since: Timestamp::from_micros(0),
            position,
            waiting_for: (state == TargetState::Waiting).then(|| "its turn".to_owned()),
        }
    }

    fn all() -> Grid {
        let order = order(&[
            (TargetState::Failed, &[(7, 7)]),
            (TargetState::Waiting, &[(500, 999)]),
            (TargetState::Complete, &[(0, 6), (8, 499)]),
        ]);
        Grid::new(&order, Vec::new(), true)
    }

    #[test]
    fn each_has_its_place_and_what_is_read_is_what_is_seen() {
        let mut grid = all();
        assert_eq!(grid.len(), 1000);
        assert_eq!(
            (grid.no_at(0), grid.no_at(1), grid.no_at(999)),
            (Some(7), Some(500), Some(499))
        );
        assert_eq!(grid.place_of(499), Some(999));
        // The end, without anything in between.
        let asked = grid.missing(980..1010);
        assert_eq!(asked.len(), 1000 - 890, "a page is around what is seen");
        assert!(asked.contains(&499) && !asked.contains(&500));
        grid.take(asked.iter().map(|no| row(*no, TargetState::Complete, 1)).collect());
        assert!(grid.missing(980..1010).is_empty());
        assert_eq!(grid.missing(0..20).len(), PAGE);
        assert!(grid.missing(2000..2010).is_empty());
    }

    #[test]
    fn what_moves_keeps_its_place_until_it_is_laid_out_anew() {
        let mut grid = all();
        grid.follow(vec![
            row(500, TargetState::Executing, 101),
            row(501, TargetState::Failed, 103),
        ]);
        assert_eq!((grid.changed(), grid.position()), (2, 103));
        assert_eq!((grid.no_at(1), grid.state_at(1)), (Some(500), Some(TargetState::Executing)));
        // Read before it moved.
        grid.take(vec![row(501, TargetState::Waiting, 50)]);
        assert_eq!(grid.state_at(2), Some(TargetState::Failed));
        // And where it was.
        grid.follow(vec![row(500, TargetState::Waiting, 104)]);
        assert_eq!(grid.changed(), 1);

        let anew = order(&[
            (TargetState::Failed, &[(7, 7), (501, 501)]),
            (TargetState::Waiting, &[(500, 500), (502, 999)]),
            (TargetState::Complete, &[(0, 6), (8, 499)]),
        ]);
        grid.restate(&anew);
        assert_eq!((grid.no_at(1), grid.changed()), (Some(500), 1));
        grid.lay_out(Grid::new(&anew, Vec::new(), true));
        assert_eq!((grid.no_at(1), grid.changed()), (Some(501), 0));
        assert!(grid.row(501).is_some());
        grid.forget_what_waits();
        assert!(grid.row(501).is_some() && grid.row(500).is_none());
    }

    #[test]
    fn a_list_of_one_state_hears_of_those_that_are_of_it_now() {
        let failed = order(&[(TargetState::Failed, &[(7, 7)])]);
        let mut grid = Grid::new(&failed, vec![TargetState::Failed], true);
        grid.follow(vec![row(9, TargetState::Failed, 101), row(10, TargetState::Complete, 102)]);
        assert_eq!((grid.len(), grid.changed()), (1, 1));
        // Whether it has the name that is asked for, nobody here knows.
        let mut named = Grid::new(&failed, vec![TargetState::Failed], false);
        named.follow(vec![row(9, TargetState::Failed, 101)]);
        assert_eq!(named.changed(), 0);
    }
}
