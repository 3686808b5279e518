//! Properties of the aggregates, whatever is asked of them, in whatever order; and of the risk.

mod asset;
mod audit;
mod calendar;
mod change;
mod connection;
#[cfg(feature = "schema")]
mod golden;
mod host;
mod person;
mod policy;
mod project;
mod protocol;
mod risk;
mod run;

use nexplane_core::actor::{Actor, Role};
use nexplane_core::aggregate::{Asked, Decider, Principal};
use nexplane_core::id::{HostId, PersonId};
use nexplane_core::time::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

/// The person and the host whose streams these are.
const OWNER: PersonId = PersonId(Uuid::from_u128(1));
const HOST: HostId = HostId(Uuid::from_u128(7));

/// One command with what came of it.
#[derive(Debug)]
struct Moment<D: Decider> {
    before: D::State,
    by: Principal,
    at: Timestamp,
    command: D::Command,
    answer: Result<Vec<D::Event>, D::Rejection>,
    after: D::State,
}

/// A stream from its beginning, one second between commands.
fn life<D: Decider>(commands: Vec<(Principal, D::Command)>) -> Vec<Moment<D>>
where
    D::Command: Clone,
{
    live((0..).zip(commands), |_, (second, (by, command))| Asked {
        by,
        at: moment(second),
        command,
    })
}

/// A stream from its beginning, of wishes that become commands only when the state is known: what
/// refers to the state would hardly ever be right by chance.
fn live<D: Decider, W>(
    wishes: impl IntoIterator<Item = W>,
    mut express: impl FnMut(&D::State, W) -> Asked<D::Command>,
) -> Vec<Moment<D>>
where
    D::Command: Clone,
{
    let mut state = D::State::default();
    wishes
        .into_iter()
        .map(|wish| {
            let Asked { by, at, command } = express(&state, wish);
            let before = state.clone();
            let answer = ask::<D>(&state, &by, at, &command);
            for event in answer.iter().flatten() {
                state = D::evolve(state.clone(), event, by.actor, at);
            }
            Moment { before, by, at, command, answer, after: state.clone() }
        })
        .collect()
}

fn ask<D: Decider>(
    state: &D::State,
    by: &Principal,
    at: Timestamp,
    command: &D::Command,
) -> Result<Vec<D::Event>, D::Rejection>
where
    D::Command: Clone,
{
    D::decide(state, Asked { by: by.clone(), at, command: command.clone() })
}

/// A history that no decision need have made.
fn fold<D: Decider>(state: D::State, events: &[D::Event]) -> D::State {
    events.iter().fold(state, |state, event| D::evolve(state, event, Actor::SYSTEM, moment(0)))
}

fn moment(second: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(second)
}

/// What a fixed sample of lives contains, so that no property holds for want of cases.
fn sample<S: Strategy>(strategy: S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..600)
        .map(|_| strategy.new_tree(&mut runner).expect("nothing is filtered out").current())
        .collect()
}

/// Enough for lives this short, and seconds for the whole file without optimisation.
fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(100)
}

fn principal() -> impl Strategy<Value = Principal> {
    let user = |roles: &[Role]| Principal { actor: Actor::user(OWNER), roles: roles.to_vec() };
    let somebody = |actor| Principal { actor, roles: Role::ALL.to_vec() };
    prop_oneof![
        6 => Just(user(&[Role::Admin])),
        6 => Just(Principal::SYSTEM),
        2 => Just(user(&[Role::Operator])),
        2 => Just(Principal { actor: Actor::agent(HOST), roles: Vec::new() }),
        1 => Just(user(&[Role::Viewer, Role::Approver, Role::Auditor, Role::Responder])),
        1 => Just(somebody(Actor::machine(OWNER))),
        1 => Just(somebody(Actor::user(PersonId(Uuid::from_u128(2))))),
        1 => Just(Principal { actor: Actor::agent(HostId(Uuid::from_u128(8))), roles: Vec::new() }),
    ]
}

fn commands<C: std::fmt::Debug + Clone>(
    command: impl Strategy<Value = C>,
) -> impl Strategy<Value = Vec<(Principal, C)>> {
    prop::collection::vec((principal(), command), 0..25)
}

fn id() -> impl Strategy<Value = Uuid> {
    (1..4_u128).prop_map(Uuid::from_u128)
}

/// Mostly a short name, sometimes what people and targets come up with.
fn text() -> impl Strategy<Value = String> {
    let odd = ["", " ", " a", "a ", "a/b", "-a", "a.", "_", "é", "a\nb", "a\0b", "\u{202e}a"];
    let odd: Vec<_> = odd
        .map(str::to_owned)
        .into_iter()
        .chain([41, 81, 254, 501].map(|n| "x".repeat(n)))
        .collect();
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "ab"]).prop_map(str::to_owned),
        2 => prop::sample::select(odd),
    ]
}

/// The same command once more, right after its answer.
fn again<D: Decider>(moment: &Moment<D>) -> Result<Vec<D::Event>, D::Rejection>
where
    D::Command: Clone,
{
    ask::<D>(&moment.after, &moment.by, moment.at, &moment.command)
}
