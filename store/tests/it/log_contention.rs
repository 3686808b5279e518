//! Many writers at once, on one server and on two.

use std::collections::{HashMap, HashSet};

use nexplane_store::log::{AppendError, Guard, ReadError, Stored};
use tokio::task::JoinSet;

use crate::log_fixture::{Fixture, append, records, stream};

/// Reads with a subscription until `count` events have come.
async fn subscribe(fixture: &Fixture, count: usize) -> tokio::task::JoinHandle<Vec<Stored>> {
    let mut subscription = fixture.log.subscribe(fixture.start().await);
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.extend(subscription.next().await.unwrap());
        }
        seen
    })
}

/// Positions without a gap, versions without a gap per stream, every event id once.
fn check_order(events: &[Stored]) {
    let mut versions = HashMap::new();
    let mut ids = HashSet::new();
    for (position, (event, record)) in events.iter().zip(records(events)).enumerate() {
        assert_eq!(event.position, position as u64);
        let version = versions.entry(record.header.stream).or_insert(0);
        *version += 1;
        assert_eq!(record.header.version, *version, "{}", record.header.stream);
        assert!(ids.insert(record.header.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_and_a_subscriber() {
    const WRITERS: u128 = 64;
    const COMMANDS: u64 = 200;
    const EVENTS: usize = 64 * 200;

    let fixture = Fixture::new().await;
    let subscriber = subscribe(&fixture, EVENTS).await;
    // Looks at the log without waiting for anything: it must never see a gap either.
    let log = fixture.log.clone();
    let looker = tokio::spawn(async move {
        let mut next = 0;
        let mut looks = 0_u64;
        while next < EVENTS as u64 {
            next += log.read(next, 100).await?.len() as u64;
            looks += 1;
        }
        Ok::<_, ReadError>(looks)
    });

    let started = std::time::Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let log = fixture.log.clone();
        writers.spawn(async move {
            for version in 0..COMMANDS {
                log.append(append(stream(writer), version, 1)).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let elapsed = started.elapsed();

    let seen = subscriber.await.unwrap();
    let looks = looker.await.unwrap().unwrap();
    println!("{EVENTS} events in {elapsed:?}, {looks} looks");
    assert_eq!(seen.len(), EVENTS);
    check_order(&seen);
    assert_eq!(seen, fixture.all().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_two_servers_fight_for_the_same_streams() {
    const COMMANDS: usize = 50;
    let fixture = Fixture::new().await;
    let second = fixture.second_log().await;
    let subscriber = subscribe(&fixture, 32 * COMMANDS).await;

    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let log = if writer % 2 == 0 { fixture.log.clone() } else { second.clone() };
        writers.spawn(async move {
            let stream = stream(writer % 4);
            let (mut done, mut conflicts, mut version) = (0, 0_u64, 0);
            while done < COMMANDS {
                match log.append(append(stream, version, 1)).await {
                    Ok(_) => (done, version) = (done + 1, version + 1),
                    Err(AppendError::Conflict { actual, .. }) => {
                        conflicts += 1;
                        version = actual;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            conflicts
        });
    }
    let conflicts: u64 = writers.join_all().await.into_iter().sum();
    println!("{} events, {conflicts} conflicts", 32 * COMMANDS);
    assert!(conflicts > 0);
    check_order(&subscriber.await.unwrap());
    assert_eq!(fixture.all().await.len(), 32 * COMMANDS);
}

/// Two commands that each demand that the other has not happened: exactly one does.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_commands_that_guard_each_other_one_loses() {
    const ROUNDS: u128 = 300;
    let fixture = Fixture::new().await;
    let second = fixture.second_log().await;

    let mut won = HashMap::new();
    // Few at a time: the appenders of both servers meet in each batch.
    for wave in 0..ROUNDS / 3 {
        let mut pairs = JoinSet::new();
        for round in 3 * wave..3 * wave + 3 {
            let (left, right) = (stream(2 * round), stream(2 * round + 1));
            let mut commands = [append(left, 0, 1), append(right, 0, 1)];
            commands[0].guards = vec![Guard { stream: right, version: 0 }];
            commands[1].guards = vec![Guard { stream: left, version: 0 }];
            // Two of three pairs meet in the database, the third in one queue.
            for (number, command) in commands.into_iter().enumerate() {
                let to_second = number == 1 && round % 3 != 0;
                let log = if to_second { &second } else { &fixture.log }.clone();
                pairs.spawn(async move { (round, log.append(command).await) });
            }
        }
        for (round, result) in pairs.join_all().await {
            match result {
                Ok(_) => *won.entry(round).or_insert(0) += 1,
                Err(AppendError::GuardFailed { expected: 0, actual: 1, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    for round in 0..ROUNDS {
        assert_eq!(won.get(&round), Some(&1), "round {round}");
    }
    check_order(&fixture.all().await);
}
