//! Services in containers: what they are told, what becomes of those that fail, and that nothing is left of them.

use std::{fs, thread, time::Duration};

use tokio::time::Instant;

use crate::{
    docker::{self, IMAGE, docker},
    support::{Bed, Done},
};

/// The front in a container, one of its peers in another, two that are built in.
fn shop(front: &str) -> String {
    format!(
        r#"
version: 1
name: contained-shop
seed: 7
topology:
  entry: shop
  services:
    shop: {{ container: {{ {front} }}, calls: [catalog, cart, payments] }}
    catalog: {{ container: {{ image: {IMAGE}, command: [builtin, shop, --service, catalog], memory: 64MiB, cpus: 0.5, port: 9000 }} }}
    cart: {{ builtin: {{ app: shop }}, calls: [catalog] }}
    payments: {{ builtin: {{ app: shop }} }}
traffic: [ {{ id: main, generate: {{ rate: 20/s, requests: [ {{ path: /cart/7 }}, {{ path: /item/1001 }} ] }}, connections: 64 }} ]
phases: [ {{ id: steady, for: 3s }} ]
checks: [ {{ id: good, must: true, that: "errors[shop] == 0 and requests[catalog] > 0 and requests[cart] > 0" }} ]
"#
    )
}

fn of_image(more: &str) -> String {
    shop(&format!("image: {IMAGE}, command: [builtin, shop] {more}"))
}

/// Plays a scenario; the answer is what came of it, and the pid of the run.
fn play(bed: &Bed, name: &str) -> (Done, u32) {
    let child = bed.begin(name, &[]);
    let pid = child.id();
    (bed.end(name, child), pid)
}

