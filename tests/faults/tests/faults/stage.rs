//! The hosts that can be killed and the world around them.

mod time;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use mantle_store::testing::cluster::{self, TestDatabase};
use mantle_store::testing::outsider::Outsider;
use mantle_world::{World, intercom};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::customers::Said;
use crate::disk::Disk;
use crate::link::Link;
use crate::process::{Ended, Log, PATIENCE, Process, Start};
use crate::promises::Footprint;
use crate::street::Street;

pub use crate::setup::Setup;

pub const PUBLIC_URL: &str = "https://bridge.test";
pub const ADMIN_TOKEN: &str = "faults-admin-token-0123456789abcdef";
/// Shaped like one of Telegram's, and unlike the example in the connector's form.
pub const BOT_TOKEN: &str = "987650001:AACanary0Canary1Canary2Canary3Cana9";
/// A provider tries again what was not answered with 2xx, so often and after this: longer than any outage here.
pub const RETRIES: u32 = 3000;
pub const RETRY_PAUSE: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One host of the stage.
pub struct Seat {
    start: Start,
    pub log: Log,
    pub process: Option<Process>,
    /// Of the present life, before the row began.
    pub base: Footprint,
    /// How far its clock is ahead of the stage's.
    skew_ms: i64,
    /// Stopped by a signal: it takes no orders and answers nobody.
    asleep: bool,
}

pub struct Stage {
    pub world: World,
    pub disk: Disk,
    /// Of the first host.
    pub log: Log,
    pub data: PathBuf,
    /// What several hosts share.
    pub database: Option<TestDatabase>,
    pub seats: Vec<Seat>,
    street: Option<Street>,
    workspace: String,
    pub channel: String,
    /// How far the stage's clock is ahead of the machine's.
    ahead_ms: i64,
    pub said: Said,
    folder: TempDir,
}

impl Stage {
    /// A workspace and a Telegram channel, connected; of several hosts the first one runs.
    pub async fn telegram(setup: Setup) -> Result<Self> {
        Self::prepared(setup).await?.revived().await
    }

    /// The same with all hosts at work.
    pub async fn whole(setup: Setup) -> Result<Self> {
        let mut stage = Self::telegram(setup).await?;
        stage.start_others().await?;
        Ok(stage)
    }

    /// Two hosts, each behind a network of its own. None where there is no PostgreSQL.
    pub async fn linked() -> Result<Option<(Self, Vec<Link>)>> {
        let Some(cluster) = cluster::shared()? else {
            return Ok(None);
        };
        let database = cluster.database().await?;
        let mut setup = Setup::hosts(&database, 2);
        let mut links = Vec::new();
        for road in &mut setup.roads {
            let link = Link::to(cluster.socket()).await?;
            *road = database.through(link.port);
            links.push(link);
        }
        Ok(Some((Self::whole(setup).await?, links)))
    }

    /// A host whose very first start fails as these rules say, and how it ended.
    pub async fn stillborn(failpoints: &'static str) -> Result<(Self, Ended)> {
        let setup = Setup {
            failpoints,
            ..Setup::default()
        };
        let mut stage = Self::prepared(setup).await?;
        let ended = stage.refused_start().await?;
        stage.arm_next_start("");
        Ok((stage, ended))
    }

    /// Starts the host and connects what every row needs.
    pub async fn revived(mut self) -> Result<Self> {
        self.start().await?;
        let webhook = format!("{PUBLIC_URL}/inbox/intercom");
        let told = self.world.intercom.set_webhook(&webhook).await;
        told.map_err(anyhow::Error::msg)?;
        let token = self.world.intercom.workspace(intercom::WORKSPACE).token();
        let draft = json!({"platform": "intercom", "access_token": token});
        self.workspace = self.created("/api/v1/workspaces", &draft).await?;
        self.channel = self.connected("telegram", &json!({"bot_token": BOT_TOKEN})).await?;
        self.seats[0].base = Footprint::of(self.host().id())?;
        Ok(self)
    }

    /// A further channel of the workspace.
    pub async fn connected(&mut self, plugin: &str, fields: &Value) -> Result<String> {
        let draft = json!({"plugin": plugin, "name": "line", "fields": fields});
        let channels = format!("/api/v1/workspaces/{}/channels", self.workspace);
        self.created(&channels, &draft).await
    }

