//! One host that can be killed, the world around it, and the customers who write.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use mantle_store::testing::outsider::Outsider;
use mantle_world::{World, intercom};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::disk::Disk;
use crate::process::{Ended, Log, PATIENCE, Process, Start};
use crate::promises::Footprint;

pub const PUBLIC_URL: &str = "https://bridge.test";
pub const ADMIN_TOKEN: &str = "faults-admin-token-0123456789abcdef";
/// Shaped like one of Telegram's, and unlike the example in the connector's form.
pub const BOT_TOKEN: &str = "987650001:AACanary0Canary1Canary2Canary3Cana9";
/// A provider tries again what was not answered with 2xx, so often and after this: longer than any outage here.
const RETRIES: u32 = 3000;
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Without progress for so long, what is left waits for the clock …
const STILL: Duration = Duration::from_millis(300);
/// … which is then moved by this.
const STEP: Duration = Duration::from_secs(15);

/// What differs from row to row.
#[derive(Default)]
pub struct Setup {
    /// Armed from the first moment of the first life.
    pub failpoints: &'static str,
    /// Where the database lies; a folder of the stage otherwise.
    pub data_dir: Option<PathBuf>,
    /// (origin, where calls to it go) instead of the world's own stand-in.
    pub detours: Vec<(String, String)>,
    /// More variables of the host's environment.
    pub variables: Vec<(String, String)>,
    /// A world that something stands before already.
    pub world: Option<World>,
}

/// What one customer wrote, and whether somebody told the provider that it arrived.
#[derive(Debug, Clone)]
pub struct Saying {
    pub customer: i64,
    pub text: String,
    pub acked: bool,
}

pub struct Stage {
    pub world: World,
    pub disk: Disk,
    pub log: Log,
    pub data: PathBuf,
    workspace: String,
    channel: String,
    /// Of the present life, before the row began.
    pub base: Footprint,
    host: Option<Process>,
    start: Start,
    said: Arc<Mutex<Vec<Saying>>>,
    folder: TempDir,
}

impl Stage {
    /// A workspace and a Telegram channel, connected.
    pub async fn telegram(setup: Setup) -> Result<Self> {
        Self::prepared(setup).await?.revived().await
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
        let draft = json!({"plugin": "telegram", "name": "line", "fields": {"bot_token": BOT_TOKEN}});
        let channels = format!("/api/v1/workspaces/{}/channels", self.workspace);
        self.channel = self.created(&channels, &draft).await?;
        self.base = Footprint::of(self.host().id())?;
        Ok(self)
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
        let data = setup.data_dir.clone().unwrap_or_else(|| folder.path().join("data"));
        let components = components().await?;
        let config = folder.path().join("plugins.toml");
        std::fs::write(&config, configuration(&world, &setup, &data, &components)?)?;
        share_compiled(&data)?;
        let disk = Disk::in_folder(folder.path())?;
        let mut variables = vec![
            ("MANTLE_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
            ("MANTLE_FAILPOINTS".to_owned(), setup.failpoints.to_owned()),
        ];
        variables.extend(disk.variables());
        variables.append(&mut setup.variables);
        Ok(Self {
            world,
            disk,
            log: Log::default(),
            data,
            workspace: String::new(),
            channel: String::new(),
            base: Footprint::default(),
            host: None,
            start: Start { config, variables },
            said: Arc::default(),
            folder,
        })
    }

    pub fn host(&mut self) -> &mut Process {
        self.host.as_mut().unwrap()
    }

    /// The host's first life, or the next one; unarmed from the second on.
    pub async fn start(&mut self) -> Result<()> {
        let host = Process::start(&self.start, &self.log).await?;
        self.world.deliver_to(PUBLIC_URL, host.addr);
        self.base = Footprint::of(host.id())?;
        self.host = Some(host);
        self.arm_next_start("");
        Ok(())
    }

    /// A start that is expected to be refused.
    pub async fn refused_start(&self) -> Result<Ended> {
        match Process::try_start(&self.start, &Log::default()).await? {
            Ok(_) => bail!("the host started"),
            Err(ended) => Ok(ended),
        }
    }

    /// The rules that the next life begins with.
    pub fn arm_next_start(&mut self, rules: &str) {
        for (name, value) in &mut self.start.variables {
            if name == "MANTLE_FAILPOINTS" {
                rules.clone_into(value);
            }
        }
    }

    pub async fn arm(&mut self, rules: &str) -> Result<()> {
        self.host().order(&format!("arm {rules}")).await?;
        Ok(())
    }

    pub async fn kill(&mut self) -> Result<()> {
        self.host.take().unwrap().kill().await
    }

    /// As a service manager stops it: with time to end well.
    pub async fn stop(&mut self) -> Result<()> {
        self.host().terminate().await?;
        let status = self.ended().await?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }

    /// Waits until the host has ended by itself; answers whether it was a clean end.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        let status = self.host().ended().await?;
        self.host = None;
        Ok(status)
    }

    /// A customer writes and the provider tries until it is taken. What was sent is remembered.
    pub fn says(&self, customer: i64, text: String) -> impl Future<Output = ()> + Send + use<> {
        let said = Arc::clone(&self.said);
        let writer = self.world.telegram.bot(BOT_TOKEN).customer(customer);
        async move {
            let place = {
                let mut said = said.lock().unwrap();
                said.push(Saying {
                    customer,
                    text: text.clone(),
                    acked: false,
                });
                said.len() - 1
            };
            let told = writer.writes(&text).await;
            said.lock().unwrap()[place].acked = told.delivered.is_good();
        }
    }

