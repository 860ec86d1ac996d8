//! Hosts with one WhatsApp number, an inbox and a database, as an operator would have them.
//!
//! Hosts are processes of their own, `mantle serve`. Where a measurement must ask the host for something that no
//! command does, the host lives in this process; then the figures of CPU time are told apart by threads.

mod channels;
mod configuration;
mod host;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Method;
use mantle_app::host::Running;
use mantle_store::testing::cluster;
use mantle_world::{World, whatsapp};
use serde_json::Value;
use tempfile::TempDir;

use self::configuration::Configuration;
use self::host::{Host, Place};
use crate::cpu::{self, Cpu};
use crate::hooks::Writer;
use crate::inbox::Inbox;
use crate::load::{Door, Target};
use crate::process::Process;

const PUBLIC_URL: &str = "https://bridge.test";
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The first readings of a kept hook come within this.
const READ_AGAIN_WITHIN: Duration = Duration::from_secs(60);

/// Where messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Database {
    Sqlite,
    /// A server of its own, thrown away at the end.
    Postgres,
}

/// How hosts are run.
#[derive(Debug, Clone)]
pub enum Program {
    /// In this process.
    Inside,
    /// By this program, with `serve` as its argument: `mantle`, or this one.
    At(PathBuf),
}

/// What stands on the stage.
#[derive(Debug, Clone)]
pub struct Setup {
    pub program: Program,
    pub database: Database,
    pub hosts: usize,
    /// All connectors are loaded, not WhatsApp's alone.
    pub all_connectors: bool,
}

impl Setup {
    /// One host on SQLite.
    pub fn of(program: &Path) -> Self {
        Self {
            program: Program::At(program.to_owned()),
            database: Database::Sqlite,
            hosts: 1,
            all_connectors: false,
        }
    }

    pub fn on(self, database: Database, hosts: usize) -> Self {
        Self {
            database,
            hosts: hosts.max(1),
            ..self
        }
    }
}

/// Connected hosts with their surroundings; files are gone when it is dropped.
pub struct Stage {
    pub inbox: Inbox,
    hosts: Vec<Host>,
    doors: Vec<Door>,
    channel: String,
    workspace: String,
    writer: Writer,
    world: World,
    postgres: Option<cluster::TestDatabase>,
    folder: TempDir,
}

