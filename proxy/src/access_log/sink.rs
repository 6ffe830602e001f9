//! Where lines go: each event loop appends to a buffer of its own, a thread writes them every second, or when one has
//! grown long. A file is opened for appending, and what is written to it is whole lines.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    config::access_log::Target,
    metrics::report::{Extra, Kind},
};

/// How long a line may wait in memory; Envoy's.
const WAIT: Duration = Duration::from_secs(1);
/// How long a buffer may grow before it is written at once; Envoy's.
const LONG: usize = 64 << 10;
/// How long a buffer may grow before lines are dropped: the disk has been stuck for long then.
const MOST: usize = 16 << 20;
/// Buffers a sink; event loops beyond that share them.
const STRIPES: usize = 32;

/// All sinks of a proxy, each open once.
#[derive(Debug, Default)]
pub struct Sinks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: Mutex<BTreeMap<Target, Arc<Sink>>>,
    counts: Arc<Counts>,
    alarm: Arc<Alarm>,
}

/// What happened to lines.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lines appended.
    pub buffered: AtomicU64,
    /// Buffers written.
    pub completed: AtomicU64,
    /// Buffers that could not be written.
    pub failed: AtomicU64,
    /// Lines dropped since the disk was stuck.
    pub dropped: AtomicU64,
    /// Files that could not be opened again.
    pub reopen_failed: AtomicU64,
}

impl Counts {
    /// By Envoy's names.
    pub fn stats(&self) -> Vec<Extra> {
        let counter = |name: &str, count: &AtomicU64| Extra {
            name: format!("filesystem.{name}"),
            kind: Kind::Counter,
            value: count.load(Ordering::Relaxed),
        };
        vec![
            counter("write_buffered", &self.buffered),
            counter("write_completed", &self.completed),
            counter("write_failed", &self.failed),
            counter("write_dropped", &self.dropped),
            counter("reopen_failed", &self.reopen_failed),
        ]
    }
}

/// Wakes the writer.
#[derive(Debug, Default)]
struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum State {
    #[default]
    Waiting,
    /// A buffer has grown long.
    Due,
    Ended,
}

/// Where the lines of some access logs go.
#[derive(Debug)]
pub struct Sink {
    target: Target,
    file: Mutex<Option<File>>,
    stripes: [Mutex<Vec<u8>>; STRIPES],
    counts: Arc<Counts>,
    alarm: Arc<Alarm>,
}

impl Sinks {
    /// The sink for a target; its file is opened, or made, if it is not open yet.
    pub fn open(&self, target: &Target) -> Result<Arc<Sink>, String> {
        let mut open = lock(&self.0.open);
        if let Some(sink) = open.get(target) {
            return Ok(Arc::clone(sink));
        }
        let file = match target {
            Target::File(path) => Some(
                append_to(path)
                    .map_err(|error| format!("`{}` cannot be opened: {error}", path.display()))?,
            ),
            Target::Stdout | Target::Stderr => None,
        };
        if open.is_empty() {
            write_now_and_then(Arc::downgrade(&self.0), Arc::clone(&self.0.alarm))
                .map_err(|error| format!("its thread cannot be started: {error}"))?;
        }
        let sink = Arc::new(Sink {
            target: target.clone(),
            file: Mutex::new(file),
            stripes: std::array::from_fn(|_| Mutex::default()),
            counts: Arc::clone(&self.0.counts),
            alarm: Arc::clone(&self.0.alarm),
        });
        open.insert(target.clone(), Arc::clone(&sink));
        Ok(sink)
    }

    /// Writes everything that waits.
    pub fn flush(&self) {
        self.0.flush();
    }

    /// Opens the files again, after they have been moved away.
    pub fn reopen(&self) {
        let sinks: Vec<_> = lock(&self.0.open).values().cloned().collect();
        for sink in sinks {
            sink.flush();
            if let Target::File(path) = &sink.target {
                match append_to(path) {
                    Ok(file) => *lock(&sink.file) = Some(file),
                    Err(_) => more(&self.0.counts.reopen_failed),
                }
            }
        }
    }

