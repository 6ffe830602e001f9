//! Side effects, written down before they are made, so that whatever kills a run, the next command that starts things (or
//! `meshbed cleanup`) finds and undoes what it left.
//!
//! One file a run, one JSON object a line:
//!
//! ```text
//! {"run":"1f00c0ffee","boot":"…"}                                         the mark, in the environment of every process
//! {"intend":0,"effect":"process","id":"payments"}                         before it is started
//! {"made":0,"pid":4711,"start":123456}                                    named by pid and start time: a reused pid is another
//! {"undone":0}
//! {"intend":1,"effect":"folder","id":"/…/reports/.checkout-7.partial"}
//! {"intend":2,"effect":"container","id":"meshbed-1f00c0ffee-shop","at":"unix:///var/run/docker.sock"}
//! {"made":2,"as":"4f1c…"}                                                the engine's own id
//! ```
//!
//! A live run holds a lock on its file; a file without one is that of a dead run. A process that was killed between the
//! intent and the pid is found by its mark (`MESHBED_RUN` in `/proc/PID/environ`), and so are its children. What a container
//! engine keeps for the run is found by its mark, too: the label `meshbed.run` ([`engine`]).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

pub mod engine;
pub mod process;
pub mod table;

use process::ProcessId;

/// The environment variable that marks what a run started.
pub const MARK: &str = "MESHBED_RUN";

/// How long a killed process may take to leave the process table before it counts as not undone. Exiting is a matter of
/// milliseconds, but for one in uninterruptible sleep.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Pause between two looks at the process table.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A child between `fork` and `exec` does not bear its mark yet; so long after the owner's death it does.
const EXEC_WITHIN: Duration = Duration::from_millis(50);

/// Something that outlives the run's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A program, in a process group of its own.
    Process,
    /// A folder with all that is in it.
    Folder,
    /// A listening port; it goes with the process that holds it.
    Listener,
    /// A table of the packet filter, named by [`table::Table::id`].
    Table,
    /// A container.
    Container,
    /// A network of a container engine.
    Network,
    /// An image that was built for the run.
    Image,
}

impl Effect {
    /// Its name in the journal and in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Folder => "folder",
            Self::Listener => "listener",
            Self::Table => "table",
            Self::Container => "container",
            Self::Network => "network",
            Self::Image => "image",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [
            Self::Process,
            Self::Folder,
            Self::Listener,
            Self::Container,
            Self::Network,
            Self::Image,
            Self::Table,
        ]
        .into_iter()
        .find(|effect| effect.name() == name)
    }
}

/// The number of an intent in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry(u64);

/// What was undone, or was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// What kind of thing.
    pub what: &'static str,
    /// Which: a service and its pid, a path.
    pub id: String,
    /// Whether it is gone.
    pub ok: bool,
}

/// The journal of a live run. Dropped without [`Journal::close`], its file stays, and is what recovery goes by.
#[derive(Debug)]
pub struct Journal {
    mark: String,
    path: PathBuf,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    file: File,
    next: u64,
    open: Vec<u64>,
    /// A process was started; its children may have left its group.
    processes: bool,
}

/// Where journals are kept: `$XDG_STATE_HOME/meshbed`, by default `~/.local/state/meshbed`.
pub fn folder() -> PathBuf {
    let home = || {
        let home = std::env::var_os("HOME").map(PathBuf::from)?;
        home.is_absolute().then(|| home.join(".local/state"))
    };
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)
        .unwrap_or_else(std::env::temp_dir)
        .join("meshbed")
}

