//! The forms in which a bundle can be read: a table, a file each. All are made from the bundle alone, so no two can
//! disagree, and making them again gives the same bytes.

pub mod csv;
pub mod hlog;
pub mod html;
pub mod junit;
pub mod markdown;
mod name;
pub mod text;

pub use name::name;

use crate::report::Report;

/// A readable form of a bundle.
pub struct Format {
    /// Its name in `report.formats`.
    pub name: &'static str,
    /// The file it is written to.
    pub file: &'static str,
    /// Makes it.
    pub write: fn(&Report) -> String,
}

/// All of them.
pub const FORMATS: [Format; 4] = [
    Format {
        name: "md",
        file: "summary.md",
        write: markdown::write,
    },
    Format {
        name: "junit",
        file: "junit.xml",
        write: junit::write,
    },
    Format {
        name: "html",
        file: "report.html",
        write: html::write,
    },
    Format {
        name: "csv",
        file: "metrics.csv",
        write: csv::write,
    },
];
