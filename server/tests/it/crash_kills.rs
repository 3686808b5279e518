//! The server is killed again and again at random moments of executions, several at a time, on several
//! PostgreSQL targets and a host. In the end every change is accounted for, nothing is stuck, and the
//! targets count exactly the effects that are said to have happened.
//!
//! 25 times where `CI` is set, 8 times elsewhere; `NEXPLANE_KILLS` says another number, `NEXPLANE_SEED`
//! other moments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nexplane_store::testing::{event_records, event_records_from};
use serde_json::{Value, json};

use crate::crash_stage::{Count, ENDS, LOCK, Story, UNLOCK, approve, execute, gateway_of};
use crate::fault_proxy::Proxy;
use crate::harness::{Agent, Answer, Client, Server, Shop, eventually, id, items, text};

const SHOPS: usize = 2;
const ROLES: usize = 12;
/// Servers with databases, targets and agents of their own: each waits a while after every kill.
const FIELDS: u64 = 3;
/// Executions that are asked for in one life of the server, besides those that go on from earlier ones.
const AT_ONCE: usize = 3;
/// Events of one execution, those of opened credentials included.
const EVENTS: u64 = 12;
/// The longest that a life lasts after its random event.
const AFTER_MS: u64 = 25;
/// More than there are lanes.
const SOME: u64 = 1 << 20;

/// One target, of which at most one change is under way.
struct Lane {
    shop: Option<usize>,
    /// Of a role; of a host, the connection's.
    name: String,
    key: Value,
    /// Whether the role may log in.
    is_open: bool,
    /// A change that may be executed.
    ready: Option<String>,
    /// The last that was asked for, and whether it is known to have ended.
    change: Option<String>,
    is_idle: bool,
}

struct Field {
    server: Server,
    gateway: Proxy,
    shops: Vec<(Shop, Count)>,
    agent: Agent,
    operator: Client,
    approvers: [Client; 2],
    lanes: Vec<Lane>,
    /// What was asked for, with the lane.
    asked: BTreeMap<String, usize>,
    position: i64,
    dice: u64,
    figures: Figures,
}