    /// What happened to lines.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }
}

impl Inner {
    fn flush(&self) {
        let sinks: Vec<_> = lock(&self.open).values().cloned().collect();
        for sink in sinks {
            sink.flush();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.flush();
        *lock(&self.alarm.state) = State::Ended;
        self.alarm.changed.notify_all();
    }
}

impl Sink {
    /// Appends what `line` appends.
    pub fn append(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let Some(stripe) = self.stripes.get(stripe()) else {
            return;
        };
        let mut buffer = lock(stripe);
        if buffer.len() >= MOST {
            more(&self.counts.dropped);
            return;
        }
        let before = buffer.len();
        line(&mut buffer);
        more(&self.counts.buffered);
        if before < LONG && buffer.len() >= LONG {
            drop(buffer);
            *lock(&self.alarm.state) = State::Due;
            self.alarm.changed.notify_one();
        }
    }

    /// Writes everything that waits. The file's lock is held meanwhile, so that lines of one event loop keep their order.
    fn flush(&self) {
        let mut file = lock(&self.file);
        for stripe in &self.stripes {
            let lines = std::mem::take(&mut *lock(stripe));
            if lines.is_empty() {
                continue;
            }
            let written = match (&self.target, &mut *file) {
                (Target::File(_), Some(file)) => file.write_all(&lines),
                (Target::File(_), None) => Ok(()),
                (Target::Stdout, _) => io::stdout().lock().write_all(&lines),
                (Target::Stderr, _) => io::stderr().lock().write_all(&lines),
            };
            more(match written {
                Ok(()) => &self.counts.completed,
                Err(_) => &self.counts.failed,
            });
        }
        if self.target == Target::Stdout {
            let _ = io::stdout().lock().flush();
        }
    }
}

/// The thread that writes; it ends with the sinks.
fn write_now_and_then(inner: Weak<Inner>, alarm: Arc<Alarm>) -> io::Result<()> {
    thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || {
            loop {
                let state = lock(&alarm.state);
                let (mut state, _) = alarm
                    .changed
                    .wait_timeout_while(state, WAIT, |state| *state == State::Waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                if *state == State::Ended {
                    return;
                }
                *state = State::Waiting;
                drop(state);
                let Some(inner) = inner.upgrade() else {
                    return;
                };
                inner.flush();
            }
        })
        .map(drop)
}

/// The calling thread's buffer.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    MINE.with(|mine| *mine)
}

fn more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_of_all_threads_are_written_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sinks = Sinks::default();
        let sink = sinks.open(&Target::File(path.clone())).unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    for line in 0..5_000 {
                        sink.append(|out| writeln!(out, "{thread} {line:020}").unwrap());
                    }
                });
            }
        });
        sinks.flush();
        let text = fs::read_to_string(path).unwrap();
        let mut next = [0; 4];
        for line in text.lines() {
            let (thread, number) = line.split_once(' ').unwrap();
            assert_eq!(number.len(), 20);
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<usize>().unwrap(), *next);
            *next += 1;
        }
        assert_eq!(next, [5_000; 4]);
    }

    #[test]
    fn a_moved_file_is_left_when_it_is_reopened() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("old"));
        let sinks = Sinks::default();
        let sink = sinks.open(&Target::File(path.clone())).unwrap();
        sink.append(|out| out.extend_from_slice(b"one\n"));
        fs::rename(&path, &moved).unwrap();
        sinks.reopen();
        sink.append(|out| out.extend_from_slice(b"two\n"));
        sinks.flush();
        assert_eq!(fs::read_to_string(moved).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(path).unwrap(), "two\n");
        assert_eq!(sinks.counts().buffered.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_file_that_cannot_be_is_told() {
        let sinks = Sinks::default();
        let error = sinks
            .open(&Target::File("/nonexistent/folder/log".into()))
            .unwrap_err();
        assert_eq!(
            error,
            "`/nonexistent/folder/log` cannot be opened: No such file or directory (os error 2)"
        );
    }
}