impl Stage {
    /// `folder` decides which disk is measured. None: there is no PostgreSQL here, and somebody was told.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(folder: &Path, setup: &Setup) -> Result<Option<Self>> {
        let postgres = match setup.database {
            Database::Sqlite => None,
            Database::Postgres => match cluster::shared()? {
                Some(cluster) => Some(cluster.database().await?),
                None => return Ok(None),
            },
        };
        let components = components().await?;
        let folder = private_folder(folder)?;
        let (world, inbox) = (World::start().await?, Inbox::start(setup.hosts)?);
        let (mut hosts, mut doors) = (Vec::new(), Vec::new());
        for number in 0..setup.hosts {
            let configuration = Configuration {
                components: &components,
                all_connectors: setup.all_connectors,
                database: postgres.as_ref().map(|postgres| postgres.url.as_str()),
                redirects: world.redirects(),
                inbox: inbox.addr(number).context("a host without a door")?,
            };
            let file = configuration.write(&folder.path().join(format!("host-{number}")))?;
            let host = Host::new(setup.program.clone(), file);
            // One finds an empty database, the others find what it made.
            hosts.push(host);
        }
        for host in &mut hosts {
            doors.push(Door::at(host.start().await?));
        }
        let mut stage = Self {
            inbox,
            hosts,
            doors,
            channel: String::new(),
            workspace: String::new(),
            writer: Writer::whatsapp(world.whatsapp.number(whatsapp::PHONE_NUMBER_ID).setup()),
            world,
            postgres,
            folder,
        };
        stage.connect().await?;
        Ok(Some(stage))
    }

    /// Calls of the world's providers go to the first host.
    fn deliver_here(&self) -> Result<()> {
        self.world.deliver_to(PUBLIC_URL, self.door(0)?.addr());
        Ok(())
    }

    fn door(&self, host: usize) -> Result<&Door> {
        self.doors.get(host).context("no such host")
    }

    /// The folder of the hosts.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the database's bytes go: what the disk is measured by.
    pub fn disk(&self) -> PathBuf {
        match self.postgres {
            Some(_) => std::env::temp_dir(),
            None => self.folder().to_owned(),
        }
    }

    /// SQLite's file of the first host.
    pub fn database_file(&self) -> PathBuf {
        self.folder().join("host-0/data/mantle.db")
    }

    /// Texts to the WhatsApp number, over all hosts.
    pub fn target(&self) -> Target {
        Target {
            doors: self.doors.clone(),
            path: format!("/hooks/whatsapp/{}", self.channel),
            writer: self.writer.clone(),
        }
    }

    /// Hooks of another kind, over all hosts. The path is the one that [`Stage::connect_sms`] told, with a query if any.
    pub fn target_of(&self, path: String, writer: fn(String) -> Writer) -> Target {
        Target {
            doors: self.doors.clone(),
            writer: writer(format!("{PUBLIC_URL}{path}")),
            path,
        }
    }

    /// Events that are stored and have not ended, as the host has it that knows of the most: what another has in hand, it
    /// alone counts.
    pub async fn backlog(&self) -> Result<u64> {
        let running = (0..self.hosts.len()).filter(|host| self.hosts[*host].runs());
        let mut most = None;
        for host in running {
            most = most.max(Some(self.backlog_of(host).await?));
        }
        most.context("no host runs")
    }

    async fn backlog_of(&self, host: usize) -> Result<u64> {
        let url = format!("http://{}/readyz", self.door(host)?.addr());
        let answer = self
            .world
            .scene()
            .client()
            .call(Method::GET, &url, &[], Bytes::new())
            .await?;
        let told: Value = serde_json::from_slice(&answer.body)?;
        told["backlog"]
            .as_u64()
            .with_context(|| format!("no backlog in {told}"))
    }

    /// Waits until so many events are stored that have not ended: a hook whose connector was too slow is kept as it
    /// came, acknowledged, and read a little later.
    pub async fn holds(&self, count: u64) -> Result<()> {
        let deadline = tokio::time::Instant::now() + READ_AGAIN_WITHIN;
        loop {
            let stored = self.backlog().await?;
            if stored == count {
                return Ok(());
            }
            ensure!(
                stored < count && tokio::time::Instant::now() < deadline,
                "{count} messages were acknowledged and {stored} are stored"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every event has ended.
    pub async fn quiet(&self, within: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let left = self.backlog().await?;
            if left == 0 {
                return Ok(());
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{left} events have not ended within {within:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// CPU time used up to now by hosts, inbox and database.
    pub fn cpu(&self) -> Cpu {
        let inbox = self.inbox.cpu();
        let host = self.hosts.iter().map(|host| match host.place() {
            Some(Place::Process(process)) => cpu::of_process(process.id()).unwrap_or_default(),
            // All that is not somebody else's; the load's part is taken away where it is known.
            Some(Place::Inside(_)) => cpu::of_own_process().saturating_sub(inbox),
            None => Duration::ZERO,
        });
        Cpu {
            host: host.sum(),
            inbox,
            database: self.postgres.as_ref().and_then(database_cpu),
        }
    }

    /// The process of a host.
    ///
    /// # Errors
    /// It does not run, or not as a process.
    pub fn process(&self, host: usize) -> Result<&Process> {
        match self.hosts.get(host).and_then(Host::place) {
            Some(Place::Process(process)) => Ok(process),
            _ => anyhow::bail!("host {host} is no running process"),
        }
    }

    /// The host that lives in this process.
    ///
    /// # Errors
    /// It does not.
    pub fn inside(&self) -> Result<&Running> {
        match self.hosts.first().and_then(Host::place) {
            Some(Place::Inside(running)) => Ok(running),
            _ => anyhow::bail!("the host does not live in this process"),
        }
    }

    /// Kills a host as the machine would.
    ///
    /// # Errors
    /// It does not run as a process.
    pub async fn kill(&mut self, host: usize) -> Result<()> {
        self.hosts.get_mut(host).context("no such host")?.kill().await
    }

    /// Whoever called this host calls the next one from now on, as behind a balancer.
    ///
    /// # Errors
    /// There is no such host.
    pub fn send_to_others(&self, host: usize) -> Result<()> {
        let other = self.door((host + 1) % self.doors.len().max(1))?;
        self.door(host)?.moved(other.addr());
        Ok(())
    }

    /// Ends a host in an orderly way; the others go on.
    ///
    /// # Errors
    /// It does not end well.
    pub async fn pause(&mut self, host: usize) -> Result<()> {
        self.hosts.get_mut(host).context("no such host")?.stop().await
    }

    /// Starts a host again, on what it finds.
    ///
    /// # Errors
    /// It does not start.
    pub async fn revive(&mut self, host: usize) -> Result<()> {
        let addr = self.hosts.get_mut(host).context("no such host")?.start().await?;
        self.door(host)?.moved(addr);
        self.deliver_here()
    }

    /// Ends all hosts in an orderly way.
    ///
    /// # Errors
    /// One does not end well.
    pub async fn stop(mut self) -> Result<()> {
        for host in &mut self.hosts {
            host.stop().await?;
        }
        Ok(())
    }
}

/// Of the server with all that it started. None: it cannot be found.
fn database_cpu(database: &cluster::TestDatabase) -> Option<Duration> {
    let folder = database.url.split_once("host=")?.1;
    let file = std::fs::read_to_string(format!("{folder}/data/postmaster.pid")).ok()?;
    let id = file.lines().next()?.trim().parse().ok()?;
    cpu::of_family(id).ok()
}

/// The connectors as they are shipped, built now if they are not: the folder that holds them.
pub async fn components() -> Result<PathBuf> {
    tokio::task::spawn_blocking(mantle_components::build).await?
}

/// A new folder below this one, which is made where it is missing.
fn private_folder(below: &Path) -> Result<TempDir> {
    std::fs::create_dir_all(below).with_context(|| format!("making {}", below.display()))?;
    // Hosts are started elsewhere.
    let below = below.canonicalize()?;
    Ok(tempfile::Builder::new().prefix("mantle-bench-").tempdir_in(below)?)
}

/// Where compiled components are kept.
pub fn compiled_folder() -> Result<PathBuf> {
    let shared = mantle_components::workspace_root().join("target/bench-compiled");
    make_private(&shared)?;
    Ok(shared)
}

fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(())
}
