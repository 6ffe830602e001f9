//! Tables of the packet filter (nftables), named by their run and by the network namespace that they stand in.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The program that changes the packet filter.
pub const NFT: &str = "nft";

/// Where `ip netns` keeps the namespaces that have a name.
const NAMED: &str = "/run/netns";

/// A table of the family `inet`, in some network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The inode of its network namespace.
    namespace: u64,
}

/// Why the packet filter was not changed.
#[derive(Debug)]
pub enum Error {
    /// There is no `nft`.
    Missing,
    /// It could not be run.
    Run(io::Error),
    /// It refused; what it said.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there is no `{NFT}`: install the package `nftables`"),
            Self::Run(_) => write!(f, "`{NFT}` cannot be run"),
            Self::Refused(said) => write!(f, "`{NFT}` refused: {said}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Run(error) => Some(error),
            Self::Missing | Self::Refused(_) => None,
        }
    }
}

impl Table {
    /// The table of a run, in the network namespace that this process is in.
    pub fn of_run(mark: &str) -> io::Result<Self> {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() { c } else { '_' }
        };
        Ok(Self {
            name: format!("meshbed_{}", mark.chars().map(plain).collect::<String>()),
            namespace: own_namespace()?,
        })
    }

    /// As it stands in the journal: `meshbed_1f00 in net:4026531840`.
    pub fn id(&self) -> String {
        format!("{} in net:{}", self.name, self.namespace)
    }

    /// What removes it, whether it is there or not.
    pub fn removal(&self) -> String {
        format!(
            "table inet {name}\ndelete table inet {name}\n",
            name = self.name
        )
    }

    /// The table that stands so in the journal.
    fn of_id(id: &str) -> Option<Self> {
        let (name, namespace) = id.split_once(" in net:")?;
        Some(Self {
            name: name.to_owned(),
            namespace: namespace.parse().ok()?,
        })
    }
}

/// Carries out a script of nft(8), in whole or not at all.
pub fn apply(script: &str) -> Result<(), Error> {
    let mut child = waiting(script, |command| command)?;
    drop(child.stdin.take());
    let output = child.wait_with_output().map_err(Error::Run)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The first line says what is wrong; the others draw where.
    let first = said.lines().next().unwrap_or("no reason given").trim();
    Err(Error::Refused(
        first.trim_start_matches("/dev/stdin:").to_owned(),
    ))
}

/// Starts `nft` with a script that it carries out when its input ends: when the child's `stdin` is dropped, or when this
/// process is gone.
pub fn waiting(
    script: &str,
    with: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<Child, Error> {
    let mut command = Command::new(NFT);
    command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = with(&mut command)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            _ => Error::Run(error),
        })?;
    if let Some(stdin) = &mut child.stdin {
        // Where it ended before it read all, its status says why.
        let _ = stdin.write_all(script.as_bytes());
    }
    Ok(child)
}

/// Removes a table by what the journal says of it, wherever it stands. Whether it is gone.
pub(super) fn undo(id: &str) -> bool {
    let Some(table) = Table::of_id(id) else {
        return false;
    };
    let removal = table.removal();
    if own_namespace().is_ok_and(|own| own == table.namespace) {
        return apply(&removal).is_ok();
    }
    // A namespace that nobody is in and that has no name is gone, and its tables with it.
    let Some(path) = namespace(table.namespace) else {
        return true;
    };
    let inside = std::thread::spawn(move || -> Option<()> {
        let file = File::open(path).ok()?;
        // Of this thread alone, and of what it starts.
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
        apply(&removal).ok()
    });
    inside.join().ok().flatten().is_some()
}

fn own_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net")?.ino())
}

/// Where a network namespace can be entered.
fn namespace(inode: u64) -> Option<PathBuf> {
    let children = |folder: &str| {
        let entries = fs::read_dir(Path::new(folder)).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path()))
    };
    let of_processes = children("/proc").map(|process| process.join("ns/net"));
    children(NAMED)
        .chain(of_processes)
        .find(|path| fs::metadata(path).is_ok_and(|found| found.ino() == inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_again_by_its_id() {
        let table = Table::of_run("1f00-c0/ffee").unwrap();
        assert_eq!(table.name, "meshbed_1f00_c0_ffee");
        assert_eq!(Table::of_id(&table.id()), Some(table));
        assert_eq!(Table::of_id("meshbed_x"), None);
    }

    #[test]
    fn a_table_of_a_namespace_that_is_gone_is_gone() {
        // Inode numbers of namespaces lie far above.
        assert!(undo("meshbed_x in net:1"));
        assert!(!undo("nothing of ours"));
    }
}
