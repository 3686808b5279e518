//! Changes: the fold, the lists, and a change as of any moment.

use std::collections::BTreeMap;

use nexplane_core::api::{ChangeState, ChangeView, Page};
use nexplane_core::id::ChangeId;
use nexplane_projections::changes::{self, ChangeFilter, ChangeOrder};
use nexplane_projections::{QueryError, approvals, risk};

use crate::history::History;
use crate::support::{LONG, World};

async fn every(world: &World) -> Vec<ChangeView> {
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM nexplane.rm_changes ORDER BY number")
            .fetch_all(world.pool())
            .await
            .unwrap();
    let mut views = Vec::new();
    for id in ids {
        views.push(changes::find(world.pool(), ChangeId(id)).await.unwrap().unwrap());
    }
    views
}

async fn listed(world: &World, filter: &ChangeFilter, order: ChangeOrder) -> Vec<ChangeView> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page: Page<ChangeView> =
            changes::list(world.pool(), filter, order, cursor.as_deref(), Some(7)).await.unwrap();
        assert!(page.items.iter().all(|view| view.plan.is_none() && view.run.is_none()));
        found.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

/// The states of a change at each moment at which it was looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_as_of_a_moment_is_what_was_shown_then() {
    let world = World::new().await;
    let live = world.start().await;
    let mut history = History::new(60);
    let mut shown: Vec<(u64, BTreeMap<ChangeId, ChangeView>)> = Vec::new();
    for _ in 0..40 {
        let last = world.append(history.more(40)).await;
        live.wait_for(last, LONG).await.unwrap();
        let views = every(&world).await;
        shown.push((last, views.into_iter().map(|view| (view.id, view)).collect()));
    }
    let now: Vec<ChangeId> = shown.last().unwrap().1.keys().copied().collect();
    let mut compared = 0;
    for (position, views) in shown {
        // A part of them is enough: each is folded from the log.
        for id in now.iter().skip(usize::try_from(position).unwrap() % 3).step_by(3) {
            let folded = changes::as_of(world.pool(), &world.log, *id, position).await.unwrap();
            assert_eq!(folded.as_ref(), views.get(id), "change {id} at {position}");
            compared += usize::from(folded.is_some());
        }
    }
    assert!(compared > 300, "{compared}");
    let nobody = ChangeId(uuid::Uuid::from_u128(1));
    assert!(changes::as_of(world.pool(), &world.log, nobody, 10).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_what_the_filter_says_in_pages() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(61).more(4000)).await;
    live.wait_for(last, LONG).await.unwrap();
    let every = every(&world).await;
    let numbers: Vec<u64> = every.iter().map(|view| view.number).collect();
    assert_eq!(numbers, (1..=every.len() as u64).collect::<Vec<_>>());

    // The states of the whole machine occur.
    for state in ChangeState::ALL {
        let some = every.iter().any(|view| view.state == state);
        assert_eq!(some, state != ChangeState::Scheduled, "{state:?}");
    }

    let check = async |filter: ChangeFilter, holds: &dyn Fn(&ChangeView) -> bool| {
        let found = listed(&world, &filter, ChangeOrder::Number).await;
        let ids: Vec<_> = found.iter().map(|view| view.id).collect();
        let expected: Vec<_> =
            every.iter().rev().filter(|view| holds(view)).map(|view| view.id).collect();
        assert!(!ids.is_empty(), "{filter:?}");
        assert_eq!(ids, expected, "{filter:?}");
        found
    };
    let nothing = ChangeFilter::default;
    let all = check(nothing(), &|_| true).await;
    for (listed, whole) in all.iter().zip(every.iter().rev()) {
        let whole = ChangeView { plan: None, run: None, ..whole.clone() };
        assert_eq!(*listed, whole);
    }
    let states = vec![ChangeState::Failed, ChangeState::Complete];
    check(ChangeFilter { states: states.clone(), ..nothing() }, &|v| states.contains(&v.state))
        .await;
    let one = &every[20];
    check(ChangeFilter { requester: Some(one.requester), ..nothing() }, &|v| {
        v.requester == one.requester
    })
    .await;
    check(ChangeFilter { change_type: Some(one.change_type.clone()), ..nothing() }, &|v| {
        v.change_type == one.change_type
    })
    .await;
    check(ChangeFilter { connection: Some(one.connection_id), ..nothing() }, &|v| {
        v.connection_id == one.connection_id
    })
    .await;
    let target = one.targets[0];
    check(ChangeFilter { target: Some(target), ..nothing() }, &|v| v.targets.contains(&target))
        .await;
    let rollback = every.iter().find_map(|view| view.rollback_of).unwrap();
    check(ChangeFilter { rollback_of: Some(rollback), ..nothing() }, &|v| {
        v.rollback_of == Some(rollback)
    })
    .await;
    check(ChangeFilter { q: Some("change 1".to_owned()), ..nothing() }, &|v| {
        v.title.to_lowercase().contains("change")
            && (v.title.contains('1')
                || v.number.to_string().contains('1')
                || v.ticket.as_ref().is_some_and(|ticket| ticket.contains('1')))
    })
    .await;
    check(ChangeFilter { q: Some("ÜMLAUT".to_owned()), ..nothing() }, &|v| {
        v.title.contains("ümlaut")
    })
    .await;
    for q in ["#20 100%_'", "%", "ch_nge"] {
        let filter = ChangeFilter { q: Some(q.to_owned()), ..nothing() };
        assert!(listed(&world, &filter, ChangeOrder::Number).await.is_empty(), "{q}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_questions_about_changes() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(62).more(4000)).await;
    live.wait_for(last, LONG).await.unwrap();
    let every = every(&world).await;
    let pool = world.pool();

    // Last changed first.
    let updated = listed(&world, &ChangeFilter::default(), ChangeOrder::Updated).await;
    assert_eq!(updated.len(), every.len());
    assert!(updated.is_sorted_by(|a, b| a.position > b.position));

    // By number.
    assert_eq!(changes::find_by_number(pool, 3).await.unwrap(), Some(every[2].id));
    assert_eq!(changes::find_by_number(pool, 0).await.unwrap(), None);

    // The inbox has what waits for approval, with the plan.
    let inbox = changes::inbox(pool, None, Some(200)).await.unwrap();
    let submitted: Vec<_> =
        every.iter().filter(|view| view.state == ChangeState::Submitted).cloned().collect();
    assert_eq!(inbox.items.len(), submitted.len());
    for (item, expected) in inbox.items.iter().zip(&submitted) {
        assert_eq!(item, &ChangeView { run: None, ..expected.clone() });
        assert!(item.plan.is_some());
    }
    // So has the projection of approvals.
    let waiting = approvals::waiting(pool, None, Some(200)).await.unwrap().items;
    assert_eq!(waiting.len(), submitted.len());
    for state in waiting {
        let view = every.iter().find(|view| view.id == state.change).unwrap();
        let open = state.open.unwrap();
        assert_eq!(open.digest, view.plan.as_ref().unwrap().digest);
        assert_eq!((open.needed, open.admin_needed), (view.approvals_needed, view.admin_needed));
        let given = view.approvals.iter().filter(|approval| !approval.superseded).count();
        assert_eq!(open.given as usize, given);
        assert_eq!((state.author, state.history), (view.requester, view.approvals.clone()));
        assert_eq!(state.editors.into_iter().collect::<Vec<_>>(), view.editors);
    }
    for view in every.iter().take(50) {
        let state = approvals::find(pool, view.id).await.unwrap().unwrap();
        assert_eq!(state.history, view.approvals);
    }

    // How changes of a type ended.
    let summary = risk::summary(pool, 5).await.unwrap();
    assert!(!summary.history.is_empty());
    for row in &summary.history {
        let history = changes::history(pool, &row.change_type).await.unwrap();
        assert_eq!(u64::from(history.finished), row.finished);
        assert_eq!(u64::from(history.failed), row.failed);
        assert!(row.failed + row.outcome_unknown <= row.finished);
    }
    let failed = every.iter().filter(|v| {
        v.rollback_of.is_none() && v.run.as_ref().is_some_and(|run| run.state == "failed")
    });
    let told: u64 = summary.history.iter().map(|row| row.failed).sum();
    let failed: Vec<_> = failed.map(|view| (view.number, view.state)).collect();
    assert!(told <= failed.len() as u64, "{told} {failed:?} {summary:?}");
    let rolled_back = every.iter().filter(|view| view.rolled_back_by.is_some()).count();
    let told: u64 = summary.history.iter().map(|row| row.rolled_back).sum();
    assert_eq!(told, rolled_back as u64);

    // And how those of a score did.
    let calibration = risk::calibration(pool).await.unwrap();
    let scores: Vec<_> = calibration.scores.iter().map(|row| row.score).collect();
    assert_eq!(scores, (1..=10).collect::<Vec<u8>>());
    let finished: u64 = calibration.scores.iter().map(|row| row.finished).sum();
    assert_eq!(finished, summary.history.iter().map(|row| row.finished).sum::<u64>());
    let told: u64 = calibration.scores.iter().map(|row| row.went_wrong).sum();
    let failures = summary.history.iter().map(|row| row.failed + row.outcome_unknown);
    assert!(told >= failures.sum::<u64>() && told <= finished, "{calibration:?}");
    for row in &calibration.scores {
        let share = row.likely.map(|share| (share.from, share.to));
        let percent = (row.went_wrong * 100).checked_div(row.finished);
        assert_eq!(share.is_some(), percent.is_some());
        let is_within =
            |(from, to)| percent.is_some_and(|it| (u64::from(from)..=u64::from(to)).contains(&it));
        assert!(share.is_none_or(is_within), "{row:?}");
    }

    // What is open, by level.
    let open = |level: &str| {
        let open = every.iter().filter(|view| !view.state.is_settled());
        open.filter(|v| v.risk.as_ref().is_some_and(|r| r.level.as_str() == level)).count() as u64
    };
    assert_eq!(summary.open.low, open("low"));
    assert_eq!(summary.open.medium, open("medium"));
    assert_eq!(summary.open.high, open("high"));
    assert_eq!(summary.open.critical, open("critical"));
    assert!(summary.top.is_sorted_by(|a, b| a.score >= b.score));
    for row in &summary.top {
        let view = every.iter().find(|view| view.id == row.change).unwrap();
        assert_eq!((row.number, row.state.as_str()), (view.number, view.state.as_str()));
        assert_eq!(row.title, view.title);
    }

    let everything = ChangeFilter::default();
    let refused = changes::list(pool, &everything, ChangeOrder::Number, Some("x"), None);
    assert!(matches!(refused.await, Err(QueryError::Cursor)));
}
