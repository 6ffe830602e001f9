//! Faults over real sockets: who is chosen, and what becomes of it.

mod client;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use meshbed_proxy::{
    observe::Observer,
    policy::{
        fault::{Fault, Rule, Select, Window, abort::Abort, delay::Delay},
        matcher::Matcher,
    },
    unit::Share,
};
use tokio::time::Instant;

use self::client::{Client, Keeper, Told, config, start, traceparent, upstream};

const REQUESTS: u64 = 600;

/// Requests for `/cart/1` that 10 % of `slow@client>shop` hit under seed 7, computed apart in Python (package `xxhash` 4.1.0)
/// from the definition of a draw.
const SLOW: [u64; 60] = [
    10, 15, 16, 17, 19, 22, 35, 38, 62, 73, 84, 86, 115, 129, 131, 136, 148, 150, 156, 157, 166,
    174, 212, 233, 247, 248, 252, 277, 293, 296, 311, 317, 320, 332, 380, 398, 404, 408, 409, 410,
    412, 416, 419, 421, 423, 424, 450, 468, 484, 488, 498, 506, 544, 560, 563, 568, 570, 575, 585,
    595,
];
/// Likewise, 5 % of `broken@client>shop`.
const BROKEN: [u64; 36] = [
    2, 15, 16, 31, 55, 74, 79, 99, 103, 108, 111, 112, 153, 157, 159, 217, 218, 224, 263, 266, 278,
    283, 375, 388, 402, 453, 470, 480, 482, 501, 515, 539, 542, 570, 574, 578,
];
/// Likewise, 10 % of `slow@client>shop` under seed 8: the first ten.
const SLOW_8: [u64; 10] = [16, 17, 30, 38, 52, 56, 64, 76, 78, 95];

fn rule(id: &str, select: Select, kind: Fault) -> Rule {
    Rule {
        id: Arc::from(id),
        name: format!("{id}@client>shop"),
        windows: Vec::new(),
        matcher: Matcher::default(),
        select,
        max_active: None,
        kind,
        ..Rule::default()
    }
}

fn share(value: f64) -> Select {
    Select::Share(Share::new(value).unwrap())
}

fn broken(share_of: f64) -> Rule {
    let kind = Fault::Abort(Abort::Status {
        status: 503,
        body: None,
    });
    rule("broken", share(share_of), kind)
}

fn slow(share_of: f64, delay: Delay) -> Rule {
    rule("slow", share(share_of), Fault::Delay(delay))
}

/// Sends the whole schedule over so many connections and gives what was told of the chosen.
async fn play(seed: u64, workers: usize, connections: usize) -> Vec<Told> {
    let rules = vec![
        broken(0.05),
        slow(
            0.1,
            Delay::Exponential {
                mean: Duration::from_micros(500),
            },
        ),
    ];
    let keeper = Arc::new(Keeper::default());
    let observer: Arc<dyn Observer> = Arc::<Keeper>::clone(&keeper);
    let (handle, address) = start(config(upstream().await, seed, rules), workers, observer);
    let next = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= REQUESTS {
                        break;
                    }
                    // Not in the order of the schedule: 7 has no factor in common with 600.
                    let ordinal = place * 7 % REQUESTS;
                    let (status, _) = client.get("/cart/1", &traceparent(0, 0, ordinal)).await;
                    if seed == 7 {
                        assert_eq!(status == 503, BROKEN.contains(&ordinal), "{ordinal}");
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert!(handle.drain(Duration::from_secs(5)));
    assert_eq!(keeper.requests(), REQUESTS);
    keeper.hits()
}

fn of<'a>(told: &'a [Told], fault: &str) -> Vec<&'a Told> {
    told.iter().filter(|told| told.fault == fault).collect()
}

fn ordinals(told: &[Told], fault: &str) -> Vec<u64> {
    of(told, fault).iter().map(|told| told.ordinal).collect()
}

#[tokio::test]
async fn the_same_requests_are_chosen_by_any_number_of_workers_and_connections() {
    let first = play(7, 1, 1).await;
    assert_eq!(ordinals(&first, "slow"), SLOW);
    assert_eq!(ordinals(&first, "broken"), BROKEN);
    for (workers, connections) in [(1, 64), (2, 1), (2, 64)] {
        let again = play(7, workers, connections).await;
        assert_eq!(again, first, "{workers} workers, {connections} connections");
    }
    // Within 3 sigma of the share: 60 ± 22 and 30 ± 16.
    assert!(SLOW.len().abs_diff(60) <= 22 && BROKEN.len().abs_diff(30) <= 16);
}

