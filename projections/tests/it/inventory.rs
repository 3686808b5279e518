//! Assets, relations, connections and hosts.

use nexplane_core::actor::Actor;
use nexplane_core::api::HostCounts;
use nexplane_core::asset::event::{AssetEvent, Facts, Relation};
use nexplane_core::connection::event::ConnectionEvent;
use nexplane_core::event::Event;
use nexplane_core::host::event::{Certificate, HostEvent};
use nexplane_core::id::{AssetId, ConnectionId, HostId, PersonId, StreamId};
use nexplane_core::plan::Check;
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use nexplane_projections::hosts::{self, HostFilter};
use nexplane_projections::inventory::{self, AssetFilter};
use nexplane_projections::{Projections, QueryError};
use serde_json::json;
use sqlx::PgPool;
use std::collections::HashMap;
use uuid::Uuid;

use crate::history::{History, START};
use crate::support::{Command, LONG, World};

struct Site {
    world: World,
    live: Projections,
    versions: HashMap<StreamId, u64>,
    now: i64,
}

impl Site {
    async fn new() -> Self {
        let world = World::new().await;
        let live = world.start().await;
        Self { world, live, versions: HashMap::new(), now: START }
    }

    async fn happened<E: Into<Event>>(&mut self, stream: impl Into<StreamId>, event: E) -> u64 {
        let stream = stream.into();
        self.now += 1_000_000;
        let version = self.versions.entry(stream).or_default();
        let command = Command {
            stream,
            expected: *version,
            actor: Actor::user(PersonId(Uuid::from_u128(1))),
            at: Timestamp::from_micros(self.now),
            events: vec![event.into()],
        };
        *version += 1;
        let position = self.world.append(vec![command]).await;
        self.live.wait_for_some(&["hosts", "inventory"], position, LONG).await.unwrap();
        position
    }

    async fn connection(&mut self, id: u128, name: &str, environment: Environment) -> ConnectionId {
        let id = ConnectionId(Uuid::from_u128(id));
        let created = ConnectionEvent::Created {
            name: name.to_owned(),
            connector: "postgres".to_owned(),
            environment,
            settings: json!({ "host": "db.example" }),
            credentials: None,
            host: None,
        };
        self.happened(id, created).await;
        id
    }

    async fn asset(&mut self, id: u128, of: ConnectionId, relations: &[(&str, u128)]) -> AssetId {
        let asset = AssetId(Uuid::from_u128(id));
        let discovered = AssetEvent::Discovered {
            connection: of,
            asset_type: "postgres_role".to_owned(),
            external_key: format!("role/a/{id}"),
            environment: Environment::Dev,
            facts: facts(&format!("Asset {id}"), relations),
        };
        self.happened(asset, discovered).await;
        asset
    }

    async fn find(&self, id: AssetId) -> nexplane_core::api::AssetView {
        inventory::find(self.world.pool(), id).await.unwrap().unwrap()
    }
}

