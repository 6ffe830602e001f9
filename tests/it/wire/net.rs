//! Two network namespaces and the wire between them.
#![expect(clippy::panic, reason = "helpers of tests fail loudly")]

use std::{
    fs::File,
    io::Write as _,
    os::fd::AsFd as _,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The address of the inner namespace, as the outer one sees it.
pub(crate) const INNER: &str = "10.77.0.2";

/// A network namespace; gone when dropped.
pub(crate) struct Space {
    name: String,
}

/// The service's machine, and the world around it.
pub(crate) struct Net {
    pub(crate) inner: Space,
    pub(crate) outer: Space,
}

impl Space {
    fn new(name: String) -> Option<Self> {
        run("ip", &["netns", "add", &name])?;
        let this = Self { name };
        this.exec(&["ip", "link", "set", "lo", "up"]);
        Some(this)
    }

    /// What a program says that runs in it.
    fn exec(&self, command: &[&str]) -> String {
        let mut arguments = vec!["netns", "exec", &*self.name];
        arguments.extend(command);
        let output = Command::new("ip").args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Does something in it, on a thread of its own.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = self.path();
        thread::spawn(move || {
            enter(&path);
            work()
        })
    }

    /// The same, and waits for it.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&path);
                work()
            });
            inside
                .join()
                .unwrap_or_else(|_| panic!("it failed in its namespace"))
        })
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.name]);
    }
}

impl Net {
    /// Two namespaces joined by a wire; `None`: this machine does not let us, which is said so that nobody overlooks it.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if run("nft", &["--version"]).is_none() {
            return skipped("there is no `nft`");
        }
        let id = format!(
            "{}x{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let Some(inner) = Space::new(format!("mbt{id}i")) else {
            return skipped("`ip netns add` does not work: it takes root and iproute2");
        };
        let outer = Space::new(format!("mbt{id}o"))?;
        // Named within its namespace, so that it is in nobody's way.
        inner.exec(&[
            "ip",
            "link",
            "add",
            "wire",
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            &outer.name,
        ]);
        for (space, address) in [(&inner, "10.77.0.2/24"), (&outer, "10.77.0.1/24")] {
            space.exec(&["ip", "addr", "add", address, "dev", "wire"]);
            space.exec(&["ip", "link", "set", "wire", "up"]);
        }
        Some(Self { inner, outer })
    }

    /// The tables of the inner namespace's packet filter.
    pub(crate) fn tables(&self) -> String {
        self.inner.exec(&["nft", "list", "tables"])
    }

    /// Its rules.
    pub(crate) fn rules(&self) -> String {
        self.inner.exec(&["nft", "list", "ruleset"])
    }

    /// The port that connections are redirected to.
    pub(crate) fn redirected_to(&self) -> u16 {
        let rules = self.rules();
        let (_, port) = rules.split_once("redirect to :").unwrap();
        port.lines().next().unwrap().trim().parse().unwrap()
    }
}

fn enter(path: &str) {
    let file = File::open(path).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then_some(output)
}

fn skipped(why: &str) -> Option<Net> {
    // Past the harness, which shows nothing of a test that passes.
    let _ = writeln!(std::io::stderr(), "NOT TESTED, no network namespace: {why}");
    None
}