#[tokio::test]
async fn another_seed_chooses_others() {
    let told = play(8, 2, 8).await;
    assert_eq!(ordinals(&told, "slow")[..10], SLOW_8);
}

#[tokio::test]
async fn what_is_chosen_after_an_abort_is_superseded() {
    let told = play(7, 2, 8).await;
    for hit in of(&told, "slow") {
        let expected = if BROKEN.contains(&hit.ordinal) {
            ("superseded", "FI")
        } else {
            ("applied", "DI")
        };
        assert_eq!((hit.effect, hit.flags.as_str()), expected, "{hit:?}");
        assert!(hit.u < 0.1);
    }
    assert!(
        of(&told, "broken")
            .iter()
            .all(|hit| hit.effect == "applied" && hit.flags == "FI")
    );
}

#[tokio::test]
async fn amounts_are_those_of_the_draw() {
    let told = play(7, 1, 8).await;
    // In Python: -500e3 * log1p(-u) nanoseconds at u of `slow@client>shop#amount`.
    let asked: Vec<_> = of(&told, "slow")
        .iter()
        .take(6)
        .map(|hit| (hit.ordinal, hit.asked.unwrap().as_nanos()))
        .collect();
    assert_eq!(
        asked,
        [
            (10, 1_473_187),
            (15, 1_465_132),
            (16, 92_908),
            (17, 129_973),
            (19, 556_688),
            (22, 392_296),
        ]
    );
}

/// A proxy with these rules, a client of it, and what is told.
async fn with(rules: Vec<Rule>) -> (meshbed_proxy::app::Handle, Client, Arc<Keeper>) {
    let keeper = Arc::new(Keeper::default());
    let observer: Arc<dyn Observer> = Arc::<Keeper>::clone(&keeper);
    let (handle, address) = start(config(upstream().await, 7, rules), 1, observer);
    (handle, Client::connect(address).await, keeper)
}

#[tokio::test]
async fn a_delay_is_waited_for_and_an_abort_is_answered_as_envoy_does() {
    let delay = Duration::from_millis(60);
    let (_handle, mut client, _) = with(vec![slow(1.0, Delay::Fixed(delay))]).await;
    let begin = Instant::now();
    assert_eq!(client.get("/", "").await, (200, "ok".to_owned()));
    assert!(begin.elapsed() >= delay, "{:?}", begin.elapsed());
    let (_handle, mut client, keeper) =
        with(vec![slow(1.0, Delay::Fixed(delay)), broken(1.0)]).await;
    let begin = Instant::now();
    assert_eq!(
        client.get("/", "").await,
        (503, "fault filter abort".to_owned())
    );
    assert!(begin.elapsed() >= delay, "{:?}", begin.elapsed());
    assert_eq!(keeper.hits()[0].flags, "DI,FI");
}

#[tokio::test]
async fn a_window_is_of_intended_time_and_half_open() {
    let windowed = Rule {
        windows: vec![Window {
            begin_ms: 1000,
            end_ms: 2000,
        }],
        ..broken(1.0)
    };
    let (_handle, mut client, _) = with(vec![windowed]).await;
    for (ordinal, (due, status)) in [(999, 200), (1000, 503), (1999, 503), (2000, 200)]
        .into_iter()
        .enumerate()
    {
        let (got, _) = client.get("/", &traceparent(0, due, ordinal as u64)).await;
        assert_eq!(got, status, "due at {due} ms");
    }
    let (unknown, _) = client.get("/", "").await;
    assert_eq!(unknown, 200, "a request that is not of the schedule");
}

#[tokio::test]
async fn first_counts_on_when_the_configuration_is_swapped() {
    let up = upstream().await;
    let rules = || {
        vec![Rule {
            select: Select::First(3),
            ..broken(1.0)
        }]
    };
    let (handle, address) = start(config(up, 7, rules()), 2, Arc::new(Keeper::default()));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(address).await;
        for _ in 0..2 {
            statuses.push(client.get("/", "").await.0);
        }
        handle.publish(config(up, 7, rules())).unwrap();
    }
    assert_eq!(statuses, [503, 503, 503, 200, 200, 200]);
}
