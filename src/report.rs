//! The report bundle: a run, serialised.
//!
//! The shape that others may count on:
//!
//! ```text
//! Writer::create(&Scenario, Options { dir: Option<PathBuf> }) -> io::Result<Writer>      .NAME.partial is made
//! Writer::event(&self, &RunEvent)                                 never blocks: another thread joins and writes
//! Writer::finish(self, &Measured, &Facts) -> Result<PathBuf>      all files whole, folder renamed; gives its name
//! Facts { state, exit, deterministic, trace, schedule, build, host, generator, faults_on: Vec<(Id, undone)>,
//!         checks: Vec<Scored>, score: Score, quality: Quality, steady }
//! read(&Path) -> Result<Report>                                   Report { dir, run: Run }, .intervals(), .events(), .diffs()
//! format::text::scorecard(&Report, width) -> String
//! ```