/// Waits until the run has this many containers that run.
fn running(pid: u32, wanted: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let label = format!("label=meshbed.pid={pid}");
        let ids = docker(&["ps", "-q", "--filter", &label]).unwrap();
        let ids: Vec<String> = ids.lines().map(str::to_owned).collect();
        if ids.len() >= wanted {
            return ids;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{wanted} containers are not there: {ids:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn log(done: &Done, name: &str) -> String {
    fs::read_to_string(done.bundle.join("logs").join(name)).unwrap()
}

#[test]
fn a_call_of_a_container_passes_its_own_sidecar() {
    if !docker::is_there() {
        return;
    }
    let context = docker::context();
    let bed = Bed::with(&shop(&format!(
        "build: {}, command: [builtin, shop]",
        context.display()
    )));
    let child = bed.begin("a", &[]);
    let pid = child.id();
    let limits: Vec<String> = running(pid, 2)
        .iter()
        .map(|id| {
            let what = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}";
            docker(&["inspect", "--format", what, id]).unwrap()
        })
        .collect();
    let done = bed.end("a", child);
    // 5 where the machine was too busy to be on time.
    assert!(matches!(done.code, Some(0 | 5)), "{}", done.said);
    assert_eq!(done.run()["checks"][0]["outcome"], "pass", "{}", done.said);
    let hop = |caller: &str, service: &str| {
        done.requests()
            .iter()
            .flat_map(|request| request["hops"].as_array().unwrap().clone())
            .filter(|hop| hop["caller"] == caller && hop["service"] == service)
            .count()
    };
    assert!(hop("shop", "cart") > 0 && hop("shop", "catalog") > 0 && hop("cart", "catalog") > 0);
    assert!(
        limits.iter().any(|one| one.trim() == "67108864 500000000"),
        "{limits:?}"
    );
    assert!(log(&done, "shop.log").contains("shop v1"));
    assert!(log(&done, "shop-build.log").contains("Successfully built"));
    assert!(log(&done, "catalog.log").contains("0.0.0.0:9000"));
    assert_eq!(docker::of_run(pid), Vec::<String>::new());
    assert!(bed.journals().is_empty());
    let undone: Vec<_> = done.events("undo");
    let kinds = |what: &str| undone.iter().filter(|one| one["what"] == what).count();
    assert_eq!(
        (kinds("container"), kinds("network"), kinds("image")),
        (2, 1, 1),
        "{undone:?}"
    );
}

#[test]
fn what_cannot_start_is_named_and_nothing_is_left() {
    if !docker::is_there() {
        return;
    }
    let cases = [
        (
            shop("image: no-such-image-of-meshbed"),
            "the image `no-such-image-of-meshbed` is not there, and cannot be pulled",
        ),
        (shop("build: bad"), "stat nothing"),
        (
            shop(&format!("image: {IMAGE}, command: [builtin, nope]")),
            "ended before it was ready (exit code 2)",
        ),
        (
            shop(&format!("image: {IMAGE}, command: [builtin, nope]")),
            "unknown builtin app `nope`",
        ),
        (
            shop(&format!("image: {IMAGE}, entrypoint: [/nope]")),
            "/nope",
        ),
        (
            of_image(", env: { PORT: \"1\" }, ready: { within: 500ms }"),
            "not ready within 500ms: its PORT 8080 takes no connection; its last output:\n  shop v1 of shop at 0.0.0.0:1",
        ),
        (
            of_image(
                ", healthcheck: { test: [CMD, /nope], interval: 100ms }, ready: { within: 1s }",
            ),
            "its healthcheck has not succeeded",
        ),
        (of_image(", cpus: 4096"), "Range of CPUs"),
    ];
    for (scenario, expected) in cases {
        let bed = Bed::with(&scenario);
        fs::create_dir(bed.path().join("bad")).unwrap();
        fs::write(
            bed.path().join("bad/Dockerfile"),
            "FROM scratch\nCOPY nothing /\n",
        )
        .unwrap();
        let (done, pid) = play(&bed, "a");
        assert_eq!(done.code, Some(3), "{}", done.said);
        assert!(
            done.said.contains("service `shop`") && done.said.contains(expected),
            "{expected}: {}",
            done.said
        );
        assert_eq!(docker::of_run(pid), Vec::<String>::new(), "{expected}");
        assert!(bed.journals().is_empty(), "{expected}");
        assert!(bed.reports().is_empty(), "{expected}");
    }

    // A port that another service's sidecar needs.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    let scenario = of_image("").replace(
        "cart: { builtin: { app: shop }, calls: [catalog] }",
        &format!("cart: {{ builtin: {{ app: shop }}, calls: {{ catalog: \"{taken}\" }} }}"),
    );
    let bed = Bed::with(&scenario);
    let (done, pid) = play(&bed, "a");
    drop(listener);
    assert_eq!(done.code, Some(3), "{}", done.said);
    assert!(done.said.contains(&taken.to_string()), "{}", done.said);
    assert_eq!(docker::of_run(pid), Vec::<String>::new());
}

#[test]
fn an_engine_that_does_not_answer_is_named() {
    let bed = Bed::with(&of_image(""));
    let socket = bed.path().join("dead.sock");
    // A socket that takes connections and says nothing, and none at all.
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for address in [socket.as_path(), &bed.path().join("none.sock")] {
        let address = format!("unix://{}", address.display());
        let done = bed
            .meshbed(&["run", "scenario.yaml", "--headless", "--out", "out/a"])
            .env("DOCKER_HOST", &address)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{said}");
        assert!(
            said.contains(&format!(
                "the container engine at {address} does not answer"
            )),
            "{said}"
        );
        assert!(bed.journals().is_empty());
    }
}

/// The containers of a party of a run.
fn of_party(pid: u32, party: &str) -> Vec<String> {
    let run = format!("label=meshbed.pid={pid}");
    let party = format!("label=meshbed.service={party}");
    let ids = docker(&["ps", "-q", "--filter", &run, "--filter", &party]).unwrap();
    ids.lines().map(str::to_owned).collect()
}

/// The calls to a service: when the request was due, how long it took, its status, its flags.
fn calls(done: &Done, caller: &str, service: &str) -> Vec<(u64, u64, Option<u64>, String)> {
    let mut calls = Vec::new();
    for request in done.requests() {
        for hop in request["hops"].as_array().unwrap() {
            if hop["caller"] == caller && hop["service"] == service {
                calls.push((
                    request["intended_us"].as_u64().unwrap(),
                    hop["us"].as_u64().unwrap(),
                    hop["status"].as_u64(),
                    hop["flags"].to_string(),
                ));
            }
        }
    }
    calls
}

#[test]
fn a_container_that_dies_is_told_refuses_calls_and_may_come_back() {
    if !docker::is_there() {
        return;
    }
    let bed = Bed::with(&of_image("").replace("for: 3s", "for: 10s"));
    let child = bed.begin("a", &[]);
    let pid = child.id();
    running(pid, 2);
    thread::sleep(Duration::from_secs(2));
    let catalog = of_party(pid, "catalog").remove(0);
    docker(&["kill", &catalog]).unwrap();
    thread::sleep(Duration::from_secs(4));
    docker(&["start", &catalog]).unwrap();
    let done = bed.end("a", child);
    assert!(
        done.said.contains(
            "note: service `catalog` has ended (exit code 137: SIGKILL): calls to it are refused"
        ) && done
            .said
            .contains("note: service `catalog` was started again"),
        "{}",
        done.said
    );
    let run = done.run();
    assert_eq!(run["state"], "finished", "{}", done.said);
    assert_eq!(run["generator"]["done"], 200, "{}", done.said);
    let summary = fs::read_to_string(done.bundle.join("summary.md")).unwrap();
    assert!(
        summary.contains("service `catalog` has ended (exit code 137"),
        "{summary}"
    );
    assert_eq!(
        run["notes"].as_array().unwrap().len(),
        2,
        "{}",
        run["notes"]
    );
    assert!(run["checks"][0]["outcome"] == "fail", "{}", done.said);
    let calls = calls(&done, "*", "catalog");
    let failed: Vec<_> = calls.iter().filter(|call| call.2 != Some(200)).collect();
    let named = failed.iter().filter(|call| call.3.contains("UF")).count();
    let slow = failed.iter().filter(|call| call.1 > 100_000).count();
    // Four seconds of twenty a second, and each may call it more than once; those that were under way when it died may
    // have waited.
    assert!(named >= 40 && named + 3 >= failed.len(), "{failed:?}");
    assert!(slow <= 5, "{failed:?}");
    assert_eq!(calls.last().unwrap().2, Some(200), "it is back: {calls:?}");
    assert!(
        log(&done, "catalog.log").matches("0.0.0.0:9000").count() == 2,
        "it printed this twice"
    );
    assert_eq!(docker::of_run(pid), Vec::<String>::new());
    assert!(bed.journals().is_empty());
}

#[test]
fn a_container_that_dies_while_the_run_drains_refuses_calls_too() {
    if !docker::is_there() {
        return;
    }
    // Due within three seconds, each request reaches the shop five seconds later.
    let slow = "\nfaults: [ { id: slow, target: shop, during: steady, delay: 5s } ]\n";
    let bed = Bed::with(&format!("{}{slow}", of_image("")));
    let child = bed.begin("a", &[]);
    let pid = child.id();
    running(pid, 2);
    thread::sleep(Duration::from_secs(5));
    docker(&["kill", &of_party(pid, "catalog").remove(0)]).unwrap();
    let done = bed.end("a", child);
    assert!(
        done.said.contains("note: service `catalog` has ended"),
        "{}",
        done.said
    );
    let calls = calls(&done, "*", "catalog");
    let last: Vec<_> = calls.iter().filter(|call| call.0 > 2_500_000).collect();
    let refused =
        |call: &&&(u64, u64, Option<u64>, String)| call.3.contains("UF") && call.1 < 100_000;
    let at_once = last.iter().filter(refused).count();
    assert!(at_once > 0 && at_once == last.len(), "{last:?}");
    assert_eq!(docker::of_run(pid), Vec::<String>::new());
}

#[test]
fn replicas_share_the_calls_and_one_that_dies_refuses_its_own() {
    if !docker::is_there() {
        return;
    }
    let bed = Bed::with(
        &of_image("")
            .replace("port: 9000 }", "port: 9000, replicas: 2 }")
            .replace("for: 3s", "for: 5s"),
    );
    let child = bed.begin("a", &[]);
    let pid = child.id();
    running(pid, 3);
    thread::sleep(Duration::from_secs(2));
    let replicas = of_party(pid, "catalog");
    assert_eq!(replicas.len(), 2);
    docker(&["kill", &replicas[0]]).unwrap();
    let done = bed.end("a", child);
    assert!(
        done.said.contains("note: service `catalog-0` has ended")
            || done.said.contains("note: service `catalog-1` has ended"),
        "{}",
        done.said
    );
    let calls = calls(&done, "*", "catalog");
    let after: Vec<_> = calls.iter().filter(|call| call.0 > 3_500_000).collect();
    let refused = after.iter().filter(|call| call.3.contains("UF")).count();
    assert!(
        refused > 0 && refused * 3 > after.len() && refused * 3 < after.len() * 2,
        "half of them: {refused} of {}",
        after.len()
    );
    for replica in 0..2 {
        let name = format!("catalog-{replica}.log");
        assert!(log(&done, &name).contains("0.0.0.0:9000"));
    }
    assert_eq!(docker::of_run(pid), Vec::<String>::new());
}

#[test]
fn ctrl_c_removes_containers_at_any_moment() {
    if !docker::is_there() {
        return;
    }
    let bed = Bed::with(&of_image(""));
    for (index, after_ms) in [50, 300, 700, 1500].into_iter().enumerate() {
        let name = format!("run-{index}");
        let child = bed.begin(&name, &[]);
        let pid = child.id();
        thread::sleep(Duration::from_millis(after_ms));
        docker::signal("INT", pid);
        let done = bed.end(&name, child);
        let when = format!("after {after_ms} ms: {}", done.said);
        assert_eq!(done.code, Some(130), "{when}");
        assert_eq!(docker::of_run(pid), Vec::<String>::new(), "{when}");
        assert!(bed.journals().is_empty(), "{when}");
    }
}

/// `MESHBED_TEST_KILLS` sets how often; each takes up to three seconds.
#[test]
fn what_sigkill_leaves_at_an_engine_is_undone_by_cleanup() {
    if !docker::is_there() {
        return;
    }
    let rounds: u64 = std::env::var("MESHBED_TEST_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6);
    let bed = Bed::with(&of_image(""));
    let mut with_containers = 0;
    for round in 0..rounds {
        // Instants of a fixed sequence that looks like chance: the golden ratio's multiples, over two seconds.
        let after_ms = (round + 1) * 1236 % 2000;
        let mut child = bed.begin(&format!("run-{round}"), &[]);
        let pid = child.id();
        thread::sleep(Duration::from_millis(after_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        with_containers += usize::from(!docker::of_run(pid).is_empty());
        let when = format!("killed after {after_ms} ms");
        let cleanup = bed.meshbed(&["cleanup"]).output().unwrap();
        let said = String::from_utf8_lossy(&cleanup.stderr);
        assert!(cleanup.status.success(), "{when}: {said}");
        // What the engine was still at when cleanup came is not late either.
        thread::sleep(Duration::from_millis(500));
        assert_eq!(docker::of_run(pid), Vec::<String>::new(), "{when}: {said}");
        assert!(bed.journals().is_empty(), "{when}");
        let partial = bed.reports();
        assert!(
            !partial.iter().any(|name| name.ends_with(".partial")),
            "{when}: {partial:?}"
        );
    }
    assert!(
        with_containers * 2 >= rounds as usize,
        "{with_containers} of {rounds} were killed with something up"
    );
}

#[test]
fn a_compose_file_gives_its_services_and_their_calls() {
    if !docker::is_there() {
        return;
    }
    let compose = format!(
        r#"
name: shop
x-part: &part
  image: {IMAGE}
  restart: always
services:
  shop:
    <<: *part
    command: builtin shop --service shop
    depends_on: {{ catalog: {{ condition: service_started }}, cart: {{ condition: service_started }}, payments: {{ condition: service_started }} }}
    # As an application would find a peer that knows nothing of sidecars.
    environment: [ "MESHBED_CATALOG_URL=http://catalog:${{CATALOG_PORT:-9000}}", "LOG=$$HOME" ]
    ports: ["127.0.0.1:18080:8080"]
    mem_limit: 100m
    healthcheck: {{ test: [CMD, /meshbed, --version], interval: 1s }}
  catalog: {{ <<: *part, command: [builtin, shop, --service, catalog], expose: [9000], deploy: {{ resources: {{ limits: {{ cpus: "0.5", memory: 64M }} }} }} }}
  cart: {{ <<: *part, command: [builtin, shop, --service, cart], depends_on: [catalog], expose: [8080] }}
  payments: {{ image: no-such-image-of-meshbed }}
"#
    );
    let bed = Bed::with(
        r#"
version: 1
name: composed
seed: 7
topology:
  entry: shop
  compose: compose.yaml
  services:
    payments: { builtin: { app: shop } }
    cart: { policy: { timeout: 3s } }
traffic: [ { id: main, generate: { rate: 20/s, requests: [ { path: /cart/7 }, { path: /item/1001 } ] }, connections: 4 } ]
phases: [ { id: steady, for: 3s } ]
checks: [ { id: good, must: true, that: "errors[shop] == 0 and requests[catalog] > 0 and requests[cart] > 0" } ]
"#,
    );
    fs::write(bed.path().join("compose.yaml"), compose).unwrap();
    let child = bed.begin("a", &[]);
    let pid = child.id();
    let seen: String = running(pid, 3)
        .iter()
        .map(|id| {
            let what = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PortBindings}} {{.Config.Env}}";
            docker(&["inspect", "--format", what, id]).unwrap()
        })
        .collect();
    let done = bed.end("a", child);
    assert!(matches!(done.code, Some(0 | 5)), "{}", done.said);
    let run = done.run();
    assert_eq!(run["checks"][0]["outcome"], "pass", "{}", done.said);
    let catalog_from_shop = done
        .requests()
        .iter()
        .flat_map(|request| request["hops"].as_array().unwrap().clone())
        .filter(|hop| hop["caller"] == "shop" && hop["service"] == "catalog")
        .count();
    assert!(catalog_from_shop > 0);
    assert!(
        seen.contains("104857600 0 <no value>") && seen.contains("67108864 500000000"),
        "{seen}"
    );
    assert!(seen.contains("LOG=$HOME"), "{seen}");
    assert!(
        done.said.contains("compose.yaml:5:3") && done.said.contains("`restart` is not honoured"),
        "{}",
        done.said
    );
    assert!(
        done.said.contains("ports are not published"),
        "{}",
        done.said
    );
    assert_eq!(docker::of_run(pid), Vec::<String>::new());
}

#[test]
fn a_hung_candidate_costs_its_primary_nothing_and_recovers() {
    if !docker::is_there() {
        return;
    }
    let container = |version: &str| {
        format!(
            "{{ container: {{ image: {IMAGE}, command: [builtin, planted, --version, {version}], ready: {{ http: /healthz }} }} }}"
        )
    };
    let scenario = format!(
        r#"
version: 1
name: hung
seed: 7
topology: {{ entry: orders, services: {{ orders: {} }} }}
shadow:
  - id: candidate
    of: orders
    to: {}
    limits: {{ in_flight: 8, queue: 8, deadline: 500ms }}
traffic: [ {{ id: main, generate: {{ rate: 100/s, requests: [ {{ path: /orders/7 }} ] }}, connections: 16 }} ]
phases: [ {{ id: before, for: 2s }}, {{ id: hung, for: 4s }}, {{ id: after, for: 3s }} ]
checks: [ {{ id: untouched, must: true, that: "errors[orders] == 0 and p50[orders]@hung < 50ms" }} ]
"#,
        container("v1"),
        container("v2"),
    );
    let bed = Bed::with(&scenario);
    let child = bed.begin("a", &[]);
    let pid = child.id();
    running(pid, 2);
    thread::sleep(Duration::from_secs(3));
    let label = format!("label=meshbed.pid={pid}");
    let candidate = docker(&[
        "ps",
        "-q",
        "--filter",
        &label,
        "--filter",
        "label=meshbed.service=~candidate",
    ])
    .unwrap();
    let candidate = candidate.trim();
    docker(&["pause", candidate]).unwrap();
    thread::sleep(Duration::from_secs(3));
    docker(&["unpause", candidate]).unwrap();
    let done = bed.end("a", child);
    let run = done.run();
    assert_eq!(run["checks"][0]["outcome"], "pass", "{}", done.said);
    let shadow = &run["shadows"][0];
    let why: Vec<_> = ["shed", "failed"]
        .iter()
        .filter_map(|kind| shadow[kind].as_object())
        .flat_map(|reasons| reasons.iter())
        .collect();
    assert!(!why.is_empty(), "{shadow}");
    let lost: u64 = why.iter().filter_map(|(_, count)| count.as_u64()).sum();
    // Three of nine seconds, and whatever reason each has.
    assert!((200..=450).contains(&lost), "{shadow}");
    assert_eq!(
        shadow["compared"].as_u64().unwrap() + lost,
        shadow["chosen"].as_u64().unwrap(),
        "{shadow}"
    );
    let last = done
        .events("mirror")
        .into_iter()
        .filter(|event| event["outcome"] == "compared")
        .filter_map(|event| event["ord"].as_u64())
        .max();
    assert!(last > Some(880), "it has recovered: {last:?}");
    assert_eq!(docker::of_run(pid), Vec::<String>::new());
}