    /// Each customer says these texts one after the other, all customers at once.
    pub fn all_say(&self, customers: std::ops::Range<i64>, texts: &[String]) -> tokio::task::JoinHandle<()> {
        let each: Vec<_> = customers
            .map(|customer| {
                let all: Vec<_> = texts
                    .iter()
                    .map(|text| self.says(customer, format!("{customer} {text}")))
                    .collect();
                async move {
                    for one in all {
                        one.await;
                    }
                }
            })
            .collect();
        tokio::spawn(async move {
            futures_util::future::join_all(each).await;
        })
    }

    /// One try of the provider at a message, which counts only if it is taken: the answer's status.
    pub async fn knock(&self, customer: i64, text: &str) -> Option<u16> {
        let webhooks = self.world.telegram.webhooks();
        webhooks.retries(0, RETRY_PAUSE);
        let writer = self.world.telegram.bot(BOT_TOKEN).customer(customer);
        let told = writer.writes(text).await;
        webhooks.retries(RETRIES, RETRY_PAUSE);
        if told.delivered.is_good() {
            self.said.lock().unwrap().push(Saying {
                customer,
                text: text.to_owned(),
                acked: true,
            });
        }
        told.delivered.status
    }

    pub fn said(&self) -> Vec<Saying> {
        self.said.lock().unwrap().clone()
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

    pub fn database(&self) -> PathBuf {
        self.data.join("mantle.db")
    }

    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Status and body of one call to the host, with the operator's key.
    pub async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
        let headers = [
            ("authorization".to_owned(), format!("Bearer {ADMIN_TOKEN}")),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let url = format!("http://{}{path}", self.host().addr);
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let reply = self.world.scene().client().call(method, &url, &headers, bytes).await?;
        Ok((reply.status, reply.text()))
    }

    pub async fn get(&mut self, path: &str) -> Result<(u16, String)> {
        self.call(Method::GET, path, None).await
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

    /// Events that have not ended.
    pub async fn backlog(&mut self) -> Result<u64> {
        let (_, text) = self.get("/readyz").await?;
        let told: Value = serde_json::from_str(&text)?;
        told["backlog"]
            .as_u64()
            .with_context(|| format!("no backlog in {told}"))
    }

    pub async fn advance(&mut self, by: Duration) -> Result<()> {
        let now = self.host().order(&format!("advance {}", by.as_millis())).await?;
        self.world.scene().set_clock(Some(now.parse()?));
        Ok(())
    }

    /// Waits until `/readyz` says so; the host proves it every few seconds by a write.
    pub async fn until_ready(&mut self, ready: bool) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let wanted = if ready { 200 } else { 503 };
        loop {
            let (status, told) = self.get("/readyz").await?;
            if status == wanted {
                return Ok(());
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "/readyz stays at {status}: {told}"
            );
            tokio::time::sleep(STILL).await;
        }
    }

    /// Waits until a lane waits for this reason.
    pub async fn waits_because(&mut self, reason: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let causes = self.on_disk().await?.causes().await?;
            if causes.contains(reason) {
                return Ok(());
            }
            let late = tokio::time::Instant::now() > deadline;
            ensure!(!late, "nothing waits because of `{reason}`, but of: {causes}");
            tokio::time::sleep(STILL).await;
        }
    }

    /// Waits until every event has ended, moving the clock over waits.
    pub async fn quiet(&mut self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (mut last, mut since) = (u64::MAX, tokio::time::Instant::now());
        loop {
            let left = self.backlog().await?;
            if left == 0 {
                return Ok(());
            }
            let now = tokio::time::Instant::now();
            if left != last {
                (last, since) = (left, now);
            } else if now - since > STILL {
                since = now;
                self.advance(STEP).await?;
            }
            ensure!(now < deadline, "{left} events have not ended:\n{}", self.log.text());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn configuration(world: &World, setup: &Setup, data: &Path, components: &Path) -> Result<String> {
    let quoted = |path: &Path| serde_json::to_string(path);
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{PUBLIC_URL}\"\ndata_dir = {}\n\
         [database]\nurl = \"sqlite:{}\"\n[secrets]\nkey_file = \"secret.key\"\n\
         [inbox.intercom]\nclient_secret = \"{}\"\n\
         [plugins.telegram]\ncomponent = {}\ngrants = \"asked\"\n[egress.redirect]\n",
        quoted(data)?,
        data.join("mantle.db").display(),
        world.intercom.client_secret(),
        quoted(&components.join("telegram.wasm"))?,
    );
    for (from, to) in world.redirects() {
        let detour = setup.detours.iter().find(|(origin, _)| origin == from);
        let to = detour.map_or(to, |(_, detour)| detour);
        text.push_str(&format!("\"{from}\" = \"{to}\"\n"));
    }
    Ok(text)
}

/// The connectors, built once in the life of the test binary.
async fn components() -> Result<PathBuf> {
    static BUILT: tokio::sync::OnceCell<PathBuf> = tokio::sync::OnceCell::const_new();
    let built = BUILT.get_or_try_init(|| async { tokio::task::spawn_blocking(mantle_components::build).await? });
    Ok(built.await?.clone())
}

/// Compiled components are the same for every host: they share one folder, so that each is compiled once.
fn share_compiled(data: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let shared = mantle_components::workspace_root().join("target/it-compiled");
    for path in [&shared, data] {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    std::os::unix::fs::symlink(&shared, data.join("compiled"))?;
    Ok(())
}
