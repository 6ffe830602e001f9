//! A build folder as the tar that an engine wants: without what its `.dockerignore` names. The engine does not read that
//! file; whoever packs does.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek, Write},
    path::Path,
};

use regex::Regex;

/// Folders within folders.
const MAX_DEPTH: usize = 64;

/// Packs a folder into a file without a name. Owners are left out, as Docker's own client does.
pub(super) fn pack(folder: &Path, dockerfile: &str) -> io::Result<File> {
    let rules = match fs::read_to_string(folder.join(".dockerignore")) {
        Ok(text) => Rules::parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Rules::default(),
        Err(error) => return Err(error),
    };
    let mut packer = Packer {
        tar: tar::Builder::new(BufWriter::new(tempfile::tempfile()?)),
        rules,
        dockerfile,
    };
    packer.folder(folder, "", MAX_DEPTH)?;
    let mut written = packer.tar.into_inner()?;
    written.flush()?;
    let mut file = written
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

struct Packer<'a> {
    tar: tar::Builder<BufWriter<File>>,
    rules: Rules,
    dockerfile: &'a str,
}

impl Packer<'_> {
    fn folder(&mut self, folder: &Path, name: &str, depth: usize) -> io::Result<()> {
        if depth == 0 {
            return Err(io::Error::other(format!(
                "{} is more than {MAX_DEPTH} folders deep",
                folder.display()
            )));
        }
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        // The same folder gives the same tar, whatever order the file system has.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let own = entry.file_name();
            let Some(own) = own.to_str() else {
                return Err(io::Error::other(format!("{} is not UTF-8", path.display())));
            };
            let name = if name.is_empty() {
                own.to_owned()
            } else {
                format!("{name}/{own}")
            };
            let kind = entry.file_type()?;
            let ignored = name != self.dockerfile && self.rules.ignore(&name);
            if kind.is_dir() {
                // A later rule may want something in a folder back.
                if !ignored || self.rules.has_exceptions {
                    if !ignored {
                        self.entry(&path, &name)?;
                    }
                    self.folder(&path, &name, depth - 1)?;
                }
            } else if !ignored && (kind.is_file() || kind.is_symlink()) {
                self.entry(&path, &name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &str) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&found);
        header.set_uid(0);
        header.set_gid(0);
        if found.is_symlink() {
            self.tar
                .append_link(&mut header, name, fs::read_link(path)?)
        } else if found.is_dir() {
            header.set_size(0);
            self.tar.append_data(&mut header, name, io::empty())
        } else {
            let file = File::open(path)?;
            // What grows meanwhile must not be longer than its header says.
            self.tar
                .append_data(&mut header, name, io::Read::take(file, found.len()))
        }
    }
}

/// What a `.dockerignore` says: the last rule that matches a name, or a folder that it is in, decides.
#[derive(Debug, Default)]
struct Rules {
    /// A pattern, and whether it takes out (or, with `!`, back in).
    rules: Vec<(Regex, bool)>,
    has_exceptions: bool,
}

impl Rules {
    fn parse(text: &str) -> Self {
        let mut rules = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (line, out) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), false),
                None => (line, true),
            };
            let line = line.trim_start_matches("./").trim_matches('/');
            // What no pattern can be matches nothing, as in Docker.
            if let Ok(pattern) = Regex::new(&pattern(line)) {
                rules.push((pattern, out));
            }
        }
        Self {
            has_exceptions: rules.iter().any(|(_, out)| !out),
            rules,
        }
    }

    fn ignore(&self, name: &str) -> bool {
        self.rules
            .iter()
            .rev()
            .find(|(pattern, _)| pattern.is_match(name))
            .is_some_and(|(_, out)| *out)
    }
}

/// Docker's patterns: `*` and `?` within a name, `**` across folders, `[a-z]`; a folder means all that is in it.
fn pattern(line: &str) -> String {
    let mut regex = String::from("^");
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.peek() == Some(&'*') => {
                rest.next();
                if rest.peek() == Some(&'/') {
                    rest.next();
                    regex.push_str("(.*/)?");
                } else {
                    regex.push_str(".*");
                }
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' | ']' | '^' => regex.push(c),
            '\\' => {
                if let Some(next) = rest.next() {
                    regex.push_str(&regex::escape(&next.to_string()));
                }
            }
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push_str("(/.*)?$");
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let packed = pack(folder, "Dockerfile").unwrap();
        tar::Archive::new(packed)
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn what_is_ignored_is_left_out_and_the_dockerfile_never_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        };
        for name in [
            "Dockerfile",
            "src/main.rs",
            "src/deep/old.log",
            "target/big",
            "target/keep",
            "notes.md",
        ] {
            write(name);
        }
        std::os::unix::fs::symlink("src/main.rs", folder.path().join("link")).unwrap();
        fs::write(
            folder.path().join(".dockerignore"),
            "# what is made\n/target\n!target/keep\n**/*.log\n*.md\nDockerfile\n",
        )
        .unwrap();
        assert_eq!(
            names(folder.path()),
            [
                ".dockerignore",
                "Dockerfile",
                "link",
                "src",
                "src/deep",
                "src/main.rs",
                "target/keep"
            ]
        );
    }

    #[test]
    fn patterns_are_dockers() {
        let rules = Rules::parse("a*/b?\n**/c\nd/**\n[xy].z\n");
        for (name, ignored) in [
            ("abc/b1", true),
            ("abc/b1/in/it", true),
            ("abc/x/b1", false),
            ("c", true),
            ("1/2/c", true),
            ("d/1/2", true),
            ("d", false),
            ("x.z", true),
            ("a.z", false),
        ] {
            assert_eq!(rules.ignore(name), ignored, "{name}");
        }
    }
}
