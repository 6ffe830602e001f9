//! The container engine that tests use, and an image for them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The image that holds the program under test.
pub(crate) const IMAGE: &str = "meshbed-under-test";

/// Whether there is a container engine; if so, [`IMAGE`] is there. If not, this is said where no test runner hides it, and
/// with `MESHBED_TEST_DOCKER=required` (as `.ci/run` sets) the test fails.
pub(crate) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    let there = *THERE.get_or_init(|| {
        let there = docker(&["info", "--format", "{{.ServerVersion}}"]).is_ok();
        if there {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let done = Command::new("sh")
                .arg(root.join("scenarios/containers/self.sh"))
                .args([env!("CARGO_BIN_EXE_meshbed"), IMAGE])
                .arg(context())
                .output()
                .unwrap();
            assert!(
                done.status.success(),
                "self.sh: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        there
    });
    if !there {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        assert!(
            std::env::var("MESHBED_TEST_DOCKER").as_deref() != Ok("required"),
            "no docker daemon"
        );
        let _ = writeln!(std::io::stderr(), "{name}: skipped: no docker daemon");
    }
    there
}

/// A folder that [`IMAGE`] can be built from.
pub(crate) fn context() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/containers/under-test")
}

/// What Docker's own client says.
pub(crate) fn docker(arguments: &[&str]) -> Result<String, String> {
    let done = Command::new("docker").args(arguments).output();
    let done = done.map_err(|error| error.to_string())?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&done.stderr).into_owned())
    }
}

/// Containers, networks and images of a run, by the pid of its process.
pub(crate) fn of_run(pid: u32) -> Vec<String> {
    let label = format!("label=meshbed.pid={pid}");
    let mut left = Vec::new();
    for (what, arguments) in [
        ("container", ["ps", "-aq"].as_slice()),
        ("network", &["network", "ls", "-q"]),
        ("image", &["images", "-q"]),
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--filter", &label]);
        let ids = docker(&all).unwrap();
        left.extend(ids.lines().map(|id| format!("{what} {id}")));
    }
    left
}

/// Sends a signal to a process that a test has started.
pub(crate) fn signal(name: &str, pid: u32) {
    let done = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}
