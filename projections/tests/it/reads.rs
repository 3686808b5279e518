//! How many rows PostgreSQL reads for the first rows of a list: few, whatever is asked for and however many
//! there are. Counted by PostgreSQL itself, on the one connection that asks.

use nexplane_core::actor::Actor;
use nexplane_core::api::ChangeState;
use nexplane_core::asset::event::{AssetEvent, Facts};
use nexplane_core::change::event::{ChangeEvent, Draft};
use nexplane_core::connection::event::ConnectionEvent;
use nexplane_core::event::Event;
use nexplane_core::id::{AssetId, ChangeId, ConnectionId, PersonId, StreamId};
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use nexplane_projections::changes::{self, ChangeFilter, ChangeOrder};
use nexplane_projections::inventory::{self, AssetFilter};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use crate::history::START;
use crate::support::{Command, World};

const CHANGES: u128 = 4_000;
const ASSETS: u128 = 8_000;
const CONNECTIONS: u128 = 8;
/// Rows of all tables that a list of changes may read, and one of assets: as many as are looked at one by one
/// before an index is asked, of assets each with its connection, and some.
const OF_CHANGES: i64 = 1_500;
const OF_ASSETS: i64 = 4_500;

/// Changes and assets of which each has a word of its own, and all have some in common.
async fn filled(world: &World) {
    let of = |stream: StreamId, event: Event| Command {
        stream,
        expected: 0,
        actor: Actor::user(PersonId(Uuid::from_u128(stream.id.as_u128() % 7))),
        at: Timestamp::from_micros(START),
        events: vec![event],
    };
    let connection = |no: u128| ConnectionId(Uuid::from_u128(1_000_000 + no % CONNECTIONS));
    let mut commands = Vec::new();
    for no in 0..CONNECTIONS {
        let created = ConnectionEvent::Created {
            name: format!("site{no}"),
            connector: "postgres".to_owned(),
            environment: Environment::Prod,
            settings: json!({}),
            credentials: None,
            host: None,
        };
        commands.push(of(connection(no).into(), Event::Connection(created)));
    }
    for no in 0..ASSETS {
        let name = format!("billing_{no:05}");
        let discovered = AssetEvent::Discovered {
            connection: connection(no),
            asset_type: if no == 77 { "rare" } else { "role" }.to_owned(),
            external_key: format!("role/{name}"),
            environment: Environment::Prod,
            facts: Facts { name, metadata: json!({}), relations: Vec::new() },
        };
        let asset = AssetId(Uuid::from_u128(2_000_000 + no));
        commands.push(of(asset.into(), Event::Asset(discovered)));
    }
    for no in 0..CHANGES {
        let draft = Draft {
            title: format!("Lock the role billing_{no:05}"),
            reason: "Nobody needs it any more.".to_owned(),
            ticket: Some(format!("OPS-{no:05}")),
            change_type: "postgres.lock_user".to_owned(),
            connection: connection(no),
            targets: vec![AssetId(Uuid::from_u128(2_000_000 + no))],
            parameters: json!({}),
            window: None,
            rollout: None,
            auto_rollback: false,
        };
        let drafted = ChangeEvent::Drafted { draft, rollback_of: None };
        let change = ChangeId(Uuid::from_u128(3_000_000 + no));
        commands.push(of(change.into(), Event::Change(drafted)));
    }
    world.append(commands).await;
    let projections = world.open().await;
    for name in ["changes", "inventory"] {
        projections.rebuild(name, |_| {}).await.unwrap();
    }
}

/// The one connection that everything is asked on.
struct Meter(PgPool);

impl Meter {
    async fn on(world: &World) -> Self {
        let one = PgPoolOptions::new().max_connections(1);
        Self(one.connect_with(world.database.options()).await.unwrap())
    }

    /// Rows that were read from tables of ours up to now, in order or by an index.
    async fn read(&self) -> i64 {
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&self.0).await.unwrap();
        sqlx::query_scalar(
            "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
             FROM pg_stat_user_tables WHERE schemaname = 'nexplane'",
        )
        .fetch_one(&self.0)
        .await
        .unwrap()
    }

    async fn changes(&self, filter: ChangeFilter, found: usize) {
        let before = self.read().await;
        let page = changes::list(&self.0, &filter, ChangeOrder::Number, None, None).await.unwrap();
        let read = self.read().await - before;
        assert_eq!(page.items.len(), found, "{filter:?}");
        assert!(read > 0 || found == 0, "{filter:?}: nothing is counted");
        assert!(read <= OF_CHANGES, "{filter:?} read {read} rows");
    }

    async fn assets(&self, filter: AssetFilter, found: usize) {
        let before = self.read().await;
        let page = inventory::list(&self.0, &filter, None, None).await.unwrap();
        let read = self.read().await - before;
        assert_eq!(page.items.len(), found, "{filter:?}");
        assert!(read > 0 || found == 0, "{filter:?}: nothing is counted");
        assert!(read <= OF_ASSETS, "{filter:?} read {read} rows");
    }
}

#[tokio::test]
async fn a_list_reads_few_rows_whatever_is_asked_for() {
    let world = World::new().await;
    filled(&world).await;
    let meter = Meter::on(&world).await;

    let all = ChangeFilter::default;
    let q = |q: &str| ChangeFilter { q: Some(q.to_owned()), ..all() };
    let target = Some(AssetId(Uuid::from_u128(2_000_000)));
    let nobody = Some(PersonId(Uuid::from_u128(99)));
    let connection = Some(ConnectionId(Uuid::from_u128(99)));
    meter.changes(all(), 50).await;
    meter.changes(ChangeFilter { states: vec![ChangeState::Failed], ..all() }, 0).await;
    meter.changes(ChangeFilter { states: vec![ChangeState::Draft], ..all() }, 50).await;
    meter.changes(ChangeFilter { requester: nobody, ..all() }, 0).await;
    meter.changes(ChangeFilter { connection, ..all() }, 0).await;
    meter.changes(ChangeFilter { target, ..all() }, 1).await;
    meter.changes(q("role"), 50).await;
    meter.changes(q("OPS-00007"), 1).await;
    meter.changes(q("ps-0000 role"), 10).await;
    meter.changes(q("zebra"), 0).await;
    meter.changes(q("role zebra"), 0).await;

    let all = AssetFilter::default;
    let q = |q: &str| AssetFilter { q: Some(q.to_owned()), ..all() };
    meter.assets(all(), 50).await;
    meter.assets(AssetFilter { asset_type: Some("rare".to_owned()), ..all() }, 1).await;
    meter.assets(AssetFilter { asset_type: Some("none".to_owned()), ..all() }, 0).await;
    meter.assets(AssetFilter { tag: Some("none".to_owned()), ..all() }, 0).await;
    meter.assets(AssetFilter { connection, ..all() }, 0).await;
    meter.assets(q("billing"), 50).await;
    meter.assets(q("ing_07999"), 1).await;
    meter.assets(q("site7/role/billing_07999"), 1).await;
    meter.assets(q("site6/role/billing_07999"), 0).await;
    meter.assets(q("e7/role site7"), 50).await;
    meter.assets(q("zebra"), 0).await;
}
