//! People, connections, hosts, assets, projects, recurring changes and the calendar.

use nexplane_core::actor::Role;
use nexplane_core::asset::event::Facts;
use nexplane_core::asset::event::Relation;
use nexplane_core::asset::{Asset, AssetCommand};
use nexplane_core::calendar::event::Scope;
use nexplane_core::calendar::{CALENDAR, Calendar, CalendarCommand};
use nexplane_core::connection::{ConnectionCommand, Purpose};
use nexplane_core::host::event::Certificate;
use nexplane_core::host::{Host, HostCommand};
use nexplane_core::id::{
    AssetId, ConnectionId, FreezeId, HostId, PersonId, ScheduleId, SecretId, WindowId,
};
use nexplane_core::person::event::TokenKind;
use nexplane_core::person::{Person, PersonCommand};
use nexplane_core::recurrence::Recurrence;
use nexplane_core::risk::Environment;
use nexplane_core::schedule::event::{Template, Timing};
use nexplane_core::schedule::{Schedule, ScheduleCommand};
use nexplane_core::time::Timestamp;
use nexplane_server::auth;
use nexplane_server::directory::{ApiToken, Directory};
use serde_json::json;
use uuid::Uuid;

use super::{
    ADMIN, APPROVER, DAY_S, Kept, Life, OPERATOR, PASSWORD, Place, SYSTEM, Size, Somebody, Thing,
    World, YEAR_S, signed_in,
};

/// Assets of a host.
const ON_A_HOST: usize = 14;
const SITES: [&str; 6] = ["fra", "iad", "ams", "sin", "gru", "syd"];
const PARTS: [&str; 12] = [
    "billing", "checkout", "search", "catalog", "login", "mail", "ledger", "stock", "report",
    "gateway", "image", "archive",
];
const TAGS: [&str; 12] = [
    "payments", "pci", "frontend", "backend", "batch", "eu", "us", "apac", "legacy", "gdpr",
    "tier-1", "tier-2",
];
const FIRST: [&str; 16] = [
    "Ada", "Bela", "Chen", "Dora", "Emil", "Fatma", "Goran", "Hana", "Ivo", "Jana", "Kofi", "Lena",
    "Mara", "Nils", "Oya", "Pia",
];
const LAST: [&str; 12] = [
    "Adler", "Bauer", "Costa", "Dahl", "Egger", "Fuchs", "Gruber", "Huber", "Ito", "Jansen",
    "Kaya", "Lang",
];

/// Has everything begin but changes.
pub(super) fn begin(world: &mut World, size: Size) {
    people(world, size);
    let admin = world.people[0].principal.clone();
    let on_hosts = size.hosts * ON_A_HOST;
    let elsewhere = size.assets.saturating_sub(on_hosts);
    for no in 0..size.connections {
        let at = world.start.plus_seconds(world.chance.between(3_600, 5 * DAY_S));
        // One is much larger than the others.
        let assets = if no == 0 { elsewhere / 4 } else { elsewhere * 3 / 4 / size.connections };
        world.begin(at, Connecting { no, assets, admin: admin.clone(), place: None });
    }
    for no in 0..size.hosts {
        let at = if world.chance.percent(80) { world.moment(1, 4) } else { world.moment(4, 99) };
        world.begin(at, Machine::new(no, admin.clone()));
    }
    let at = world.start.plus_seconds(DAY_S);
    world.begin(at, Year { stream: Kept::new(CALENDAR), admin, freezes: 0, windows: 0 });
    for _ in 0..(size.changes / 500).clamp(3, 100) {
        let at = world.moment(10, 90);
        world.begin(at, Recurring);
    }
}

fn people(world: &mut World, size: Size) {
    let start = world.start;
    for no in 0..size.people {
        let id = PersonId(world.id(start));
        let roles: &[Role] = match no {
            0 => &[Role::Admin, Role::Auditor],
            1 => &[Role::Operator],
            2 | 3 => &[Role::Approver],
            4 | 5 => &[Role::Approver, Role::Admin],
            6 | 7 => &[Role::Operator],
            _ if no % 20 == 0 => &[Role::Approver, Role::Admin],
            _ if no % 7 == 0 => &[Role::Viewer],
            _ if no % 3 == 0 => &[Role::Approver],
            _ if no % 11 == 0 => &[Role::Responder],
            _ => &[Role::Operator],
        };
        world.people.push(Somebody { id, principal: signed_in(id, roles) });
        let at = start.plus_seconds(60 + no as i64);
        // What is left of the events after all the others are counted.
        let sessions = size.events / 20 / size.people / 2;
        world.begin(
            at,
            Account { id, stream: Kept::new(id), session: None, added: false, sessions },
        );
    }
    world.made.operator = Some(world.people[1].id);
}

