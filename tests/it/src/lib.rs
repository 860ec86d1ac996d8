//! One bridge for a test: a real host on a database of its own, in the stand-in world, on a clock that the test moves.
//!
//! Everything goes through the front door: customers and teammates act in the world, operators call the API. Nothing
//! here looks into the host but for waiting until its work is done. Nothing sleeps for a guess: the world rings when
//! something changes, and the store tells what is left to do.

pub mod database;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use mantle_app::config;
use mantle_app::host::{Host, Running, Surroundings};
use mantle_model::clock::{ManualClock, Time};
use mantle_model::secret::Secret;
use mantle_store::lanes::Lanes;
use mantle_store::ledger::Ledger;
use mantle_store::testing::cluster::TestDatabase;
use mantle_world::intercom::{self, Conversation, Teammate, Workspace};
use mantle_world::{World, telegram, twilio, whatsapp};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What providers and Intercom call; deliveries go to the host's loopback address.
pub const PUBLIC_URL: &str = "https://bridge.test";
pub const ADMIN_TOKEN: &str = "it-admin-token-0123456789abcdef";
pub const VERIFY_TOKEN: &str = "it-verify-token-0123456789";
/// Where every test's clock begins: a Friday in November 2026.
pub const START: Time = Time::from_unix_seconds(1_795_183_200);
/// Longer than any honest step on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// No program listens on the discard port.
const NOBODY: &str = "http://127.0.0.1:9";
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A host with the world around it.
pub struct Bridge {
    pub world: World,
    pub clock: ManualClock,
    folder: TempDir,
    /// None: a file in the folder.
    pub postgres: Option<TestDatabase>,
    host: Option<Running>,
    /// Added to `plugins.toml` as it is.
    extra: String,
    /// The origin that nobody answers for.
    cut_off: Option<String>,
}

/// A channel as the API describes it.
#[derive(Debug, Clone)]
pub struct Channel {
    pub id: String,
    pub body: Value,
}

impl Bridge {
    /// The world and a host, nothing connected.
    pub async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// The same with more lines at the end of `plugins.toml`.
    pub async fn start_with(extra: &str) -> Result<Self> {
        let world = World::start().await?;
        world.scene().set_clock(Some(START.unix_ms()));
        let _ = world.telegram.bot(telegram::TOKEN);
        let _ = world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
        let _ = world.intercom.workspace(intercom::WORKSPACE);
        let mut bridge = Self {
            world,
            clock: ManualClock::at(START),
            folder: tempfile::Builder::new().prefix("mantle-it-").tempdir()?,
            postgres: database::fresh().await?,
            host: None,
            extra: extra.to_owned(),
            cut_off: None,
        };
        bridge.boot().await?;
        let webhook = format!("{PUBLIC_URL}/inbox/intercom");
        bridge
            .world
            .intercom
            .set_webhook(&webhook)
            .await
            .map_err(anyhow::Error::msg)?;
        Ok(bridge)
    }

    /// A workspace and all three channels: (telegram, whatsapp, twilio-sms).
    pub async fn connected() -> Result<(Self, Channels)> {
        let bridge = Self::start().await?;
        let workspace = bridge.connect_workspace().await?;
        let channels = Channels {
            telegram: bridge.connect(&workspace, "telegram", telegram_fields()).await?,
            whatsapp: bridge.connect(&workspace, "whatsapp", bridge.whatsapp_fields()).await?,
            sms: bridge.connect(&workspace, "twilio-sms", bridge.sms_fields()).await?,
            workspace,
        };
        Ok((bridge, channels))
    }

    /// A workspace and the Telegram channel alone: the quickest bridge.
    pub async fn with_telegram() -> Result<(Self, Channel)> {
        let bridge = Self::start().await?;
        let workspace = bridge.connect_workspace().await?;
        let channel = bridge.connect(&workspace, "telegram", telegram_fields()).await?;
        Ok((bridge, channel))
    }

    /// A workspace and the WhatsApp channel alone.
    pub async fn with_whatsapp() -> Result<(Self, Channel)> {
        let bridge = Self::start().await?;
        let workspace = bridge.connect_workspace().await?;
        let channel = bridge.connect(&workspace, "whatsapp", bridge.whatsapp_fields()).await?;
        Ok((bridge, channel))
    }

    async fn boot(&mut self) -> Result<()> {
        let file = self.folder.path().join("plugins.toml");
        std::fs::write(&file, self.configuration().await?)?;
        share_compiled(&self.folder.path().join("data"))?;
        let config = config::load(&file, &config::process_environment)?;
        let surroundings = Surroundings {
            clock: Arc::new(self.clock.clone()),
            environment: Arc::new(config::process_environment),
            admin_token: Some(Secret::new(ADMIN_TOKEN.to_owned())),
            ..Surroundings::default()
        };
        let running = Host::start(config, surroundings).await?;
        self.world.deliver_to(PUBLIC_URL, running.addr);
        self.host = Some(running);
        Ok(())
    }