    async fn prepared(mut setup: Setup) -> Result<Self> {
        let world = match setup.world.take() {
            Some(world) => world,
            None => World::start().await?,
        };
        let _ = world.telegram.bot(BOT_TOKEN);
        let _ = world.intercom.workspace(intercom::WORKSPACE);
        world.telegram.webhooks().retries(RETRIES, RETRY_PAUSE);
        world.intercom.webhooks().retries(RETRIES, RETRY_PAUSE);
        let folder = tempfile::Builder::new().prefix("mantle-faults-").tempdir()?;
        let disk = Disk::in_folder(folder.path())?;
        let seats = setup.seats(&world, folder.path(), &disk.variables()).await?;
        let street = match &setup.database {
            Some(_) => Some(Street::open(seats.len()).await?),
            None => None,
        };
        if let Some(street) = &street {
            world.deliver_to(PUBLIC_URL, street.addr);
        }
        Ok(Self {
            world,
            disk,
            log: seats[0].1.clone(),
            data: setup.data(folder.path(), 0),
            database: setup.database,
            seats: seats.into_iter().map(|(start, log)| Seat::new(start, log)).collect(),
            street,
            workspace: String::new(),
            channel: String::new(),
            ahead_ms: 0,
            said: Said::default(),
            folder,
        })
    }

    /// The first host, which is the only one on a file.
    pub fn host(&mut self) -> &mut Process {
        self.host_at(0)
    }

    pub fn host_at(&mut self, seat: usize) -> &mut Process {
        self.seats[seat].process.as_mut().unwrap()
    }

    /// How calls find the hosts.
    pub fn street(&self) -> &Street {
        self.street.as_ref().unwrap()
    }

    /// The host's first life, or the next one; unarmed from the second on.
    pub async fn start(&mut self) -> Result<()> {
        self.start_at(0).await
    }

    pub async fn start_at(&mut self, seat: usize) -> Result<()> {
        let process = Process::start(&self.seats[seat].start, &self.seats[seat].log).await?;
        self.opens(seat, process).await
    }

    /// All hosts that do not run, at the same time.
    pub async fn start_others(&mut self) -> Result<()> {
        let absent = self.seats.iter().enumerate().filter(|(_, seat)| seat.process.is_none());
        let starting =
            absent.map(|(number, seat)| async move { (number, Process::start(&seat.start, &seat.log).await) });
        for (number, started) in futures_util::future::join_all(starting).await {
            self.opens(number, started?).await?;
        }
        Ok(())
    }

    async fn opens(&mut self, number: usize, process: Process) -> Result<()> {
        let addr = process.addr;
        let seat = &mut self.seats[number];
        seat.base = Footprint::of(process.id())?;
        seat.asleep = false;
        let behind = self.ahead_ms + seat.skew_ms;
        let process = seat.process.insert(process);
        if behind != 0 {
            process.order(&format!("advance {behind}")).await?;
        }
        match &self.street {
            Some(street) => street.leads(number, addr),
            None => self.world.deliver_to(PUBLIC_URL, addr),
        }
        if number == 0 {
            self.arm_next_start("");
        }
        Ok(())
    }

    /// A start that is expected to be refused.
    pub async fn refused_start(&self) -> Result<Ended> {
        match Process::try_start(&self.seats[0].start, &Log::default()).await? {
            Ok(_) => bail!("the host started"),
            Err(ended) => Ok(ended),
        }
    }

    /// The rules that the next life begins with.
    pub fn arm_next_start(&mut self, rules: &str) {
        for (name, value) in &mut self.seats[0].start.variables {
            if name == "MANTLE_FAILPOINTS" {
                rules.clone_into(value);
            }
        }
    }

    pub async fn arm(&mut self, rules: &str) -> Result<()> {
        self.arm_at(0, rules).await
    }

    pub async fn arm_at(&mut self, seat: usize, rules: &str) -> Result<()> {
        self.host_at(seat).order(&format!("arm {rules}")).await?;
        Ok(())
    }

    /// Lets go what is paused and arms nothing any more.
    pub async fn disarm_at(&mut self, seat: usize) -> Result<()> {
        self.host_at(seat).order("disarm").await?;
        Ok(())
    }

    pub async fn kill(&mut self) -> Result<()> {
        self.kill_at(0).await
    }

    pub async fn kill_at(&mut self, seat: usize) -> Result<()> {
        self.seats[seat].process.take().unwrap().kill().await
    }

    /// As a service manager stops it: with time to end well.
    pub async fn stop(&mut self) -> Result<()> {
        self.stop_at(0).await
    }

    pub async fn stop_at(&mut self, seat: usize) -> Result<()> {
        self.host_at(seat).terminate().await?;
        let status = self.ended_at(seat).await?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }

    /// Two signals, one after the other: without time to end well.
    pub async fn force_at(&mut self, seat: usize) -> Result<std::process::ExitStatus> {
        self.host_at(seat).terminate().await?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.seats[seat].log.text().contains("a second signal forces it") {
            ensure!(tokio::time::Instant::now() < deadline, "it does not hear the signal");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.host_at(seat).terminate().await?;
        self.ended_at(seat).await
    }

    /// Waits until the host has ended by itself; answers whether it was a clean end.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        self.ended_at(0).await
    }