impl Journal {
    /// Opens the journal of a run. The file gets its name only when it is locked, so nobody takes it for a dead run's.
    pub fn open(folder: &Path, mark: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{mark}.jsonl"));
        let new = folder.join(format!("{mark}.new"));
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&new)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        line(&mut file, &json!({"run": mark, "boot": process::boot()}))?;
        fs::rename(&new, &path)?;
        Ok(Self {
            mark: mark.to_owned(),
            path,
            written: Mutex::new(Written {
                file,
                next: 0,
                open: Vec::new(),
                processes: false,
            }),
        })
    }

    /// The value of [`MARK`] in the environment of what the run starts.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Writes down what is about to be made. Nothing may be made when this fails.
    pub fn intend(&self, effect: Effect, id: &str) -> io::Result<Entry> {
        self.write_intent(effect, id, None)
    }

    /// Writes down what a container engine is about to make. Nothing may be made when this fails.
    pub fn intend_at(&self, effect: Effect, id: &str, engine: &str) -> io::Result<Entry> {
        self.write_intent(effect, id, Some(engine))
    }

    fn write_intent(&self, effect: Effect, id: &str, at: Option<&str>) -> io::Result<Entry> {
        let mut written = self.written();
        let entry = written.next;
        let mut intent = json!({"intend": entry, "effect": effect.name(), "id": id});
        if let (Some(intent), Some(at)) = (intent.as_object_mut(), at) {
            intent.insert("at".to_owned(), at.into());
        }
        line(&mut written.file, &intent)?;
        written.next += 1;
        written.processes |= effect == Effect::Process;
        written.open.push(entry);
        Ok(Entry(entry))
    }

    /// Writes down which process it has become.
    pub fn made(&self, entry: Entry, process: ProcessId) -> io::Result<()> {
        line(
            &mut self.written().file,
            &json!({"made": entry.0, "pid": process.pid, "start": process.start}),
        )
    }

    /// Writes down what the container engine calls it.
    pub fn made_as(&self, entry: Entry, id: &str) -> io::Result<()> {
        line(
            &mut self.written().file,
            &json!({"made": entry.0, "as": id}),
        )
    }

    /// Writes down that it is gone.
    pub fn undone(&self, entry: Entry) -> io::Result<()> {
        let mut written = self.written();
        written.open.retain(|open| *open != entry.0);
        line(&mut written.file, &json!({"undone": entry.0}))
    }

    /// Ends the journal: undoes what is still open and what its processes left behind, and removes the file if nothing is
    /// left.
    pub fn close(self) -> Vec<Undone> {
        let look = {
            let written = self.written();
            !written.open.is_empty() || written.processes
        };
        let undone = if look {
            undo_file(&self.path).unwrap_or_default()
        } else {
            Vec::new()
        };
        if undone.iter().all(|undone| undone.ok) {
            let _ = fs::remove_file(&self.path);
        }
        undone
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        // A panic of another thread between two writes leaves the file whole: lines are written at once.
        self.written
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Undoes what dead runs have left, and forgets them when nothing is left. Journals of live runs are not touched.
pub fn recover(folder: &Path) -> io::Result<Vec<Undone>> {
    let mut undone = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(undone),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("jsonl" | "new")) {
            continue;
        }
        let Ok(file) = File::open(&path) else {
            continue;
        };
        // A live run's lock; or another recovery that is at it, and has removed the file by the time we get the lock.
        if !locked(&file) || !path.exists() {
            continue;
        }
        let mut of_this = undo_file(&path)?;
        if of_this.iter().all(|undone| undone.ok) {
            fs::remove_file(&path)?;
        }
        undone.append(&mut of_this);
    }
    Ok(undone)
}

/// Takes the lock of a run's journal, if nobody has it. A child between `fork` and `exec` has its dead owner's still.
fn locked(file: &File) -> bool {
    let mut waited = Duration::ZERO;
    while flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if waited >= EXEC_WITHIN {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
        waited += LOOK_AGAIN;
    }
    true
}

/// What a journal says is still there.
#[derive(Debug, Default, PartialEq)]
struct Left {
    mark: Option<String>,
    boot: Option<String>,
    things: Vec<Thing>,
}

#[derive(Debug, PartialEq)]
struct Thing {
    number: u64,
    effect: Effect,
    id: String,
    process: Option<ProcessId>,
    /// The container engine that was to make it.
    engine: Option<String>,
    /// The engine has said that it is made.
    made: bool,
}