/// What came of it.
#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    /// Lives that ended while so many changes were under way.
    under_way: usize,
    changes: usize,
    ends: BTreeMap<String, usize>,
    effects: i64,
    taken_over: usize,
    unknown: usize,
    intended_again: usize,
    events: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_five_hundred_times_and_every_effect_is_accounted_for() {
    let usual = if std::env::var_os("CI").is_some() { 25 } else { 8 };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let kills: u64 = number("NEXPLANE_KILLS").unwrap_or(usual);
    let seed: u64 = number("NEXPLANE_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let begun = Instant::now();
    let fields = (0..FIELDS).map(|no| async move {
        let kills = kills / FIELDS + u64::from(no < kills % FIELDS);
        let mut field = Field::new(seed ^ (no + 1)).await;
        for kill in 0..kills {
            field.killed().await;
            if kill % 25 == 24 {
                eprintln!("installation {no}: {} kills after {:.0?}", kill + 1, begun.elapsed());
            }
        }
        field.drain().await;
        field.account().await
    });
    let mut all = Figures::default();
    for figures in join_all(fields).await {
        all.kills += figures.kills;
        all.under_way += figures.under_way;
        all.changes += figures.changes;
        for (end, count) in figures.ends {
            *all.ends.entry(end).or_default() += count;
        }
        all.effects += figures.effects;
        all.taken_over += figures.taken_over;
        all.unknown += figures.unknown;
        all.intended_again += figures.intended_again;
        all.events += figures.events;
    }
    println!("{FIELDS} installations, {:.0?}, seed {seed}: {all:#?}", begun.elapsed());
    assert!(all.kills < 8 || all.unknown > 0, "no kill came between an intent and its outcome");
}

impl Field {
    async fn new(seed: u64) -> Self {
        let server = Server::start().await;
        let gateway = Proxy::to(gateway_of(&server)).await;
        let agent =
            Agent::start_by(&server, &format!("https://127.0.0.1:{}", gateway.port())).await;
        std::fs::write(agent.path("/etc/motd"), "at first\n").unwrap();
        // A session ends after a quarter of an hour.
        let stay = async |person: Client| {
            let body = json!({ "name": "the test", "kind": "user" });
            let made = person.post("/tokens", body).await.is(201);
            person.with_token(made["token"].as_str().unwrap())
        };
        let operator = stay(server.operator().await).await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        let approvers = [stay(approvers[0].clone()).await, stay(approvers[1].clone()).await];
        let (mut shops, mut lanes) = (Vec::new(), Vec::new());
        for number in 0..SHOPS {
            let shop = Shop::connect(&server, "dev").await;
            let names: Vec<_> = (0..ROLES).map(|no| format!("app{no:02}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            for name in shop.roles(&server, &names).await {
                let key = shop.asset(&operator, &name).await["key"].clone();
                let shop = Some(number);
                lanes.push(Lane {
                    shop,
                    name,
                    key,
                    is_open: true,
                    ready: None,
                    change: None,
                    is_idle: true,
                });
            }
            let count = Count::of(&shop).await;
            shops.push((shop, count));
        }
        let (name, key) = (text(&agent.asset["connection_id"]), agent.asset["id"].clone());
        lanes.push(Lane {
            shop: None,
            name,
            key,
            is_open: true,
            ready: None,
            change: None,
            is_idle: true,
        });
        Self {
            server,
            gateway,
            shops,
            agent,
            operator,
            approvers,
            lanes,
            asked: BTreeMap::new(),
            position: 0,
            dice: seed,
            figures: Figures::default(),
        }
    }

    /// One life of the server, to its end, and the next.
    async fn killed(&mut self) {
        // Interrupted executions wait for a lease and for the target to settle, longer than a life.
        if self.lanes.iter().filter(|lane| lane.ready.is_some()).count() < AT_ONCE {
            self.drain().await;
            self.prepare().await;
        }
        let asked = self.execute_some();
        self.live().await;
        self.look().await;
        self.figures.kills += 1;
        self.figures.under_way += self.lanes.iter().filter(|lane| !lane.is_idle).count();
        self.server.kill9().await;
        for asked in asked {
            asked.await.unwrap();
        }
        self.up().await;
    }

    /// The server again, and the agent's way to it.
    async fn up(&mut self) {
        self.server.up().await;
        self.gateway.lead_to(gateway_of(&self.server));
        self.gateway.cut();
    }

    /// Lets the server write a random number of events, and a moment more.
    async fn live(&mut self) {
        let head = async |field: &Self| -> i64 {
            sqlx::query_scalar("SELECT next_position FROM nexplane.log_head")
                .fetch_one(field.server.database().pool())
                .await
                .unwrap()
        };
        let events = self.roll(EVENTS * AT_ONCE as u64);
        let until = head(self).await + i64::try_from(events).unwrap();
        // Some executions are refused, or wait: they write less.
        let end = Instant::now() + Duration::from_secs(1);
        while head(self).await < until && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(self.roll(AFTER_MS))).await;
    }

    /// Xorshift; a number below `end`.
    fn roll(&mut self, end: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % end
    }

    /// Sees in the log which changes have ended.
    async fn look(&mut self) {
        let pool = self.server.database().pool();
        let news = event_records_from(pool, self.position).await.unwrap();
        self.position += i64::try_from(news.len()).unwrap();
        for record in news {
            if ENDS.iter().any(|end| record.contains(&format!("\"type\":\"{end}\""))) {
                let ended = |change: &String| record.contains(&format!("\"change-{change}\""));
                let lane =
                    self.lanes.iter_mut().find(|lane| lane.change.as_ref().is_some_and(ended));
                lane.expect("nobody else makes changes").is_idle = true;
            }
        }
    }

    /// Makes a change for every lane.
    async fn prepare(&mut self) {
        for (number, (shop, _)) in self.shops.iter().enumerate() {
            let mut admin = shop.target.admin().await;
            let open: Vec<String> =
                sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE rolcanlogin")
                    .fetch_all(&mut admin)
                    .await
                    .unwrap();
            for lane in self.lanes.iter_mut().filter(|lane| lane.shop == Some(number)) {
                lane.is_open = open.contains(&lane.name);
            }
        }
        let without = (0..self.lanes.len()).filter(|lane| self.lanes[*lane].ready.is_none());
        let without: Vec<_> = without.collect();
        for some in without.chunks(8) {
            let made = join_all(some.iter().map(|lane| self.made(*lane))).await;
            for (lane, change) in some.iter().zip(made) {
                self.lanes[*lane].ready = change;
            }
        }
    }

    /// Asks for the execution of changes of lanes in which nothing happens.
    fn execute_some(&mut self) -> Vec<tokio::task::JoinHandle<Option<Answer>>> {
        let mut asked = Vec::new();
        for _ in 0..AT_ONCE {
            let ready: Vec<_> = (0..self.lanes.len())
                .filter(|lane| self.lanes[*lane].is_idle && self.lanes[*lane].ready.is_some())
                .collect();
            let Some(lane) =
                ready.get(usize::try_from(self.roll(SOME)).unwrap() % ready.len().max(1))
            else {
                break;
            };
            let change = self.lanes[*lane].ready.take().unwrap();
            asked.push(execute(&self.operator, &change));
            self.asked.insert(change.clone(), *lane);
            self.lanes[*lane].change = Some(change);
            self.lanes[*lane].is_idle = false;
        }
        asked
    }

    /// An approved change that turns the lane's target around; none while its agent is away.
    async fn made(&self, lane: usize) -> Option<String> {
        let Lane { shop, name, key, is_open, .. } = &self.lanes[lane];
        let (action, connection, parameters) = match shop {
            Some(shop) => {
                let action = if *is_open { LOCK } else { UNLOCK };
                (action, self.shops[*shop].0.connection.clone(), json!({}))
            }
            None => {
                let content = format!("after {}\n", self.asked.len());
                let parameters = json!({ "path": "/etc/motd", "content": content });
                ("host.set_file_content", name.clone(), parameters)
            }
        };
        let request = json!({
            "title": action,
            "reason": "It is turned around.",
            "change_type": action,
            "connection_id": connection,
            "targets": [key],
            "parameters": parameters,
        });
        let drafted =
            patiently(async || self.operator.post("/change-requests", request.clone()).await);
        let drafted = id(&drafted.await.is(201));
        let planned = patiently(async || self.operator.act(&drafted, "plan").await).await;
        if planned.status != 200 && shop.is_none() {
            return None;
        }
        planned.is(200);
        let submitted =
            patiently(async || self.operator.act(&drafted, "submit").await).await.is(200);
        approve(&self.approvers, &submitted).await;
        Some(drafted)
    }

    /// Until everything that was asked for has ended. What the server never heard is asked again.
    async fn drain(&mut self) {
        // By now its agent waits longer and longer between attempts.
        self.agent.kill9().await;
        self.agent.up();
        eventually("the read models have caught up", async || {
            let models = items(&self.operator.get("/projections").await.is(200));
            models.iter().all(|model| model["lag"] == 0).then_some(())
        })
        .await;
        let waiting: Vec<_> = self.lanes.iter().filter(|lane| !lane.is_idle).collect();
        let changes: Vec<_> = waiting.iter().filter_map(|lane| lane.change.clone()).collect();
        let stories = Story::all(&event_records(self.server.database().pool()).await.unwrap());
        for change in changes {
            if !stories[&change].has("change.execution_started") {
                // A target that cannot be reached just now says so.
                eventually("the execution begins", async || {
                    let answer = self.operator.act(&change, "execute").await;
                    (answer.status == 200).then_some(())
                })
                .await;
            }
        }
        for _ in 0..1_500 {
            self.look().await;
            if self.lanes.iter().all(|lane| lane.is_idle) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        let stories = Story::all(&event_records(self.server.database().pool()).await.unwrap());
        let stuck = self.lanes.iter().filter(|lane| !lane.is_idle);
        let stuck: Vec<_> = stuck
            .filter_map(|lane| Some((lane.change.as_ref()?, stories[lane.change.as_ref()?].told())))
            .collect();
        panic!("stuck: {stuck:#?}");
    }

    /// Compares what is told with what the targets count.
    async fn account(mut self) -> Figures {
        let records = event_records(self.server.database().pool()).await.unwrap();
        let stories = Story::all(&records);
        let mut done = vec![(0, 0); self.lanes.len()];
        let figures = &mut self.figures;
        figures.events = records.len();
        figures.changes = self.asked.len();
        for (change, lane) in &self.asked {
            let story = &stories[change];
            story.is_sound();
            let end = story.end().unwrap();
            *figures.ends.entry(end.to_owned()).or_default() += 1;
            figures.taken_over += story.count("run.claimed") - 1;
            figures.unknown += story.count("run.step_unknown");
            figures.intended_again += story.count("run.step_intended").saturating_sub(1);
            match end {
                "change.completed" => done[*lane].0 += 1,
                "change.outcome_unknown" => done[*lane].1 += 1,
                "change.failed" => {}
                other => panic!("{change}: {other}"),
            }
        }
        for (lane, (told, open)) in self.lanes.iter().zip(&done) {
            let counted = match lane.shop {
                Some(shop) => self.shops[shop].1.alterations(&lane.name).await,
                None => i64::try_from(self.jobs().len()).unwrap(),
            };
            self.figures.effects += counted;
            assert!(
                (*told..=*told + *open).contains(&counted),
                "{}: {told} effects are told of, {open} are open, the target counts {counted}",
                lane.name
            );
        }
        self.figures
    }

    /// Jobs whose effect the agent began.
    fn jobs(&self) -> BTreeSet<String> {
        let journal = self.agent.journal();
        let records = journal.lines().filter_map(|line| line.split_once(' '));
        let records = records.map(|(_, json)| serde_json::from_str::<Value>(json).unwrap());
        let begun =
            records.filter(|record| record["record"] == "intent" || record["record"] == "done");
        begun.map(|record| text(&record["job"])).collect()
    }
}

/// Asks again where the answer is to do so: a busy machine may have no database connection free for a while.
async fn patiently(ask: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..10 {
        let answer = ask().await;
        if answer.status != 503 {
            return answer;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ask().await
}