/// Puts names and passwords where they are kept, and some tokens.
pub(super) async fn enter(directory: &Directory, world: &World) {
    let hash = auth::hash(PASSWORD.to_owned()).await.unwrap();
    for (no, somebody) in world.people.iter().enumerate() {
        let (first, last) = (FIRST[no % FIRST.len()], LAST[no / FIRST.len() % LAST.len()]);
        let (name, email) = match no {
            0 => ("Admin".to_owned(), ADMIN.to_owned()),
            1 => ("Olga".to_owned(), OPERATOR.to_owned()),
            2 => ("Anna".to_owned(), APPROVER.to_owned()),
            _ => (
                format!("{first} {last}"),
                format!("{first}.{last}.{no}@example.org").to_lowercase(),
            ),
        };
        let hash = (no < 3).then_some(hash.as_str());
        directory.add(somebody.id, &email, &name, hash, world.start).await.unwrap();
        let token = ApiToken {
            id: Uuid::new_v5(&somebody.id.0, b"token"),
            person: somebody.id,
            name: format!("pipeline {no}"),
            machine: true,
            created_at: world.start,
            expires_at: None,
        };
        directory.add_token(&token, &auth::random_token("npt")).await.unwrap();
    }
}

struct Account {
    id: PersonId,
    stream: Kept<Person>,
    session: Option<Uuid>,
    added: bool,
    sessions: usize,
}

impl Life for Account {
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let person = self.id;
        let no = world.people.iter().position(|somebody| somebody.id == person).unwrap();
        let by = world.people[no].principal.clone();
        let World { chance, out, .. } = world;
        if !self.added {
            self.added = true;
            let roles = by.roles.clone();
            self.stream.tell((chance, out), &SYSTEM, at, PersonCommand::Add { roles });
            let token = Uuid::new_v5(&person.0, b"token");
            let kind = TokenKind::Machine;
            let command = PersonCommand::CreateToken { person, token, kind, expires_at: None };
            self.stream.tell((chance, out), &by, at, command);
        } else if let Some(session) = self.session.take() {
            let command = PersonCommand::SignOut { person, session };
            self.stream.tell((chance, out), &by, at, command);
        } else {
            let session = chance.id(at);
            self.session = Some(session);
            let command = PersonCommand::SignIn { person, session };
            self.stream.tell((chance, out), &by, at, command);
            return Some(at.plus_seconds(chance.between(600, 8 * 3_600)));
        }
        let between = YEAR_S / (self.sessions as i64 + 1);
        Some(at.plus_seconds(chance.between(between / 2, between * 3 / 2 + 1)))
    }
}

/// A connection that an admin made, looked at again and again.
struct Connecting {
    no: usize,
    assets: usize,
    admin: nexplane_core::aggregate::Principal,
    place: Option<usize>,
}

impl Life for Connecting {
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let Some(place) = self.place else {
            self.place = Some(self.create(at, world));
            return Some(at.plus_seconds(60));
        };
        let World { chance, out, places, .. } = world;
        let place = &mut places[place];
        let command = ConnectionCommand::OpenCredentials {
            purpose: Purpose::Discover,
            change: None,
            reads_for: None,
        };
        place.stream.tell((chance, out), &SYSTEM, at, command);
        let command = ConnectionCommand::RecordDiscovery {
            found: place.assets.len() as u64,
            new: 0,
            changed: 0,
            gone: 0,
            duration_ms: 700,
        };
        place.stream.tell((chance, out), &SYSTEM, at, command);
        Some(at.plus_seconds(chance.between(5 * DAY_S, 9 * DAY_S)))
    }
}