fn facts(name: &str, relations: &[(&str, u128)]) -> Facts {
    let relations = relations
        .iter()
        .map(|(kind, to)| Relation { kind: (*kind).to_owned(), to: AssetId(Uuid::from_u128(*to)) });
    Facts { name: name.to_owned(), metadata: json!(null), relations: relations.collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_follows_its_connection() {
    let mut site = Site::new().await;
    let pool = site.world.pool().clone();
    let db = site.connection(100, "orders db", Environment::Staging).await;
    let id = site.asset(1, db, &[]).await;
    let seen = site.now;

    let view = site.find(id).await;
    assert_eq!(view.key, "orders db/role/a/1");
    assert_eq!((view.environment, view.status.as_str()), (Environment::Staging, "present"));
    assert_eq!(view.metadata, json!(null));
    let right = "orders db/role/a/1";
    let wrong =
        ["orders db", "orders db/role", "/role/a/1", "other/role/a/1", "orders db/role/a/1/"];
    let mut all = wrong.to_vec();
    all.insert(3, right);
    assert_eq!(inventory::by_keys(&pool, &all).await.unwrap(), HashMap::from([(right, id)]));

    // Renamed and relabelled: at once, without an event of the asset.
    site.happened(db, ConnectionEvent::Renamed { name: "sales".to_owned() }).await;
    site.happened(db, ConnectionEvent::Relabelled { environment: Environment::Prod }).await;
    let view = site.find(id).await;
    assert_eq!((view.key.as_str(), view.environment), ("sales/role/a/1", Environment::Prod));
    assert_eq!(view.connection_name, "sales");
    assert_eq!(by_key(&pool, "orders db/role/a/1").await, None);
    assert_eq!(by_key(&pool, "sales/role/a/1").await, Some(id));

    // A discovery that finds it unchanged has seen it.
    assert_eq!(view.last_seen, Timestamp::from_micros(seen));
    let discovered =
        |gone| ConnectionEvent::Discovered { found: 1, new: 0, changed: 0, gone, duration_ms: 3 };
    site.happened(db, discovered(0)).await;
    let discovered_at = Timestamp::from_micros(site.now);
    assert_eq!(site.find(id).await.last_seen, discovered_at);
    // One that does not find it has not.
    site.happened(id, AssetEvent::Gone {}).await;
    site.happened(db, discovered(1)).await;
    let view = site.find(id).await;
    assert_eq!((view.last_seen, view.status.as_str()), (discovered_at, "gone"));
    assert_eq!(view.first_seen, Timestamp::from_micros(seen));

    // An operator's fields and a discovery's do not touch each other.
    let annotated = AssetEvent::Annotated {
        owner: Some("Team Ä".to_owned()),
        tags: vec!["pci".to_owned()],
        critical: true,
        environment: Some(Environment::Dev),
    };
    site.happened(id, annotated).await;
    let last = site.happened(id, AssetEvent::Returned { facts: facts("Back", &[]) }).await;
    let view = site.find(id).await;
    assert_eq!((view.name.as_str(), view.status.as_str()), ("Back", "present"));
    assert_eq!((view.environment, view.critical), (Environment::Dev, true));
    assert_eq!(
        (view.owner.as_deref(), view.tags.as_slice()),
        (Some("Team Ä"), &["pci".to_owned()][..])
    );
    assert_eq!((view.version, view.position), (4, last));

    // Its own events, newest first.
    let history = inventory::history(&pool, id, None, Some(3)).await.unwrap();
    assert_eq!(history.items.len(), 3);
    assert_eq!(history.items[0], last);
    let rest =
        inventory::history(&pool, id, history.next_cursor.as_deref(), Some(3)).await.unwrap();
    assert_eq!((rest.items.len(), rest.next_cursor), (1, None));

    // Its connection is removed: it has no key any more and counts as gone.
    site.happened(db, ConnectionEvent::Removed {}).await;
    assert_eq!(site.find(id).await.status, "gone");
    assert_eq!(by_key(&pool, "sales/role/a/1").await, None);
    // The name is free for another one.
    let again = site.connection(101, "sales", Environment::Dev).await;
    let second = site.asset(2, again, &[]).await;
    assert_eq!(inventory::connection_by_name(&pool, "sales").await.unwrap().unwrap().id, again);
    assert_eq!(by_key(&pool, "sales/role/a/2").await, Some(second));
}

async fn by_key(pool: &PgPool, key: &str) -> Option<AssetId> {
    inventory::by_keys(pool, &[key]).await.unwrap().remove(key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_shows_its_last_test_and_discovery() {
    let mut site = Site::new().await;
    let pool = site.world.pool().clone();
    let id = site.connection(100, "db", Environment::Prod).await;
    let created = site.now;
    let view = async || inventory::connection(&pool, id).await.unwrap().unwrap();
    let now = view().await;
    assert_eq!((now.status.as_str(), now.kind.as_str(), now.assets), ("untested", "postgres", 0));
    assert_eq!(now.settings, json!({ "host": "db.example" }));

    let checks = vec![Check { name: "login".to_owned(), ok: false, detail: "no".to_owned() }];
    site.happened(id, ConnectionEvent::Tested { ok: false, checks: checks.clone() }).await;
    let now = view().await;
    assert_eq!((now.status.as_str(), now.checks), ("failing", checks));
    assert_eq!(now.tested_at, Some(Timestamp::from_micros(site.now)));
    site.happened(id, ConnectionEvent::Tested { ok: true, checks: Vec::new() }).await;
    assert_eq!(view().await.status, "ok");

    let failed = ConnectionEvent::DiscoveryFailed {
        kind: "timeout".to_owned(),
        reason: "no answer".to_owned(),
    };
    site.happened(id, failed).await;
    assert_eq!(view().await.discovery_error.as_deref(), Some("no answer"));
    site.asset(1, id, &[]).await;
    let gone = site.asset(2, id, &[]).await;
    site.happened(gone, AssetEvent::Gone {}).await;
    let discovered =
        ConnectionEvent::Discovered { found: 1, new: 1, changed: 0, gone: 1, duration_ms: 3 };
    site.happened(id, discovered).await;
    let now = view().await;
    assert_eq!((now.discovery_error, now.assets), (None, 1));
    let discovered_at = Timestamp::from_micros(site.now);
    assert_eq!((now.discovered_at, now.updated_at), (Some(discovered_at), discovered_at));

    // New credentials are untested; opening them changes nothing but the version.
    let replaced = ConnectionEvent::CredentialsReplaced {
        settings: json!({ "host": "new.example" }),
        credentials: Uuid::nil().into(),
    };
    site.happened(id, replaced).await;
    let opened = ConnectionEvent::CredentialsOpened {
        purpose: nexplane_core::connection::event::Purpose::Test,
        change: None,
        reads_for: None,
    };
    let replaced_at = Timestamp::from_micros(site.now);
    site.happened(id, opened).await;
    let now = view().await;
    assert_eq!((now.status.as_str(), now.tested_at), ("untested", None));
    assert_eq!((now.updated_at, now.version), (replaced_at, 7));
    assert_eq!(now.created_at, Timestamp::from_micros(created));

    // The list, in pages, without removed ones.
    for n in 0..5 {
        site.connection(200 + n, &format!("c{n}"), Environment::Dev).await;
    }
    site.happened(id, ConnectionEvent::Removed {}).await;
    assert!(inventory::connection(&pool, id).await.unwrap().is_none());
    let (mut names, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = inventory::connections(&pool, cursor.as_deref(), Some(2)).await.unwrap();
        names.extend(page.items.into_iter().map(|view| view.name));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["c4", "c3", "c2", "c1", "c0"]);
    let refused = inventory::connections(&pool, Some("x"), None).await;
    assert!(matches!(refused, Err(QueryError::Cursor)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blast_radius_is_what_depends_on_an_asset() {
    let mut site = Site::new().await;
    let pool = site.world.pool().clone();
    let db = site.connection(100, "db", Environment::Prod).await;
    // 1 owns 2; 3 has access to 2; 4 is a member of 3; 5 runs on 4, 4 runs on 5 (a cycle);
    // 6 uses 5 and is gone; 7 uses 6; 8 -strange-> 2; 9 contains 10.
    site.asset(1, db, &[("owns", 2)]).await;
    site.asset(2, db, &[]).await;
    site.asset(3, db, &[("has_access_to", 2)]).await;
    site.asset(4, db, &[("member_of", 3), ("runs_on", 5)]).await;
    site.asset(5, db, &[("runs_on", 4)]).await;
    let six = site.asset(6, db, &[("uses", 5)]).await;
    site.asset(7, db, &[("uses", 6)]).await;
    let eight = site.asset(8, db, &[("strange", 2), ("uses", 404)]).await;
    site.asset(9, db, &[("contains", 10)]).await;
    site.asset(10, db, &[]).await;
    site.happened(six, AssetEvent::Gone {}).await;
    let annotated =
        AssetEvent::Annotated { owner: None, tags: vec![], critical: true, environment: None };
    site.happened(eight, annotated).await;

    let radius = async |id: u128| {
        let found = inventory::blast_radius(&pool, AssetId(Uuid::from_u128(id))).await.unwrap();
        let dependants = found.dependants.into_iter();
        dependants.map(|d| (d.id.0.as_u128(), d.depth, d.via, d.critical)).collect::<Vec<_>>()
    };
    let expect = |rows: &[(u128, u32, &str, bool)]| {
        rows.iter()
            .map(|(id, depth, via, c)| (*id, *depth, (*via).to_owned(), *c))
            .collect::<Vec<_>>()
    };
    let of_two = [
        (3, 1, "has_access_to", false),
        (8, 1, "strange", true),
        (4, 2, "member_of", false),
        (5, 3, "runs_on", false),
    ];
    assert_eq!(radius(2).await, expect(&of_two));
    let mut of_one = vec![(2, 1, "owns", false)];
    of_one.extend(of_two.map(|(id, depth, via, critical)| (id, depth + 1, via, critical)));
    assert_eq!(radius(1).await, expect(&of_one));
    // Round the cycle and not back to itself.
    assert_eq!(radius(4).await, expect(&[(5, 1, "runs_on", false)]));
    assert_eq!(radius(5).await, expect(&[(4, 1, "runs_on", false)]));
    assert_eq!(radius(9).await, expect(&[(10, 1, "contains", false)]));
    assert_eq!(radius(10).await, expect(&[]));
    assert_eq!(radius(404).await, expect(&[(8, 1, "uses", true)]));

    // From several at once: each as near as it is to the nearest, and a start that depends on another.
    let ids = |ids: &[u128]| ids.iter().map(|id| AssetId(Uuid::from_u128(*id))).collect::<Vec<_>>();
    let of_three = inventory::dependants(&pool, &ids(&[1, 2, 9])).await.unwrap();
    let told: Vec<_> =
        of_three.into_iter().map(|(id, d)| (id.0.as_u128(), d.depth, d.critical)).collect();
    let expected =
        [(2, 1, false), (3, 1, false), (4, 2, false), (5, 3, false), (8, 1, true), (10, 1, false)];
    assert_eq!(told, expected);
    assert!(inventory::dependants(&pool, &ids(&[10])).await.unwrap().is_empty());

    // As a change shows it: page by page, without the targets, the critical ones of a distance first.
    let numbers = |views: &[nexplane_core::api::DependantView]| {
        views.iter().map(|view| view.id.0.as_u128()).collect::<Vec<_>>()
    };
    let page = async |cursor: Option<&str>| {
        inventory::change_radius(&pool, &ids(&[1, 2, 9]), cursor, Some(3)).await.unwrap()
    };
    let first = page(None).await;
    assert_eq!((first.target_count, first.count, first.critical), (3, 5, 1));
    assert_eq!(numbers(&first.targets), [1, 2, 9]);
    assert_eq!(numbers(&first.items), [8, 3, 10]);
    let edges: Vec<_> = first
        .edges
        .iter()
        .map(|edge| (edge.from.0.as_u128(), edge.kind.as_str(), edge.to.0.as_u128()))
        .collect();
    let expected =
        [(1, "owns", 2), (3, "has_access_to", 2), (8, "strange", 2), (9, "contains", 10)];
    assert_eq!(edges, expected);
    let rest = page(first.next_cursor.as_deref()).await;
    assert_eq!((numbers(&rest.items), rest.count), (vec![4, 5], 5));
    assert_eq!((rest.items[1].via.as_str(), rest.items[1].depth), ("runs_on", 3));
    assert_eq!(rest.next_cursor, None);
    let refused = inventory::change_radius(&pool, &ids(&[1]), Some("x"), None).await;
    assert!(matches!(refused, Err(QueryError::Cursor)));

    // Relations as they are shown, both ways; new facts replace the old ones.
    let relations =
        inventory::find(&pool, AssetId(Uuid::from_u128(4))).await.unwrap().unwrap().relations;
    let shown: Vec<_> = relations
        .iter()
        .map(|r| (r.kind.as_str(), r.direction.as_str(), r.name.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("member_of", "out", "Asset 3"),
            ("runs_on", "out", "Asset 5"),
            ("runs_on", "in", "Asset 5")
        ]
    );
    let drifted = AssetEvent::Drifted { facts: facts("Asset 4", &[]), explained_by: None };
    site.happened(AssetId(Uuid::from_u128(4)), drifted).await;
    assert_eq!(radius(3).await, expect(&[]));

    // Of something that everything uses, the first are told, and how many there are.
    let centre = AssetId(Uuid::from_u128(5000));
    site.asset(5000, db, &[]).await;
    for n in 0..201_u128 {
        site.asset(5001 + n, db, &[("uses", 5000)]).await;
    }
    let view = site.find(centre).await;
    assert_eq!((view.relations.len(), view.relation_count), (200, 201));

    // A chain is followed ten steps.
    for n in 0..15_u128 {
        site.asset(1000 + n, db, &[("uses", 999 + n)]).await;
    }
    let chain = radius(999).await;
    assert_eq!(chain.len(), usize::try_from(inventory::MAX_DEPTH).unwrap());
    assert_eq!(chain.last().unwrap().1, inventory::MAX_DEPTH);
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_listed_by_what_the_filter_says() {
    let world = World::new().await;
    let live = world.start().await;
    let last = world.append(History::new(70).more(4000)).await;
    live.wait_for(last, LONG).await.unwrap();
    let pool = world.pool();
    let list = async |filter: &AssetFilter, limit: u32| {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = inventory::list(pool, filter, cursor.as_deref(), Some(limit)).await.unwrap();
            found.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return found,
            }
        }
    };
    let every = list(&AssetFilter::default(), 200).await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM nexplane.rm_assets")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(every.len(), usize::try_from(count).unwrap());
    assert_eq!(list(&AssetFilter::default(), 7).await, every);

    let one = every.iter().find(|view| !view.tags.is_empty()).unwrap().clone();
    let nothing = AssetFilter::default;
    let check = async |filter: AssetFilter,
                       holds: &dyn Fn(&nexplane_core::api::AssetView) -> bool| {
        let expected: Vec<_> = every.iter().filter(|view| holds(view)).cloned().collect();
        assert!(!expected.is_empty(), "{filter:?}");
        assert_eq!(list(&filter, 9).await, expected, "{filter:?}");
    };
    check(AssetFilter { connection: Some(one.connection_id), ..nothing() }, &|v| {
        v.connection_id == one.connection_id
    })
    .await;
    check(AssetFilter { asset_type: Some("postgres_role".to_owned()), ..nothing() }, &|_| true)
        .await;
    for environment in [Environment::Prod, Environment::Staging, Environment::Dev] {
        check(AssetFilter { environment: Some(environment), ..nothing() }, &|v| {
            v.environment == environment
        })
        .await;
    }
    check(AssetFilter { tag: Some("pci".to_owned()), ..nothing() }, &|v| {
        v.tags.contains(&"pci".to_owned())
    })
    .await;
    check(AssetFilter { gone: Some(true), ..nothing() }, &|v| v.status == "gone").await;
    check(AssetFilter { gone: Some(false), ..nothing() }, &|v| v.status == "present").await;
    check(AssetFilter { q: Some(one.key.to_uppercase()), ..nothing() }, &|v| {
        v.key.contains(&one.key)
    })
    .await;
    check(AssetFilter { q: Some("team-db app_1".to_owned()), ..nothing() }, &|v| {
        v.owner.is_some() && v.key.contains("app_1")
    })
    .await;
    for cursor in ["", "x", "00000000-0000-0000-0000-000000000001~zz"] {
        let refused = inventory::list(pool, &nothing(), Some(cursor), None).await;
        assert!(matches!(refused, Err(QueryError::Cursor)), "{cursor}");
    }
    let some: Vec<_> = every.iter().take(3).map(|view| view.id).collect();
    assert_eq!(inventory::find_all(pool, &some).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_what_its_events_say() {
    let mut site = Site::new().await;
    let pool = site.world.pool().clone();
    let id = HostId(Uuid::from_u128(50));
    let certificate = |days: i64| Certificate {
        key_hash: format!("{days:064}"),
        not_after: Timestamp::from_micros(START).plus_seconds(days * 86_400),
    };
    let enrolled = HostEvent::Enrolled {
        hostname: "Web-1.example".to_owned(),
        agent_version: "0.0.9".to_owned(),
        policy_hash: None,
        certificate: certificate(1),
    };
    site.happened(id, enrolled).await;
    let enrolled_at = Timestamp::from_micros(site.now);
    let view = async || hosts::find(&pool, id).await.unwrap().unwrap();
    let now = view().await;
    assert!((now.agent_version.as_str(), now.agent_is_behind) == ("0.0.9", true), "{now:?}");
    assert_eq!((now.certificate_issued_at, now.policy_changed_at), (enrolled_at, None));
    assert_eq!((now.status.as_str(), now.reason, now.asset_id), ("offline", None, None));
    assert_eq!(now.connection_id, ConnectionId(id.0));
    assert_eq!((now.enrolled_at, now.status_since), (enrolled_at, enrolled_at));

    site.happened(id, HostEvent::CameOnline {}).await;
    let online_at = Timestamp::from_micros(site.now);
    site.happened(id, HostEvent::Renewed { certificate: certificate(2) }).await;
    let renewed_at = Timestamp::from_micros(site.now);
    site.happened(id, HostEvent::PolicyChanged { policy_hash: Some("p".to_owned()) }).await;
    let policy_at = Timestamp::from_micros(site.now);
    let agent_version = env!("CARGO_PKG_VERSION").to_owned();
    site.happened(id, HostEvent::AgentChanged { agent_version }).await;
    let asset = AssetId(Uuid::from_u128(51));
    let discovered = AssetEvent::Discovered {
        connection: ConnectionId(id.0),
        asset_type: "host".to_owned(),
        external_key: "web-1".to_owned(),
        environment: Environment::Prod,
        facts: Facts { metadata: json!({ "agent_version": "0.0.9" }), ..facts("web-1", &[]) },
    };
    site.happened(asset, discovered).await;
    let now = view().await;
    assert_eq!(
        (now.agent_version.as_str(), now.agent_is_behind),
        (env!("CARGO_PKG_VERSION"), false)
    );
    assert_eq!((now.certificate_issued_at, now.policy_changed_at), (renewed_at, Some(policy_at)));
    assert_eq!((now.certificate_key_hash, now.revoked_by), (certificate(2).key_hash, None));
    assert_eq!((now.status.as_str(), now.status_since, now.version), ("online", online_at, 5));
    assert_eq!(now.certificate_expires_at, Some(certificate(2).not_after));
    assert_eq!((now.policy_hash.as_deref(), now.asset_id), (Some("p"), Some(asset)));

    site.happened(id, HostEvent::WentOffline { reason: "silent".to_owned() }).await;
    assert_eq!(view().await.reason.as_deref(), Some("silent"));
    site.happened(id, HostEvent::Locked { reason: "two users of one key".to_owned() }).await;
    // What a locked host says changes nothing.
    site.happened(id, HostEvent::CameOnline {}).await;
    assert_eq!(view().await.status, "locked");
    let credential = hosts::credentials(&pool).await.unwrap().remove(0);
    assert!(credential.is_locked && !credential.is_online && !credential.is_revoked);
    site.happened(id, HostEvent::Revoked { reason: "stolen".to_owned() }).await;
    site.happened(id, HostEvent::CameOnline {}).await;
    let now = view().await;
    assert_eq!((now.status.as_str(), now.reason.as_deref()), ("revoked", Some("stolen")));
    assert_eq!(now.revoked_by, Some(PersonId(Uuid::from_u128(1))));

    let filter = |status: &str, q: &str| HostFilter {
        status: Some(status.to_owned()),
        q: Some(q.to_owned()),
    };
    let found = async |filter: HostFilter| {
        hosts::list(&pool, &filter, None, None).await.unwrap().items.len()
    };
    assert_eq!(found(filter("revoked", "WEB")).await, 1);
    assert_eq!(found(filter("online", "web")).await, 0);
    assert_eq!(found(filter("revoked", "db")).await, 0);
    let credential = hosts::credentials(&pool).await.unwrap().remove(0);
    assert_eq!((credential.host, credential.key_hash), (id, certificate(2).key_hash));
    assert!(credential.is_revoked && !credential.is_locked);
    assert_eq!((credential.policy_hash.as_deref(), credential.version), (Some("p"), now.version));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_counted_found_and_come_page_by_page() {
    let mut site = Site::new().await;
    let pool = site.world.pool().clone();
    let ids: Vec<HostId> = (0..5_u128).map(|n| HostId(Uuid::from_u128(0xabcd_0000 + n))).collect();
    for (index, id) in ids.iter().enumerate() {
        let enrolled = HostEvent::Enrolled {
            hostname: format!("{}-{index}.example", if index < 3 { "web" } else { "db" }),
            agent_version: "0.1.0".to_owned(),
            policy_hash: None,
            certificate: Certificate {
                key_hash: format!("{index:064}"),
                not_after: Timestamp::from_micros(START).plus_seconds(86_400),
            },
        };
        site.happened(*id, enrolled).await;
    }
    for id in &ids[..2] {
        site.happened(*id, HostEvent::CameOnline {}).await;
    }
    site.happened(ids[4], HostEvent::Revoked { reason: "sold".to_owned() }).await;

    let filter = |q: &str| HostFilter { status: None, q: Some(q.to_owned()) };
    let count = async |filter: HostFilter| hosts::count(&pool, &filter).await.unwrap();
    let all = HostCounts { online: 2, offline: 2, locked: 0, revoked: 1 };
    assert_eq!(count(HostFilter::default()).await, all);
    assert_eq!(
        count(filter("WEB")).await,
        HostCounts { online: 2, offline: 1, ..HostCounts::default() }
    );
    assert_eq!(count(filter("nothing")).await, HostCounts::default());

    // The one that enrolled last first; each on one page.
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = hosts::list(&pool, &HostFilter::default(), cursor.as_deref(), Some(2)).await;
        let page = page.unwrap();
        seen.extend(page.items.into_iter().map(|host| host.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let newest_first: Vec<_> = ids.iter().rev().copied().collect();
    assert_eq!(seen, newest_first);

    // By the end of an id, but not by letters that happen to be in one.
    let found = async |q: &str| {
        let page = hosts::list(&pool, &filter(q), None, None).await.unwrap();
        page.items.into_iter().map(|host| host.id).collect::<Vec<_>>()
    };
    assert_eq!(found("abcd0003").await, [ids[3]]);
    assert!(found("abcd").await.is_empty());
}
