//! Lines of which at most so many are kept, each with the same chance, however many come: those with the least hashes. The
//! file holds up to as many dead lines as live ones, and is then written anew.

use std::{
    collections::{BinaryHeap, HashSet},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::PathBuf,
};

/// Lines, on the disk.
#[derive(Debug)]
pub(super) struct Reservoir {
    path: PathBuf,
    file: BufWriter<File>,
    /// `None`: all are kept.
    most: Option<usize>,
    /// Rank and number of every line that is kept, the one to go first on top.
    kept: BinaryHeap<(u64, u32)>,
    /// Lines in the file.
    lines: u32,
    /// Lines that came.
    of: u64,
}

impl Reservoir {
    /// An empty file.
    pub(super) fn create(path: PathBuf, most: Option<u64>) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::new(File::create(&path)?),
            path,
            most: most.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            kept: BinaryHeap::new(),
            lines: 0,
            of: 0,
        })
    }

    /// A line without its end; `rank` is a hash of it, and 0 keeps it whatever comes.
    pub(super) fn add(&mut self, line: &[u8], rank: u64) -> io::Result<()> {
        self.of += 1;
        let Some(most) = self.most else {
            self.file.write_all(line)?;
            return self.file.write_all(b"\n");
        };
        if self.kept.len() >= most {
            if self.kept.peek().is_none_or(|(worst, _)| *worst <= rank) {
                return Ok(());
            }
            self.kept.pop();
        }
        self.kept.push((rank, self.lines));
        self.lines += 1;
        self.file.write_all(line)?;
        self.file.write_all(b"\n")?;
        if self.lines as usize >= most.saturating_mul(2) {
            self.compact()?;
        }
        Ok(())
    }

    /// All is on the disk; gives how many lines there are, of how many.
    pub(super) fn finish(mut self) -> io::Result<(u64, u64)> {
        if self.most.is_none() {
            self.file.flush()?;
            return Ok((self.of, self.of));
        }
        if self.kept.len() < self.lines as usize {
            self.compact()?;
        }
        self.file.flush()?;
        Ok((self.kept.len() as u64, self.of))
    }

    /// Writes the file anew without the lines that are dead.
    fn compact(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let live: HashSet<u32> = self.kept.iter().map(|(_, line)| *line).collect();
        let mut moved = std::collections::HashMap::with_capacity(live.len());
        let beside = self.path.with_extension("partial");
        let mut file = BufWriter::new(File::create(&beside)?);
        for (number, line) in (0..).zip(BufReader::new(File::open(&self.path)?).split(b'\n')) {
            let line = line?;
            if live.contains(&number) {
                moved.insert(number, moved.len() as u32);
                file.write_all(&line)?;
                file.write_all(b"\n")?;
            }
        }
        file.flush()?;
        fs::rename(&beside, &self.path)?;
        self.file = file;
        self.lines = moved.len() as u32;
        self.kept = std::mem::take(&mut self.kept)
            .into_iter()
            .filter_map(|(rank, line)| Some((rank, *moved.get(&line)?)))
            .collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use meshbed_proxy::draw::Seed;

    use super::*;

    fn played(most: Option<u64>, lines: u64) -> (Vec<u64>, (u64, u64)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut reservoir = Reservoir::create(path.clone(), most).unwrap();
        let draw = Seed(5).rule("events.jsonl");
        for number in 0..lines {
            let rank = if number == 3 {
                0
            } else {
                draw.unit_of(&number.to_le_bytes()).to_bits()
            };
            reservoir.add(format!("{number}").as_bytes(), rank).unwrap();
        }
        let counts = reservoir.finish().unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        (
            text.lines().map(|line| line.parse().unwrap()).collect(),
            counts,
        )
    }

    #[test]
    fn fewer_lines_than_may_be_kept_are_all_kept() {
        for most in [None, Some(10)] {
            assert_eq!(played(most, 10), ((0..10).collect(), (10, 10)));
        }
    }

    #[test]
    fn of_more_each_has_the_same_chance_and_they_stay_in_order() {
        let (kept, counts) = played(Some(1_000), 20_000);
        assert_eq!(counts, (1_000, 20_000));
        assert_eq!(kept.len(), 1_000);
        assert!(kept.is_sorted() && kept.contains(&3));
        for quarter in 0..4 {
            let within = quarter * 5_000..(quarter + 1) * 5_000;
            let count = kept
                .iter()
                .filter(|number| within.contains(*number))
                .count();
            // 3 sigma of 1,000 draws of a quarter: 41.
            assert!((209..=291).contains(&count), "{quarter}: {count}");
        }
    }
}