    async fn configuration(&self) -> Result<String> {
        let folder = components().await?;
        let database = match &self.postgres {
            Some(postgres) => postgres.url.as_str(),
            None => "sqlite:data/mantle.db",
        };
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{PUBLIC_URL}\"\ndata_dir = \"data\"\n\
             [database]\nurl = \"{database}\"\n[secrets]\nkey_file = \"data/secret.key\"\n\
             [inbox.intercom]\nclient_secret = \"{}\"\n",
            self.world.intercom.client_secret()
        );
        for name in mantle_components::connector_names()? {
            let file = serde_json::to_string(&folder.join(format!("{name}.wasm")))?;
            text.push_str(&format!("[plugins.{name}]\ncomponent = {file}\ngrants = \"asked\"\n"));
        }
        text.push_str("[egress.redirect]\n");
        for (from, to) in self.world.redirects() {
            let to = if self.cut_off.as_ref() == Some(from) {
                NOBODY
            } else {
                to
            };
            text.push_str(&format!("\"{from}\" = \"{to}\"\n"));
        }
        text.push_str(&self.extra);
        Ok(text)
    }

    /// The host's folder: configuration and data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// # Panics
    /// Between [`Bridge::stop`] and the next start.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that asks a stopped host is wrong itself")]
    pub fn host(&self) -> &Running {
        self.host.as_ref().expect("the host runs")
    }

    pub async fn stop(&mut self) {
        if let Some(host) = self.host.take() {
            host.stop().await;
        }
    }

    /// Stops the host and starts it on the same files.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        self.boot().await
    }

    /// From the next start on nobody answers for this origin (`https://api.telegram.org`).
    pub fn cut_off(&mut self, origin: &str) {
        self.cut_off = Some(origin.to_owned());
    }

    /// Ends [`Bridge::cut_off`] with the next start.
    pub fn reconnect(&mut self) {
        self.cut_off = None;
    }

    /// One call of the API, with the operator's key.
    pub async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        self.api_keyed(method, path, body, None).await
    }

    pub async fn api_keyed(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<(u16, Value)> {
        let mut headers = vec![
            ("authorization".to_owned(), format!("Bearer {ADMIN_TOKEN}")),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        if let Some(key) = key {
            headers.push(("idempotency-key".to_owned(), key.to_owned()));
        }
        let url = format!("http://{}{path}", self.host().addr);
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let reply = self.world.scene().client().call(method, &url, &headers, bytes).await?;
        let value = if reply.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&reply.body).unwrap_or_else(|_| Value::String(reply.text()))
        };
        Ok((reply.status, value))
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.api(Method::GET, path, None).await?;
        ensure!(status == 200, "GET {path} answered {status}: {body}");
        Ok(body)
    }

    /// Connects the stand-in workspace; answers with its id.
    pub async fn connect_workspace(&self) -> Result<String> {
        let body = json!({"platform": "intercom", "access_token": self.workspace().token()});
        let (status, answer) = self.api(Method::POST, "/api/v1/workspaces", Some(&body)).await?;
        ensure!(status == 201, "connecting the workspace answered {status}: {answer}");
        text(&answer, "id")
    }

    pub async fn try_connect(&self, workspace: &str, plugin: &str, fields: &Value) -> Result<(u16, Value)> {
        let body = json!({"plugin": plugin, "name": format!("{plugin} line"), "fields": fields});
        let path = format!("/api/v1/workspaces/{workspace}/channels");
        self.api(Method::POST, &path, Some(&body)).await
    }

    pub async fn connect(&self, workspace: &str, plugin: &str, fields: Value) -> Result<Channel> {
        let (status, body) = self.try_connect(workspace, plugin, &fields).await?;
        ensure!(status == 201, "connecting {plugin} answered {status}: {body}");
        Ok(Channel {
            id: text(&body, "id")?,
            body,
        })
    }

    #[must_use]
    pub fn whatsapp_fields(&self) -> Value {
        let setup = self.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID).setup();
        json!({"phone_number_id": setup.phone_number_id, "business_account_id": setup.business_account_id,
            "access_token": setup.access_token, "app_secret": setup.app_secret, "verify_token": VERIFY_TOKEN})
    }

    #[must_use]
    pub fn sms_fields(&self) -> Value {
        self.world
            .twilio
            .account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN)
            .add_number(twilio::NUMBER);
        json!({"account_sid": twilio::ACCOUNT_SID, "auth_token": twilio::AUTH_TOKEN, "from": twilio::NUMBER})
    }

    /// The Intercom workspace of the world.
    #[must_use]
    pub fn workspace(&self) -> Workspace {
        self.world.intercom.workspace(intercom::WORKSPACE)
    }

    /// The teammate whose token the host has.
    #[must_use]
    pub fn teammate(&self) -> Teammate {
        self.workspace().admin(intercom::ADMIN)
    }

    #[must_use]
    pub fn telegram_customer(&self, id: i64) -> telegram::Customer {
        self.world.telegram.bot(telegram::TOKEN).customer(id)
    }

    #[must_use]
    pub fn whatsapp_customer(&self, wa_id: &str) -> whatsapp::Customer {
        self.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID).customer(wa_id)
    }

    #[must_use]
    pub fn sms_customer(&self, phone: &str) -> twilio::Customer {
        self.world
            .twilio
            .account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN)
            .customer(phone, twilio::NUMBER)
    }

    /// Moves the host's clock and the world's.
    pub fn advance(&self, by: Duration) {
        use mantle_model::clock::Clock;
        self.clock.advance(by);
        self.world.scene().set_clock(Some(self.clock.now().unix_ms()));
    }

    /// Waits until the world shows it.
    pub async fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
        self.world.scene().until(what, PATIENCE, look).await
    }

    /// Waits until nothing is left to do: every event has ended. The clock is moved over the pauses that providers ask
    /// for between two messages to one person, over the wait for a write of ours whose echo came first, and over no
    /// longer wait.
    pub async fn quiet(&self) -> Result<()> {
        const PAUSE: Duration = Duration::from_secs(2);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let left = self.host().store.backlog().await?;
            if left == 0 {
                return Ok(());
            }
            if let Some(pause) = self.next_wait().await?.filter(|pause| *pause <= PAUSE) {
                self.advance(pause);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{left} events have not ended: see the trace of the messages");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How long all that is left to do waits by the clock; None while anything is in work.
    async fn next_wait(&self) -> Result<Option<Duration>> {
        use mantle_model::clock::Clock;
        let (store, now) = (&self.host().store, self.clock.now());
        let next = store.next_ready().await?.filter(|at| *at > now);
        Ok(next.filter(|_| store.lanes_in_work() == 0).map(|at| at.since(now)))
    }

    /// Waits until no more than so many events have not ended.
    pub async fn at_most(&self, waiting: u64) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let left = self.host().store.backlog().await?;
            if left <= waiting {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{left} events have not ended: see the trace of the messages");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until all that is left to do waits for a later time of the clock; answers how much that is.
    pub async fn at_rest(&self) -> Result<u64> {
        use mantle_model::clock::Clock;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.host().flow.settle().await?;
            let left = self.host().store.backlog().await?;
            // A lane that a worker holds has no time to be seen, whatever the other lanes show.
            let idle = self.host().store.lanes_in_work() == 0;
            let next = self.host().store.next_ready().await?;
            if left == 0 || (idle && next.is_some_and(|at| at > self.clock.now())) {
                return Ok(left);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{left} events are still being worked on");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until nothing is left to do, moving the clock over short waits: for a write that is under way, for a
    /// send without its answer.
    pub async fn calm(&self) -> Result<()> {
        const STEP: Duration = Duration::from_secs(3);
        const STEPS: u32 = 20;
        for _ in 0..STEPS {
            if self.at_rest().await? == 0 {
                return Ok(());
            }
            self.advance(STEP);
        }
        bail!("events still wait after {} s", (STEP * STEPS).as_secs())
    }

    /// The only conversation there is.
    pub fn only_conversation(&self) -> Result<Conversation> {
        let mut all = self.workspace().conversations();
        ensure!(all.len() == 1, "there are {} conversations", all.len());
        all.pop().context("no conversation")
    }

    /// The world found nothing that a provider's document forbids.
    pub fn assert_lawful(&self) -> Result<()> {
        let violations = self.world.violations();
        ensure!(violations.is_empty(), "calls against the documents: {violations:#?}");
        Ok(())
    }
}

/// A workspace and one channel of each connector.
pub struct Channels {
    pub workspace: String,
    pub telegram: Channel,
    pub whatsapp: Channel,
    pub sms: Channel,
}

#[must_use]
pub fn telegram_fields() -> Value {
    json!({"bot_token": telegram::TOKEN})
}

/// The text at this key of an answer.
pub fn text(body: &Value, key: &str) -> Result<String> {
    let found = body[key]
        .as_str()
        .with_context(|| format!("no text at `{key}` in {body}"))?;
    Ok(found.to_owned())
}

/// The connectors, built once in the life of the process.
async fn components() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = tokio::task::spawn_blocking(|| {
        BUILT
            .get_or_init(|| mantle_components::build().map_err(|error| format!("{error:#}")))
            .clone()
    });
    built.await?.map_err(anyhow::Error::msg)
}

/// Compiled components are the same for every test: they share one folder, so that each is compiled once.
fn share_compiled(data: &Path) -> Result<()> {
    let shared = mantle_components::workspace_root().join("target/it-compiled");
    let private = |path: &Path| {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    };
    private(&shared)?;
    private(data)?;
    let link = data.join("compiled");
    if !link.exists() {
        std::os::unix::fs::symlink(&shared, &link)?;
    }
    Ok(())
}