/// Reads a journal. A line that is not whole (the run was killed while writing it) ends it.
fn read(lines: impl Iterator<Item = String>) -> Left {
    let mut left = Left::default();
    for text in lines {
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            break;
        };
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(mark) = text("run") {
            left.mark = Some(mark);
            left.boot = text("boot");
        } else if let (Some(intent), Some(id)) = (number("intend"), text("id")) {
            if let Some(effect) = text("effect").and_then(|name| Effect::named(&name)) {
                left.things.push(Thing {
                    number: intent,
                    effect,
                    id,
                    process: None,
                    engine: text("at"),
                    made: false,
                });
            }
        } else if let Some(made) = number("made") {
            let process = match (number("pid").map(u32::try_from), number("start")) {
                (Some(Ok(pid)), Some(start)) => Some(ProcessId { pid, start }),
                _ => None,
            };
            for thing in left.things.iter_mut().filter(|thing| thing.number == made) {
                thing.process = process;
                thing.made = true;
            }
        } else if let Some(undone) = number("undone") {
            left.things.retain(|thing| thing.number != undone);
        }
    }
    left
}

fn undo_file(path: &Path) -> io::Result<Vec<Undone>> {
    let lines = BufReader::new(File::open(path)?).lines();
    let left = read(lines.map_while(Result::ok));
    let same_boot = left.boot == process::boot();
    let mut undone = Vec::new();
    if let Some(mark) = left.mark.as_deref().filter(|_| same_boot) {
        if left
            .things
            .iter()
            .any(|thing| thing.effect == Effect::Process && thing.process.is_none())
        {
            std::thread::sleep(EXEC_WITHIN);
        }
        undone.extend(undo_processes(mark, &left.things));
    }
    // Engines keep what they have across a start of the machine.
    if let Some(mark) = &left.mark {
        undone.extend(undo_engines(mark, &left.things));
    }
    for thing in &left.things {
        match thing.effect {
            Effect::Folder => undone.push(undo_folder(&thing.id)),
            // The machine's start ends all tables.
            Effect::Table if same_boot => undone.push(Undone {
                what: thing.effect.name(),
                id: thing.id.clone(),
                ok: table::undo(&thing.id),
            }),
            Effect::Table
            | Effect::Process
            | Effect::Listener
            | Effect::Container
            | Effect::Network
            | Effect::Image => {}
        }
    }
    Ok(undone)
}

