//! What a process holds of the machine, from `/proc`: memory by what it is, files, threads.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// At one moment. Memory in KiB, as the kernel counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Footprint {
    /// `VmRSS`: everything that is in memory, shared or not.
    pub rss_kib: u64,
    /// `RssAnon`: what is the process's own: heap, stacks, guest memories.
    pub anon_kib: u64,
    /// `RssFile`: what the kernel could take from disk again: the program, libraries, compiled connectors.
    pub file_kib: u64,
    /// `RssShmem`: SQLite's index of its log, and the like.
    pub shared_kib: u64,
    pub open_files: usize,
    pub threads: u64,
}

impl Footprint {
    /// # Errors
    /// The process has ended, or there is no `/proc`.
    pub fn of(id: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).context("reading the host's status")?;
        let number = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok(word
                .with_context(|| format!("no {name} in the host's status"))?
                .parse()?)
        };
        Ok(Self {
            rss_kib: number("VmRSS:")?,
            anon_kib: number("RssAnon:")?,
            file_kib: number("RssFile:")?,
            shared_kib: number("RssShmem:")?,
            open_files: std::fs::read_dir(format!("/proc/{id}/fd"))?.count(),
            threads: number("Threads:")?,
        })
    }
}

/// Resident memory by what is mapped there, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Makeup {
    /// The program itself: code and constants that were touched, and its own data.
    pub program_kib: u64,
    pub libraries_kib: u64,
    /// Compiled connectors, mapped from the disk.
    pub connectors_kib: u64,
    /// Other files: SQLite's log index.
    pub files_kib: u64,
    /// `[heap]`, where small allocations of the main arena live.
    pub heap_kib: u64,
    /// Mappings without a file: other arenas, large allocations, stacks of threads, the pool of guest memories.
    pub anonymous_kib: u64,
    pub stack_kib: u64,
}

impl Makeup {
    /// # Errors
    /// The process has ended, or its maps may not be read.
    pub fn of(id: u32) -> Result<Self> {
        let program = std::fs::read_link(format!("/proc/{id}/exe")).context("reading the host's program")?;
        let text = std::fs::read_to_string(format!("/proc/{id}/smaps")).context("reading the host's maps")?;
        Ok(Self::read(&text, &program))
    }

    fn read(text: &str, program: &Path) -> Self {
        let mut found = Self::default();
        let mut name = "";
        for line in text.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if !first.ends_with(':') {
                name = line.split_whitespace().nth(5).unwrap_or_default();
            } else if first == "Rss:" {
                let kib = line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
                *found.place(name, program) += kib.unwrap_or(0_u64);
            }
        }
        found
    }

    fn place(&mut self, name: &str, program: &Path) -> &mut u64 {
        match name {
            "" => &mut self.anonymous_kib,
            "[heap]" => &mut self.heap_kib,
            "[stack]" => &mut self.stack_kib,
            path if Path::new(path) == program => &mut self.program_kib,
            path if path.contains(".so") => &mut self.libraries_kib,
            path if path.contains("compiled") => &mut self.connectors_kib,
            path if path.starts_with('/') => &mut self.files_kib,
            _ => &mut self.anonymous_kib,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_told_apart_by_their_names() {
        let text = "\
55d0-55d1 r-xp 00000000 fe:00 1 /opt/mantle
Size:                  8 kB
Rss:                   7 kB
55d2-55d3 rw-p 00000000 00:00 0 [heap]
Rss:                   5 kB
7f00-7f01 rw-p 00000000 00:00 0
Rss:                   3 kB
7f02-7f03 r-xp 00000000 fe:00 2 /lib/libc.so.6
Rss:                   2 kB
7f04-7f05 r-xp 00000000 fe:00 3 /data/compiled/abc
Rss:                   1 kB
";
        let found = Makeup::read(text, Path::new("/opt/mantle"));
        let expected = Makeup {
            program_kib: 7,
            heap_kib: 5,
            anonymous_kib: 3,
            libraries_kib: 2,
            connectors_kib: 1,
            ..Makeup::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_own_process_has_a_footprint() -> Result<()> {
        let found = Footprint::of(std::process::id())?;
        assert!(
            found.rss_kib > 0 && found.threads > 0 && found.open_files > 0,
            "{found:?}"
        );
        assert!(Makeup::of(std::process::id())?.program_kib > 0);
        Ok(())
    }
}
