//! A host, or another server, as a process of its own: started, looked at from outside, killed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Set for a program of the benchmark that is to be a host: it then does what `mantle` does.
pub const AS_HOST: &str = "MANTLE_BENCH_AS_HOST";
/// Longer than any honest start or end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Lines kept of what it said, to show when it does not do what it should.
const TAIL_LINES: usize = 30;

/// What is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub variables: Vec<(&'static str, String)>,
    pub folder: PathBuf,
}

/// A running process. Killed when dropped.
pub struct Process {
    child: Child,
    id: u32,
    tail: Tail,
}

#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Process {
    /// Starts it and waits for the line in which `find` finds something.
    ///
    /// # Errors
    /// There is no such program, or it ends or stays silent; what it said is in the text.
    pub async fn start<T: Clone + Send + Sync + 'static>(
        command: &Launch,
        find: fn(&str) -> Option<T>,
    ) -> Result<(Self, T)> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .current_dir(&command.folder)
            // A service has none: with it every error's backtrace is taken, in time and in memory.
            .env_remove("RUST_BACKTRACE")
            .envs(command.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", command.program.display()))?;
        let tail = Tail::default();
        let (found, mut seen) = watch::channel(None);
        let found = Arc::new(found);
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let of = |found| Search { find, found };
        tokio::spawn(of(Arc::clone(&found)).read(stdout, tail.clone()));
        // None is kept here: when both have read to the end, nobody will find it.
        tokio::spawn(of(found).read(stderr, tail.clone()));
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(Option::is_some)).await;
        let what = waited
            .ok()
            .and_then(std::result::Result::ok)
            .and_then(|found| found.clone());
        let Some(what) = what else {
            bail!("{} did not start:\n{}", command.program.display(), tail.text());
        };
        let id = child.id().context("it ended at once")?;
        Ok((Self { child, id, tail }, what))
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Ends it as the machine would: at once, with nothing tidied up.
    ///
    /// # Errors
    /// It had ended before.
    pub async fn kill(mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "it had ended ({ended:?}):\n{}", self.tail.text());
        self.child.kill().await?;
        Ok(())
    }

    /// As a service manager stops it: with time to end well.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub async fn stop(mut self) -> Result<()> {
        Command::new("kill")
            .args(["-TERM", &self.id.to_string()])
            .status()
            .await?;
        let status: ExitStatus = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .with_context(|| format!("it does not end:\n{}", self.tail.text()))??;
        ensure!(status.success(), "it ended with {status}:\n{}", self.tail.text());
        Ok(())
    }
}

/// What is looked for in the lines, and who waits for it.
struct Search<T> {
    find: fn(&str) -> Option<T>,
    found: Arc<watch::Sender<Option<T>>>,
}

impl<T> Search<T> {
    /// Reads to the end, so that the process never waits for a reader.
    async fn read(self, from: impl AsyncRead + Unpin, tail: Tail) {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let is_open = self.found.borrow().is_none();
            if is_open && let Some(what) = (self.find)(&line) {
                self.found.send_replace(Some(what));
            }
            tail.push(line);
        }
    }
}

/// The program of this name in the folders of `PATH`.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| is_file(path))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file())
}