/// Kills the journal's processes and whatever else bears its mark, until none is left.
fn undo_processes(mark: &str, things: &[Thing]) -> Vec<Undone> {
    let mut seen: Vec<(ProcessId, String)> = Vec::new();
    let mut waited = Duration::ZERO;
    loop {
        let named = things
            .iter()
            .filter_map(|thing| Some((thing.process?, thing.id.clone())));
        let marked = process::marked(MARK, mark)
            .into_iter()
            .map(|process| (process, process.command()));
        let alive: Vec<(ProcessId, String)> = named
            .chain(marked)
            .filter(|(process, _)| process.is_alive())
            .collect();
        for (process, what) in &alive {
            process.kill();
            if !seen.iter().any(|(known, _)| known == process) {
                seen.push((*process, what.clone()));
            }
        }
        if alive.is_empty() || waited >= GONE_WITHIN {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
        waited += LOOK_AGAIN;
    }
    seen.into_iter()
        .map(|(process, what)| Undone {
            what: Effect::Process.name(),
            id: format!("{what} (pid {})", process.pid),
            ok: !process.is_alive(),
        })
        .collect()
}

/// Has every container engine that was asked for something remove what bears the mark.
fn undo_engines(mark: &str, things: &[Thing]) -> Vec<Undone> {
    let mut engines: Vec<&str> = things
        .iter()
        .filter_map(|thing| thing.engine.as_deref())
        .collect();
    engines.sort_unstable();
    engines.dedup();
    let mut undone = Vec::new();
    for address in engines {
        let of_this = || {
            things
                .iter()
                .filter(move |thing| thing.engine.as_deref() == Some(address))
        };
        let sure = of_this().all(|thing| thing.made);
        match engine::remove(address, mark, sure) {
            Ok(removed) => undone.extend(removed),
            // Nobody can say whether they are there; the journal stays, and the next recovery asks again.
            Err(_) => undone.extend(of_this().map(|thing| Undone {
                what: thing.effect.name(),
                id: format!("{} ({address} does not answer)", thing.id),
                ok: false,
            })),
        }
    }
    undone
}

fn undo_folder(path: &str) -> Undone {
    let ok = match fs::remove_dir_all(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    Undone {
        what: Effect::Folder.name(),
        id: path.to_owned(),
        ok,
    }
}

/// One line in one write, so that a kill leaves whole lines but for at most the last.
fn line(file: &mut File, value: &Value) -> io::Result<()> {
    let mut text = value.to_string();
    text.push('\n');
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    fn sleeper(mark: &str) -> std::process::Child {
        Command::new("sleep")
            .arg("1000")
            .env(MARK, mark)
            .process_group(0)
            .spawn()
            .unwrap()
    }

    fn reaped(mut child: std::process::Child) -> bool {
        child.wait().unwrap();
        true
    }

    #[test]
    fn a_process_whose_pid_was_never_written_is_found_by_its_mark() {
        let folder = tempfile::tempdir().unwrap();
        let mark = "t-unwritten-0001";
        let journal = Journal::open(folder.path(), mark).unwrap();
        journal.intend(Effect::Process, "payments").unwrap();
        let child = sleeper(mark);
        let process = ProcessId::of(child.id()).unwrap();

        // The run dies: its lock goes with its file.
        drop(journal);
        let undone = recover(folder.path()).unwrap();

        assert_eq!(undone.len(), 1, "{undone:?}");
        assert!(undone[0].ok && undone[0].id.contains(&process.pid.to_string()));
        assert!(!process.is_alive());
        assert!(reaped(child));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_live_runs_journal_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let partial = folder.path().join(".x.partial");
        fs::create_dir(&partial).unwrap();
        let journals = folder.path().join("state");
        let journal = Journal::open(&journals, "t-live-0002").unwrap();
        journal
            .intend(Effect::Folder, &partial.to_string_lossy())
            .unwrap();

        assert_eq!(recover(&journals).unwrap(), Vec::new());
        assert!(partial.exists());

        drop(journal);
        let undone = recover(&journals).unwrap();
        assert!(undone.iter().all(|undone| undone.ok) && undone.len() == 1);
        assert!(!partial.exists());
        assert_eq!(recover(&journals).unwrap(), Vec::new());
    }

    #[test]
    fn a_reused_pid_is_not_killed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), "t-reused-0003").unwrap();
        let mut child = sleeper("another-run");
        let process = ProcessId::of(child.id()).unwrap();
        let entry = journal.intend(Effect::Process, "payments").unwrap();
        let earlier = ProcessId {
            start: process.start - 1,
            ..process
        };
        journal.made(entry, earlier).unwrap();

        drop(journal);
        assert_eq!(recover(folder.path()).unwrap(), Vec::new());
        assert!(process.is_alive());
        child.kill().unwrap();
        assert!(reaped(child));
    }

    #[test]
    fn a_run_that_closes_its_journal_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), "t-closed-0004").unwrap();
        let entry = journal.intend(Effect::Process, "cart").unwrap();
        journal.undone(entry).unwrap();
        assert_eq!(journal.close(), Vec::new());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_line_cut_by_the_kill_ends_the_journal() {
        let text = [
            r#"{"run":"m","boot":"b"}"#,
            r#"{"intend":0,"effect":"process","id":"a"}"#,
            r#"{"made":0,"pid":7,"start":9}"#,
            r#"{"intend":1,"effect":"folder","id":"/x"}"#,
            r#"{"undone":1}"#,
            r#"{"intend":2,"eff"#,
        ];
        let left = read(text.iter().map(|line| (*line).to_owned()));
        assert_eq!(left.mark.as_deref(), Some("m"));
        assert_eq!(
            left.things,
            [Thing {
                number: 0,
                effect: Effect::Process,
                id: "a".to_owned(),
                process: Some(ProcessId { pid: 7, start: 9 }),
                engine: None,
                made: true,
            }]
        );
    }
}
