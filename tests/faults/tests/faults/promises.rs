//! What must hold after every fault, whatever it was.
//!
//! I1 what was acknowledged is stored · I2 it was applied at the target exactly once · I3 in the order of its lane ·
//! I4 nothing is left over · I5 no secret in anything the host says · I6 memory, files and threads are back at their
//! base · I7 the host answers.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use mantle_world::intercom;

use crate::customers::Saying;
use crate::stage::{ADMIN_TOKEN, BOT_TOKEN, Stage};

/// Connections that are kept for the next call, and SQLite's own.
const FILES_MORE_MAX: usize = 96;
/// Tokio's threads for files and names come with the load and stay for ten seconds.
const THREADS_MORE_MAX: usize = 32;
/// Caches, pools and the allocator's own, of a debug build.
const RESIDENT_MORE_MAX_KIB: usize = 96 * 1024;

/// What a process holds of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Footprint {
    pub files: usize,
    pub threads: usize,
    pub resident_kib: usize,
}

impl Footprint {
    pub fn of(process: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let number = |name: &str| -> Result<usize> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok(word.with_context(|| format!("no {name} in the status"))?.parse()?)
        };
        Ok(Self {
            files: std::fs::read_dir(format!("/proc/{process}/fd"))?.count(),
            threads: number("Threads:")?,
            resident_kib: number("VmRSS:")?,
        })
    }
}

impl Stage {
    /// The payloads of all events: of the file while the host is dead, or of the database that hosts share.
    pub async fn stored(&self) -> Result<String> {
        match &self.database {
            None => Ok(self.on_disk().await?.payloads().await?),
            Some(database) => Ok(database.texts("select payload from event").await?),
        }
    }

    /// I1.
    pub async fn assert_stored(&self) -> Result<()> {
        let stored = self.stored().await?;
        let missing: Vec<_> = self
            .said()
            .into_iter()
            .filter(|saying| saying.acked && !stored.contains(&saying.text))
            .map(|saying| short(&saying.text))
            .collect();
        ensure!(missing.is_empty(), "I1: acknowledged and not stored: {missing:#?}");
        Ok(())
    }

    /// All of them, once everybody has written what they had to say.
    pub async fn assert_promises(&mut self) -> Result<()> {
        self.quiet().await?;
        let said = self.said();
        let unheard: Vec<_> = said
            .iter()
            .filter(|saying| !saying.acked)
            .map(|saying| short(&saying.text))
            .collect();
        ensure!(unheard.is_empty(), "the provider gave up on {unheard:?}");
        self.assert_stored().await?;
        self.assert_applied(&said)?;
        self.assert_closed().await?;
        self.assert_silent().await?;
        self.assert_lean()?;
        for host in self.awake() {
            let (status, _) = self.get_at(host, "/livez").await?;
            ensure!(status == 200, "I7: /livez of host {host} answers {status}");
        }
        let violations = self.world.violations();
        ensure!(violations.is_empty(), "calls against the documents: {violations:#?}");
        Ok(())
    }

    /// I2 and I3.
    fn assert_applied(&self, said: &[Saying]) -> Result<()> {
        let mut applied: Vec<String> = Vec::new();
        for conversation in self.world.intercom.workspace(intercom::WORKSPACE).conversations() {
            // A message that comes late says so in a line above its words.
            let last_line = |body: String| body.lines().last().unwrap_or_default().to_owned();
            applied.extend(
                conversation
                    .from_customer()
                    .into_iter()
                    .map(|part| last_line(part.body)),
            );
        }
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, text) in applied.iter().enumerate() {
            places.entry(text).or_default().push(place);
        }
        let mut last: HashMap<i64, usize> = HashMap::new();
        for saying in said {
            let found = places.remove(saying.text.as_str()).unwrap_or_default();
            ensure!(
                found.len() == 1,
                "I2: applied {} times: {}",
                found.len(),
                short(&saying.text)
            );
            let before = last.insert(saying.customer, found[0]);
            ensure!(
                before.is_none_or(|before| before < found[0]),
                "I3: out of order: {}",
                short(&saying.text)
            );
        }
        ensure!(places.is_empty(), "I2: applied and never said: {:?}", places.keys());
        Ok(())
    }

    /// I4, and that a file is whole.
    async fn assert_closed(&self) -> Result<()> {
        if let Some(database) = &self.database {
            let held = "select count(*) from lane where head < tail or claim is not null";
            let open = database.number(held).await?;
            ensure!(open == 0, "I4: {open} lanes have events that did not end, or an owner");
            return Ok(());
        }
        let mut disk = self.on_disk().await?;
        let open = disk.open_lanes().await?;
        ensure!(open == 0, "I4: {open} lanes have events that did not end");
        let faults = disk.integrity().await?;
        ensure!(faults == ["ok"], "the database is damaged: {faults:?}");
        Ok(())
    }

    /// I5.
    async fn assert_silent(&mut self) -> Result<()> {
        let mut outputs = vec![("the log".to_owned(), self.logs())];
        for (host, path) in self
            .awake()
            .into_iter()
            .flat_map(|host| self.pages().into_iter().map(move |path| (host, path)))
            .collect::<Vec<_>>()
        {
            let (status, text) = self.get_at(host, &path).await?;
            ensure!(status == 200, "{path} of host {host} answers {status}: {text}");
            outputs.push((path, text));
        }
        let secrets = [
            BOT_TOKEN.to_owned(),
            ADMIN_TOKEN.to_owned(),
            self.world.intercom.client_secret(),
            self.world.intercom.workspace(intercom::WORKSPACE).token(),
        ];
        for (place, text) in &outputs {
            let leaked = secrets.iter().any(|secret| text.contains(secret));
            ensure!(!leaked, "I5: {place} shows a secret");
        }
        Ok(())
    }

    /// I6.
    fn assert_lean(&mut self) -> Result<()> {
        for host in self.awake() {
            let (base, now) = (self.seats[host].base, Footprint::of(self.host_at(host).id())?);
            let fits = now.files <= base.files + FILES_MORE_MAX
                && now.threads <= base.threads + THREADS_MORE_MAX
                && now.resident_kib <= base.resident_kib + RESIDENT_MORE_MAX_KIB;
            ensure!(fits, "I6: host {host} has {now:?} after {base:?}");
        }
        Ok(())
    }
}

/// The beginning is enough to recognise it by.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