    pub async fn ended_at(&mut self, seat: usize) -> Result<std::process::ExitStatus> {
        let status = self.host_at(seat).ended().await?;
        self.seats[seat].process = None;
        Ok(status)
    }

    /// Writes the configuration of every host anew, with this text in place of that one.
    pub fn reconfigure(&self, before: &str, after: &str) -> Result<()> {
        for seat in &self.seats {
            let file = &seat.start.config;
            let text = std::fs::read_to_string(file)?.replace(before, after);
            let new = file.with_extension("new");
            std::fs::write(&new, text)?;
            std::fs::rename(&new, file)?;
        }
        Ok(())
    }

    /// The machine holds it still. Nobody is sent to it any more.
    pub async fn freeze(&mut self, seat: usize) -> Result<()> {
        self.host_at(seat).signal("STOP").await?;
        self.seats[seat].asleep = true;
        self.street().closes(seat, true);
        Ok(())
    }

    /// It goes on where it stood, with the time that has passed meanwhile.
    pub async fn thaw(&mut self, seat: usize, slept_ms: i64) -> Result<()> {
        self.host_at(seat).signal("CONT").await?;
        self.seats[seat].asleep = false;
        self.street().closes(seat, false);
        self.host_at(seat).order(&format!("advance {slept_ms}")).await?;
        Ok(())
    }

    /// The database as it lies on the disk now, read from a copy: looking must not recover or checkpoint it.
    pub async fn on_disk(&self) -> Result<Outsider> {
        self.copied(&self.data).await
    }

    pub async fn copied(&self, from: &Path) -> Result<Outsider> {
        let to = tempfile::tempdir_in(self.folder.path())?.keep();
        for name in ["mantle.db", "mantle.db-wal"] {
            match std::fs::copy(from.join(name), to.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(Outsider::open(&to.join("mantle.db")).await?)
    }

    pub fn file(&self) -> PathBuf {
        self.data.join("mantle.db")
    }

    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Status and body of one call to the host, with the operator's key.
    pub async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
        self.call_at(0, method, path, body).await
    }

    pub async fn call_at(
        &mut self,
        seat: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, String)> {
        let headers = [
            ("authorization".to_owned(), format!("Bearer {ADMIN_TOKEN}")),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let url = format!("http://{}{path}", self.host_at(seat).addr);
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let reply = self.world.scene().client().call(method, &url, &headers, bytes).await?;
        Ok((reply.status, reply.text()))
    }

    pub async fn get(&mut self, path: &str) -> Result<(u16, String)> {
        self.get_at(0, path).await
    }

    pub async fn get_at(&mut self, seat: usize, path: &str) -> Result<(u16, String)> {
        self.call_at(seat, Method::GET, path, None).await
    }

    /// Everything that can be read from a host in good order.
    pub fn pages(&self) -> Vec<String> {
        let pages = [
            "/",
            "/livez",
            "/readyz",
            "/metrics",
            "/api/v1/plugins",
            "/api/v1/messages",
            "/api/v1/workspaces",
        ];
        let mut pages = pages.map(str::to_owned).to_vec();
        pages.push(format!("/api/v1/workspaces/{}/channels", self.workspace));
        pages.push(format!("/api/v1/channels/{}", self.channel));
        pages
    }

    /// The id of what a call makes.
    async fn created(&mut self, path: &str, draft: &Value) -> Result<String> {
        let (status, text) = self.call(Method::POST, path, Some(draft)).await?;
        ensure!(status == 201, "POST {path} answered {status}: {text}");
        let made: Value = serde_json::from_str(&text)?;
        Ok(made["id"].as_str().context("no id")?.to_owned())
    }

    /// Hosts that can be asked.
    pub fn awake(&self) -> Vec<usize> {
        let awake = self.seats.iter().enumerate().filter(|(_, seat)| seat.is_awake());
        awake.map(|(number, _)| number).collect()
    }

    /// Everything that all hosts said.
    pub fn logs(&self) -> String {
        let logs: Vec<String> = self.seats.iter().map(|seat| seat.log.text()).collect();
        logs.join("\n— the next host —\n")
    }
}

impl Seat {
    fn new(start: Start, log: Log) -> Self {
        Self {
            start,
            log,
            process: None,
            base: Footprint::default(),
            skew_ms: 0,
            asleep: false,
        }
    }

    fn is_awake(&self) -> bool {
        self.process.is_some() && !self.asleep
    }
}