impl Connecting {
    fn create(&self, at: Timestamp, world: &mut World) -> usize {
        let id = ConnectionId(world.id(at));
        let credentials = Some(SecretId(world.id(at)));
        let specs: Vec<_> = world.catalog.connectors.iter().filter(|spec| spec.managed).collect();
        let spec = specs[self.no % specs.len()];
        let (connector, kinds) = (spec.id.clone(), spec.asset_types.clone());
        let environment = environment(self.no);
        let (site, part) = (SITES[self.no % SITES.len()], PARTS[self.no % PARTS.len()]);
        let name = format!("{part}-{connector}-{site}-{:03}", self.no);
        let mut stream = Kept::new(id);
        let World { chance, out, .. } = world;
        let command = ConnectionCommand::Create {
            name,
            connector: connector.clone(),
            environment,
            settings: json!({ "host": format!("{part}.{site}.example.org") }),
            credentials,
            host: None,
        };
        stream.tell((chance, out), &self.admin, at, command);
        let place = world.places.len();
        let assets = Vec::with_capacity(self.assets);
        world.places.push(Place { stream, connector, environment, has_credentials: true, assets });
        for no in 0..self.assets {
            let at = if no == 0 || world.chance.percent(80) {
                at.plus_seconds(70 + no as i64)
            } else {
                world.moment(6, 99)
            };
            let kind = kinds[no % kinds.len()].clone();
            let part = PARTS[world.chance.below(PARTS.len())];
            let name = format!("{part}_{}_{no:05}", kind.rsplit('_').next().unwrap_or("x"));
            world.begin(at, Discovered::new(place, id, kind, name));
        }
        place
    }
}

fn environment(no: usize) -> Environment {
    match no % 4 {
        0 | 1 => Environment::Prod,
        2 => Environment::Staging,
        _ => Environment::Dev,
    }
}

/// A machine with an agent.
struct Machine {
    id: Option<HostId>,
    no: usize,
    admin: nexplane_core::aggregate::Principal,
    stream: Option<Kept<Host>>,
    moves: usize,
}

impl Machine {
    fn new(no: usize, admin: nexplane_core::aggregate::Principal) -> Self {
        Self { id: None, no, admin, stream: None, moves: 0 }
    }

    fn enrol(&mut self, at: Timestamp, world: &mut World) -> Timestamp {
        let id = HostId(world.id(at));
        self.id = Some(id);
        world.made.host.get_or_insert(id);
        let (site, part) = (SITES[self.no % SITES.len()], PARTS[self.no / 7 % PARTS.len()]);
        let hostname = format!("{part}-{:05}.{site}.example.org", self.no);
        let kinds = world.catalog.connector("host").unwrap().asset_types.clone();
        let environment = environment(self.no);
        let World { chance, out, .. } = world;
        let mut stream = Kept::new(id);
        let command = HostCommand::Enroll {
            hostname: hostname.clone(),
            agent_version: "0.9.0".to_owned(),
            policy_hash: None,
            certificate: Certificate {
                key_hash: format!("{:064x}", self.no + 1),
                not_after: at.plus_seconds(2 * YEAR_S),
            },
        };
        stream.tell((chance, out), &SYSTEM, at, command);
        self.stream = Some(stream);
        let mut stream = Kept::new(ConnectionId(id.0));
        let command = ConnectionCommand::Create {
            name: hostname.clone(),
            connector: "host".to_owned(),
            environment,
            settings: json!({}),
            credentials: None,
            host: Some(id),
        };
        stream.tell((chance, out), &SYSTEM, at, command);
        let place = world.places.len();
        world.places.push(Place {
            stream,
            connector: "host".to_owned(),
            environment,
            has_credentials: false,
            assets: Vec::with_capacity(ON_A_HOST),
        });
        for no in 0..ON_A_HOST {
            let (kind, name) = if no == 0 {
                ("host".to_owned(), hostname.clone())
            } else {
                let kind = kinds[no % kinds.len()].clone();
                let name = format!("{}-{no:02}", PARTS[(self.no + no) % PARTS.len()]);
                (if kind == "host" { kinds[0].clone() } else { kind }, name)
            };
            let at = at.plus_seconds(10 + no as i64);
            world.begin(at, Discovered::new(place, ConnectionId(id.0), kind, name));
        }
        at.plus_seconds(2)
    }
}

