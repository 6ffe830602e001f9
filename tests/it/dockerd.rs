//! A container engine that dies under a run: one of the test's own, with a socket and folders of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    docker::{self, IMAGE},
    support::Bed,
};

/// Docker's daemon, started for one test.
struct Dockerd {
    folder: PathBuf,
    child: Child,
}

impl Dockerd {
    fn start(folder: &Path) -> Self {
        let mut this = Self {
            folder: folder.to_owned(),
            child: spawn(folder),
        };
        this.wait();
        this
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.display())
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        docker.args(arguments).env("DOCKER_HOST", self.host());
        docker.output().unwrap()
    }

    fn lists(&self, arguments: &[&str]) -> String {
        let done = self.docker(arguments);
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        while !self.docker(&["info"]).status.success() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(
                self.child.try_wait().unwrap().is_none()
                    && begun.elapsed() < Duration::from_secs(30),
                "dockerd does not come up: {log}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL: what it has started goes on.
    fn dies(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn is_back(&mut self) {
        // Its containerd has died with it; where nobody reaps that, the new daemon takes it to be still running.
        let _ = fs::remove_file(self.folder.join("exec/containerd/containerd.pid"));
        self.child = spawn(&self.folder);
        self.wait();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // In good order, so that it takes its containers and its containerd along.
        if let Ok(None) = self.child.try_wait() {
            docker::signal("TERM", self.child.id());
        }
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let at = |name: &str| format!("{}/{name}", folder.display());
    Command::new("/usr/sbin/dockerd")
        .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
        .args(["--pidfile", &at("pid")])
        .args(["--host", &format!("unix://{}", at("docker.sock"))])
        // Nothing of the machine's is its: another daemon may be there.
        .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn scenario() -> String {
    format!(
        r#"
version: 1
name: engine
seed: 7
topology:
  entry: planted
  services: {{ planted: {{ container: {{ image: {IMAGE}, command: [builtin, planted], ready: {{ http: /healthz }} }} }} }}
traffic: [ {{ id: main, generate: {{ rate: 50/s, requests: [ {{ path: /orders/7 }} ] }} }} ]
phases: [ {{ id: steady, for: 8s }} ]
checks: [ {{ id: good, must: true, that: "errors[planted] == 0" }} ]
"#
    )
}

#[test]
fn a_run_goes_on_when_the_engine_dies_and_cleanup_undoes_the_rest_when_it_is_back() {
    if !docker::is_there() {
        return;
    }
    let bed = Bed::with(&scenario());
    let folder = bed.path().join("dockerd");
    fs::create_dir(&folder).unwrap();
    let mut dockerd = Dockerd::start(&folder);
    let built = Command::new("docker")
        .args(["build", "-q", "-t", IMAGE])
        .arg(docker::context())
        .env("DOCKER_HOST", dockerd.host())
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let begin = |dockerd: &Dockerd, name: &str| {
        let out = format!("out/{name}");
        let child = bed
            .meshbed(&["run", "scenario.yaml", "--headless", "--out", &out])
            .env("DOCKER_HOST", dockerd.host())
            .spawn();
        child.unwrap()
    };
    let playing = |dockerd: &Dockerd| {
        let begun = Instant::now();
        while dockerd.lists(&["ps", "-q"]).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no container");
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_secs(2));
    };
    let left = |dockerd: &Dockerd| {
        let mine = ["--filter", "label=meshbed.run"];
        let containers = dockerd.lists(&["ps", "-aq", mine[0], mine[1]]);
        containers + &dockerd.lists(&["network", "ls", "-q", mine[0], mine[1]])
    };

    // It stays dead: its containers go on without it, and the run ends with what it could not undo.
    let child = begin(&dockerd, "dead");
    playing(&dockerd);
    dockerd.dies();
    let done = bed.end("dead", child);
    assert_eq!(done.code, Some(3), "{}", done.said);
    for said in [
        "note: the container engine does not answer any more (",
        "error: cannot undo container meshbed-",
        "error: cannot undo network meshbed-",
        "`meshbed cleanup` tries again",
    ] {
        assert!(done.said.contains(said), "{said}: {}", done.said);
    }
    let run = done.run();
    assert_eq!(run["state"], "finished", "{}", done.said);
    assert_eq!(run["checks"][0]["outcome"], "pass", "{}", done.said);
    let notes = done.events("note");
    assert_eq!(notes.len(), 1, "{notes:?}");
    let undone = done.events("undo");
    assert!(
        undone.len() == 2 && undone.iter().all(|one| one["ok"] == false),
        "{undone:?}"
    );
    assert_eq!(bed.journals().len(), 1);
    let cleanup = |code: i32| {
        let mut command = bed.meshbed(&["cleanup"]);
        let done = command
            .env("DOCKER_HOST", "unix:///nowhere")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{said}");
        said
    };
    assert!(cleanup(3).contains("does not answer"));
    dockerd.is_back();
    assert!(!left(&dockerd).is_empty());
    cleanup(0);
    assert_eq!(left(&dockerd), "");
    assert!(bed.journals().is_empty());

    // It is back before the end, and has ended its containers: that is told, and nothing is left.
    let child = begin(&dockerd, "back");
    playing(&dockerd);
    dockerd.dies();
    thread::sleep(Duration::from_secs(1));
    dockerd.is_back();
    let done = bed.end("back", child);
    for said in [
        "note: the container engine does not answer any more (",
        "note: the container engine answers again",
        "note: service `planted` has ended (",
    ] {
        assert!(done.said.contains(said), "{said}: {}", done.said);
    }
    let run = done.run();
    assert_eq!(run["state"], "finished", "{}", done.said);
    assert_eq!(run["checks"][0]["outcome"], "fail", "{}", done.said);
    assert_eq!(left(&dockerd), "");
    assert!(bed.journals().is_empty());
}
