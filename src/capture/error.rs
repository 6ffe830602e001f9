//! Why a capture could not be read.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a capture could not be read. Each names the file and, where there is one, the offset in it (after decompression).
#[derive(Debug)]
pub enum Error {
    /// The file could not be opened.
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be read, or its gzip stream is broken.
    Read {
        /// The file.
        path: PathBuf,
        /// How far it was read.
        offset: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// The file has no bytes.
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is of no format that we know.
    Unknown {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        begins: Vec<u8>,
    },
    /// The file ends inside something.
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the thing that is cut begins.
        offset: u64,
        /// The thing.
        what: &'static str,
        /// How many bytes it has.
        wanted: u64,
        /// How many of them are there.
        found: u64,
    },
    /// The file says something that cannot be.
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What, and what is accepted.
        what: String,
    },
    /// The temporary file for sorting failed.
    Sort {
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => write!(f, "cannot open the capture `{}`", path.display()),
            Self::Read { path, offset, .. } => {
                write!(f, "cannot read `{}` after offset {offset}", path.display())
            }
            Self::Empty { path } => {
                write!(
                    f,
                    "`{}` is empty, a capture has at least a header (accepted: {})",
                    path.display(),
                    accepted()
                )
            }
            Self::Unknown { path, begins } => {
                write!(f, "`{}` is no capture: it begins with", path.display())?;
                for byte in begins {
                    write!(f, " {byte:02x}")?;
                }
                write!(f, " (accepted: {})", accepted())
            }
            Self::Truncated {
                path,
                offset,
                what,
                wanted,
                found,
            } => write!(
                f,
                "`{}` is cut short: the {what} at offset {offset} needs {wanted} bytes, {found} are there",
                path.display()
            ),
            Self::Malformed { path, offset, what } => {
                write!(
                    f,
                    "`{}` is damaged at offset {offset}: {what}",
                    path.display()
                )
            }
            Self::Sort { .. } => write!(
                f,
                "cannot use a temporary file to sort exchanges (TMPDIR says where it is made)"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Sort { source } => {
                Some(source)
            }
            _ => None,
        }
    }
}

/// The formats that are read, for people.
fn accepted() -> String {
    let names: Vec<&str> = super::format::FORMATS.iter().map(|f| f.name).collect();
    format!("{}, each also gzipped", names.join(", "))
}
