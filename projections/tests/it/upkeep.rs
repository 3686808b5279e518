//! What the runtime looks for.

use nexplane_core::api::ChangeState;
use nexplane_core::id::{AssetId, SecretId};
use nexplane_core::time::Timestamp;
use nexplane_projections::changes::{self, ChangeFilter, ChangeOrder};
use nexplane_projections::{inventory, upkeep};

use crate::history::{History, START};
use crate::support::{LONG, World};

#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_was_woken_for_is_found() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(80).more(3000)).await;
    live.wait_for(last, LONG).await.unwrap();
    let pool = world.pool();
    let in_state = async |state| {
        let filter = ChangeFilter { states: vec![state], ..ChangeFilter::default() };
        changes::list(pool, &filter, ChangeOrder::Updated, None, Some(200)).await.unwrap().items
    };

    let executing = in_state(ChangeState::Executing).await;
    let open = upkeep::open_runs(pool).await.unwrap();
    assert_eq!(open.len(), executing.len());
    for (change, run) in open {
        assert_eq!(changes::runs(pool, change).await.unwrap(), [run]);
    }

    let approved = in_state(ChangeState::Approved).await;
    let early = Timestamp::from_micros(START);
    assert!(upkeep::expired_approvals(pool, early).await.unwrap().is_empty());
    let late = approved.iter().filter_map(|view| view.approved_until).max().unwrap();
    assert_eq!(upkeep::expired_approvals(pool, late).await.unwrap().len(), approved.len());

    let moved = upkeep::changed_since(pool, last - 200).await.unwrap();
    assert!(!moved.is_empty() && moved.iter().all(|(.., position)| *position > last - 200));

    let with_secret =
        in_state(ChangeState::Complete).await.into_iter().find(|view| !view.secrets.is_empty());
    let with_secret = with_secret.unwrap();
    let secret = &with_secret.secrets[0];
    let found = upkeep::change_of_secret(pool, secret.id).await.unwrap();
    assert_eq!(found, Some((with_secret.id, secret.name.clone())));
    let unknown = SecretId(uuid::Uuid::from_u128(1));
    assert_eq!(upkeep::change_of_secret(pool, unknown).await.unwrap(), None);

    let target = with_secret.targets[0];
    assert!(upkeep::change_of_asset_since(pool, target, 0).await.unwrap().is_some());
    assert!(upkeep::change_of_asset_since(pool, target, last).await.unwrap().is_none());

    let asset = inventory::find(pool, target).await.unwrap().unwrap();
    let present = upkeep::present_assets(pool, asset.connection_id).await.unwrap();
    assert_eq!(
        present.get(&target).copied(),
        (asset.status == "present").then_some(asset.position)
    );
    let names = upkeep::names(pool, &[target.0, asset.connection_id.0]).await.unwrap();
    assert_eq!(names[&target.0], asset.name);
    assert_eq!(names[&asset.connection_id.0], asset.connection_name);
    assert!(
        upkeep::present_assets(pool, AssetId(uuid::Uuid::nil()).0.into()).await.unwrap().is_empty()
    );
}