impl Life for Machine {
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        if self.id.is_none() {
            return Some(self.enrol(at, world));
        }
        let (host, stream) = (self.id?, self.stream.as_mut()?);
        let World { chance, out, .. } = world;
        self.moves += 1;
        if self.moves == 6 && self.no % 40 == 1 {
            let reason = "It was scrapped.".to_owned();
            stream.tell((chance, out), &self.admin, at, HostCommand::Revoke { reason });
            return None;
        }
        if self.moves == 8 && self.no % 90 == 2 {
            let reason = "Its journal went back.".to_owned();
            stream.tell((chance, out), &SYSTEM, at, HostCommand::Lock { reason });
            return None;
        }
        if self.moves % 2 == 1 {
            stream.tell((chance, out), &SYSTEM, at, HostCommand::ComeOnline { host });
            return Some(at.plus_seconds(chance.between(20 * DAY_S, 90 * DAY_S)));
        }
        let reason = "its agent stopped polling".to_owned();
        stream.tell((chance, out), &SYSTEM, at, HostCommand::GoOffline { host, reason });
        let away = if chance.percent(5) { 40 * DAY_S } else { 3_600 };
        Some(at.plus_seconds(chance.between(60, away)))
    }
}

/// Something that a connection sees.
struct Discovered {
    place: usize,
    connection: ConnectionId,
    kind: String,
    name: String,
    stream: Option<Kept<Asset>>,
    moves: usize,
    moves_left: usize,
}

impl Discovered {
    fn new(place: usize, connection: ConnectionId, kind: String, name: String) -> Self {
        Self { place, connection, kind, name, stream: None, moves: 0, moves_left: 0 }
    }

    fn observe(&mut self, at: Timestamp, world: &mut World) {
        let key = format!("{}/{}", self.kind, self.name);
        let World { chance, out, places, .. } = world;
        let place = &places[self.place];
        let id = asset_id(self.connection, &self.kind, &key);
        let mut relations = Vec::new();
        // The first is what all others lie on.
        if let Some(first) = place.assets.first().filter(|first| first.id != id) {
            relations.push(Relation { kind: "runs_on".to_owned(), to: first.id });
            let other = chance.pick(&place.assets);
            if other.id != id && chance.percent(40) {
                relations.push(Relation { kind: "member_of".to_owned(), to: other.id });
            }
        }
        let command = AssetCommand::Observe {
            connection: self.connection,
            asset_type: self.kind.clone(),
            external_key: key.clone(),
            environment: place.environment,
            facts: Facts {
                name: self.name.clone(),
                metadata: json!({
                    "size": chance.below(10_000), "version": format!("{}.2", self.moves),
                    "comment": format!("{} of the {} team", self.name, TAGS[chance.below(TAGS.len())]),
                }),
                relations,
            },
            explained_by: None,
        };
        let stream = self.stream.get_or_insert_with(|| Kept::new(id));
        stream.tell((chance, out), &SYSTEM, at, command);
        if self.moves == 0 {
            let (kind, name) = (self.kind.clone(), self.name.clone());
            let thing = Thing { id, kind, key, name, tags: Vec::new(), critical: false };
            let place = &mut places[self.place];
            place.assets.push(thing);
            if place.assets.len() == 1 && self.place == 0 {
                world.made.hub = Some(id);
            } else if place.assets.len() == 1 {
                world.made.asset.get_or_insert(id);
            }
        }
    }

    fn annotate(&mut self, at: Timestamp, world: &mut World) {
        let by = world.somebody(Role::Operator, &[]);
        let World { chance, out, places, .. } = world;
        let tags: Vec<String> =
            (0..chance.below(4)).map(|_| (*chance.pick(&TAGS)).to_owned()).collect();
        let critical = chance.percent(4);
        let owner = chance.percent(70).then(|| format!("team-{}", chance.pick(&PARTS)));
        let environment = chance.percent(3).then_some(Environment::Dev);
        let command = AssetCommand::Annotate { owner, tags: tags.clone(), critical, environment };
        let Some(stream) = &mut self.stream else { return };
        stream.tell((chance, out), &by, at, command);
        let id = stream.id.id;
        let thing = places[self.place].assets.iter_mut().find(|thing| thing.id.0 == id);
        if let Some(thing) = thing {
            (thing.tags, thing.critical) = (tags, critical);
        }
    }
}

