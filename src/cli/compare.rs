//! `meshbed compare`: two or more runs, side by side, with a verdict.

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    complain,
    exit::{self, Exit},
    print,
};
use crate::report::{
    self, Report,
    compare::{self, Comparison, Verdict},
};

/// Compare two or more reports: percentiles side by side, overlaid histograms, and a verdict
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folders of the reports; each is compared with the first
    #[arg(required = true, num_args = 2.., value_name = "REPORT")]
    reports: Vec<PathBuf>,
    /// Print one JSON object a comparison on standard output
    #[arg(long)]
    json: bool,
    /// Write a page that needs no network; with more than two reports FILE-2, FILE-3, … too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a `JUnit` file; with more than two reports FILE-2, FILE-3, … too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Compare runs that are not alike all the same
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut reports = Vec::new();
    for dir in &args.reports {
        match report::read(dir) {
            Ok(report) => reports.push(report),
            Err(error) => {
                complain(&error);
                return exit::USAGE.into();
            }
        }
    }
    let Some((first, others)) = reports.split_first() else {
        return exit::USAGE.into();
    };
    let mut codes = Vec::new();
    for (index, other) in others.iter().enumerate() {
        let comparison = compare::compare(first, other, args.force);
        if let Err(code) = show(args, index, &comparison, first, other) {
            return code;
        }
        codes.push(code(&comparison));
    }
    Exit::worst(codes).into()
}

/// What a comparison counts as; what is forced proves nothing, and fails nothing.
fn code(comparison: &Comparison) -> Exit {
    match comparison.verdict {
        Verdict::Unlike => exit::USAGE,
        Verdict::Suspect | Verdict::NoSuspectedRegression => exit::PASS,
        Verdict::Invalid | Verdict::Inconclusive => exit::INCONCLUSIVE,
    }
}

fn show(
    args: &Args,
    index: usize,
    comparison: &Comparison,
    a: &Report,
    b: &Report,
) -> Result<(), ExitCode> {
    if comparison.verdict == Verdict::Unlike {
        for reason in &comparison.unlike {
            eprintln!("error: the runs are not alike, {reason}");
        }
        eprintln!("hint: --force compares them all the same");
    }
    let text = if args.json {
        format!("{}\n", compare::json::write(comparison, a, b))
    } else {
        compare::text::write(comparison, a, b, columns())
    };
    if print(text.as_bytes()) != ExitCode::SUCCESS {
        return Err(exit::ENVIRONMENT.into());
    }
    if let Some(path) = &args.html {
        write(
            &numbered(path, index),
            &compare::html::write(comparison, a, b),
        )?;
    }
    if let Some(path) = &args.junit {
        write(&numbered(path, index), &compare::junit::write(comparison))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), ExitCode> {
    fs::write(path, text).map_err(|source| {
        complain(&report::Error::Unwritable {
            path: path.to_owned(),
            source,
        });
        exit::ENVIRONMENT.into()
    })
}

/// `out.html`, then `out-2.html`.
fn numbered(path: &Path, index: usize) -> PathBuf {
    if index == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{}.{}", index + 1, extension.to_string_lossy()),
        None => format!("{stem}-{}", index + 1),
    };
    path.with_file_name(name)
}

/// Columns where there is no terminal.
const WIDE: usize = 120;

/// Width of the terminal; where there is none, that of a wide one.
fn columns() -> usize {
    if !std::io::stdout().is_terminal() {
        return WIDE;
    }
    ratatui::crossterm::terminal::size().map_or(WIDE, |(columns, _)| usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comparison_has_a_file_of_its_own() {
        let rows = [
            ("a/out.html", 0, "a/out.html"),
            ("a/out.html", 1, "a/out-2.html"),
            ("out", 2, "out-3"),
        ];
        for (path, index, expected) in rows {
            assert_eq!(numbered(Path::new(path), index), Path::new(expected));
        }
    }
}