impl Life for Discovered {
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        if self.moves == 0 {
            self.observe(at, world);
            self.moves_left = world.chance.below(4);
        } else if self.moves == 1 {
            self.annotate(at, world);
        } else if self.moves_left == 1 && world.chance.percent(6) {
            // Nothing is planned for what is gone.
            let World { chance, out, places, .. } = world;
            let stream = self.stream.as_mut()?;
            let id = stream.id.id;
            if places[self.place].assets.first().is_some_and(|first| first.id.0 == id) {
                return None;
            }
            places[self.place].assets.retain(|thing| thing.id.0 != id);
            stream.tell((chance, out), &SYSTEM, at, AssetCommand::MarkGone);
            return None;
        } else {
            self.observe(at, world);
        }
        self.moves += 1;
        if self.moves_left == 0 {
            return None;
        }
        self.moves_left -= 1;
        let later = world.chance.between(DAY_S, 120 * DAY_S);
        Some(at.plus_seconds(later))
    }
}

/// As discovery makes it.
fn asset_id(connection: ConnectionId, kind: &str, key: &str) -> AssetId {
    AssetId(Uuid::new_v5(&connection.0, format!("{kind}\0{key}").as_bytes()))
}

/// Freezes and maintenance windows of what no target is: nothing of the year was held up by them.
struct Year {
    stream: Kept<Calendar>,
    admin: nexplane_core::aggregate::Principal,
    freezes: usize,
    windows: usize,
}

impl Life for Year {
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let World { chance, out, .. } = world;
        if self.windows < 20 {
            self.windows += 1;
            let command = CalendarCommand::DefineWindow {
                window: WindowId(chance.id(at)),
                name: format!("Mainframe {}", self.windows),
                scope: Scope::Tag { tag: format!("mainframe-{}", self.windows) },
                slots: Recurrence {
                    cron: "0 2 * * 6".to_owned(),
                    zone: "Europe/Vienna".to_owned(),
                    duration_s: 4 * 3_600,
                },
            };
            self.stream.tell((chance, out), &self.admin, at, command);
            return Some(at.plus_seconds(600));
        }
        self.freezes += 1;
        let command = CalendarCommand::DeclareFreeze {
            freeze: FreezeId(chance.id(at)),
            scope: Scope::Tag { tag: "mainframe".to_owned() },
            start: at.plus_seconds(3_600),
            end: at.plus_seconds(chance.between(2, 30) * 3_600),
            reason: format!("Closing of the books, number {}", self.freezes),
        };
        self.stream.tell((chance, out), &self.admin, at, command);
        Some(at.plus_seconds(chance.between(DAY_S, 2 * DAY_S)))
    }
}

/// A recurring change, paused: it makes nothing.
struct Recurring;

impl Life for Recurring {
    fn live(&mut self, at: Timestamp, world: &mut World) -> Option<Timestamp> {
        let by = world.somebody(Role::Operator, &[]);
        let place = world.chance.below(world.places.len());
        let World { chance, out, places, catalog, .. } = world;
        let place = &places[place];
        let thing = place.assets.first()?;
        let spec = catalog.connector(&place.connector)?;
        let action = spec.actions.iter().find(|a| a.target_types.contains(&thing.kind))?;
        let template = Template {
            title: format!("{} of {}", action.title, thing.name),
            reason: "Every night.".to_owned(),
            ticket: None,
            change_type: action.id.clone(),
            connection: ConnectionId(place.stream.id.id),
            targets: vec![thing.id],
            parameters: action.example.clone(),
        };
        let timing = Timing { cron: "30 3 * * *".to_owned(), zone: "UTC".to_owned() };
        let mut stream: Kept<Schedule> = Kept::new(ScheduleId(chance.id(at)));
        stream.tell((chance, out), &by, at, ScheduleCommand::Create { template, timing });
        let reason = "Not needed at present.".to_owned();
        stream.tell((chance, out), &by, at, ScheduleCommand::Pause { reason });
        None
    }
}
