//! The running host: rooms made and joined, the configuration followed while it changes, an orderly end.
//!
//! Invariants: a configuration that cannot be used changes nothing; a plugin that fails stops no other; the end goes
//! from the outside in: no more connections, then no more work, then what was begun is finished or given back.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use mantle_egress::{Egress, EgressConfig, EgressError};
use mantle_flow::connector::Catalog;
use mantle_flow::metrics::Metrics;
use mantle_flow::shelf::StoreShelf;
use mantle_flow::upkeep::{self, Retention};
use mantle_flow::{Flow, FlowParts, outage, restored, worker};
use mantle_inbox::Inbox;
use mantle_inbox::intercom::{Intercom, IntercomConfig};
use mantle_model::clock::{Clock, SystemClock, Time};
use mantle_model::ids::{ChannelId, IdSource};
use mantle_model::secret::Secret;
use mantle_sandbox::{Compiler, Shelf};
use mantle_store::database::SqlStore;
use mantle_store::directory::{Directory, Platform};
use mantle_store::keyed::Keyed;
use mantle_store::seal::Key;
use mantle_store::{Database, Store, StoreConfig};
use mantle_web::desk::{Configuration, Desk};
use mantle_web::figures::StoreFigures;
use mantle_web::media::MediaLinks;
use mantle_web::metrics::HttpMetrics;
use mantle_web::resend::ResendLinks;
use mantle_web::server::{Stop, serve};
use mantle_web::{Beat, Front, Pulse};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::{Duty, LiveCatalog, Workshop};
use crate::commits::CommitMetrics;
use crate::config::{self, ConfigError, Fixed, HostConfig, Live, Problem};
use crate::desk::{HostDesk, pins};
use crate::places;
use crate::systemd;
use crate::watch::Watch;

/// How often a small write proves that the disk takes messages.
const PULSE_EVERY: Duration = Duration::from_secs(2);
/// The channel under which that write lies: none that exists.
const PULSE_CHANNEL: ChannelId = ChannelId(0);
const PULSE_KEY: &str = "pulse";
/// From the word to stop until the host has stopped: requests and turns under way may take so long to end; what has
/// not ended then is dropped and found again at the next start. Below the 30 s that Kubernetes grants by default.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(25);

/// The value of an environment variable, if it is set.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the host takes from the process it runs in, so that tests can give something else.
#[derive(Clone)]
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    /// Where `{ env = … }` secrets come from.
    pub environment: Variables,
    /// `MANTLE_ADMIN_TOKEN`
    pub admin_token: Option<Secret>,
    /// What makes machine code of connectors.
    pub compiler: Compiler,
}

impl Default for Surroundings {
    /// The machine's clock, the process's environment, a closed API; compiles in this process.
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            environment: Arc::new(config::process_environment),
            admin_token: None,
            compiler: Compiler::inside(),
        }
    }
}

/// Starts hosts.
pub struct Host;

impl Host {
    /// Makes all rooms, listens, and works. Port 0 in the configuration takes a free one.
    ///
    /// # Errors
    /// The address is taken, the database cannot be used, the sandbox cannot be built: each names the place.
    /// A refused plugin is no error.
    pub async fn start(config: HostConfig, surroundings: Surroundings) -> Result<Running> {
        let listener = TcpListener::bind(config.fixed.listen)
            .await
            .map_err(|error| anyhow::anyhow!(places::not_listening(config.fixed.listen, &error)))?;
        Self::start_on(listener, config, surroundings).await
    }

    /// The same on a socket that is open already, whatever the configuration says of the address.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub async fn start_on(listener: TcpListener, config: HostConfig, surroundings: Surroundings) -> Result<Running> {
        // The one choice of cryptography in the process; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let addr = listener.local_addr().context("The address listened at is unknown")?;
        let public_url = config
            .fixed
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{addr}"));
        let rooms = Rooms::make(&config, &surroundings, &public_url).await?;
        restored::reconcile(&rooms.flow)
            .await
            .context("What a restore left in doubt could not be written down, so no work may begin")?;
        outage::look_back(&rooms.flow, last_beat(&rooms.store, &surroundings).await?)
            .await
            .context("What an earlier stop may have cost could not be written down")?;
        tracing::info!(
            "Mantle {} listens at {addr}, known as {public_url}",
            env!("CARGO_PKG_VERSION")
        );
        systemd::notify("READY=1");
        Ok(Running::begin(config, surroundings, rooms, listener, addr))
    }
}

/// Everything that is made once.
struct Rooms {
    flow: Arc<Flow>,
    store: Arc<SqlStore>,
    front: Arc<Front>,
    live: Arc<LiveParts>,
    /// Rung when a provider has renewed a secret.
    renewed: Arc<Notify>,
}

/// What follows the configuration while the host runs.
struct LiveParts {
    catalog: Arc<LiveCatalog>,
    intercom: Arc<Intercom>,
    configuration: Arc<ArcSwap<Configuration>>,
}

impl Rooms {
    async fn make(config: &HostConfig, surroundings: &Surroundings, public_url: &str) -> Result<Self> {
        let clock = &surroundings.clock;
        let ids = Arc::new(IdSource::new().context("The operating system gives no random numbers")?);
        let (store, key) = open_store(&config.fixed, clock, &ids).await?;
        let links = MediaLinks::new(key.derive("media links"), public_url, Arc::clone(clock));
        let resends = ResendLinks::new(key.derive("resend links"), public_url, Arc::clone(clock));
        let maker = links.clone();
        let resend_maker = resends.clone();
        let shelf = Arc::new(StoreShelf {
            store: Arc::clone(&store) as Arc<dyn Store>,
            files: store.files().clone(),
            clock: Arc::clone(clock),
            ids: Arc::clone(&ids),
            link: Arc::new(move |id| maker.link(id)),
            renewed: Arc::default(),
        });
        let catalog = loaded(config, surroundings, Arc::clone(&shelf) as Arc<dyn Shelf>).await?;
        let app = intercom_app(&config.live).context("Calls to Intercom cannot be made")?;
        let intercom = Arc::new(Intercom::new(app, Arc::clone(clock)));
        let mut registry = Registry::default();
        let http = HttpMetrics::register(&mut registry);
        let figures = StoreFigures::register(&mut registry);
        CommitMetrics::register(&mut registry).watch(&store);
        let flow = Flow::open(FlowParts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            inboxes: HashMap::from([(Platform::Intercom, Arc::clone(&intercom) as Arc<dyn Inbox>)]),
            shelf: Arc::clone(&shelf) as Arc<dyn Shelf>,
            clock: Arc::clone(clock),
            ids,
            metrics: Metrics::register(&mut registry),
            chance: mantle_flow::retry::system_chance,
            public_url: public_url.to_owned(),
            resend_link: Arc::new(move |attempt| resend_maker.link(attempt)),
        })
        .await
        .context("The database cannot be read")?;
        let live = Arc::new(LiveParts {
            catalog,
            intercom,
            configuration: Arc::default(),
        });
        let renewed = Arc::clone(&shelf.renewed);
        let desk = HostDesk {
            flow: Arc::clone(&flow),
            catalog: Arc::clone(&live.catalog),
            shelf,
            configuration: Arc::clone(&live.configuration),
        };
        let front = Arc::new(Front {
            desk: Arc::new(desk) as Arc<dyn Desk>,
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::clone(clock),
            links,
            resends,
            admin_token: surroundings.admin_token.clone(),
            registry: Arc::new(registry),
            http,
            figures,
            backlog: Default::default(),
            pulse: Pulse::default(),
            tasks: TaskTracker::new(),
            admission: Arc::default(),
            under_way: Mutex::new(HashSet::new()),
        });
        Ok(Self {
            flow,
            store,
            front,
            live,
            renewed,
        })
    }
}

/// The plugins of the configuration; one that is refused stops no other.
async fn loaded(config: &HostConfig, surroundings: &Surroundings, shelf: Arc<dyn Shelf>) -> Result<Arc<LiveCatalog>> {
    let workshop = Workshop {
        data_dir: config.fixed.data_dir.clone(),
        compiler: surroundings.compiler.clone(),
        shelf,
        clock: Arc::clone(&surroundings.clock),
        duty: Duty::Keep,
    };
    let catalog = LiveCatalog::new(workshop, &config.live.redirects).context("The sandbox cannot be built")?;
    catalog
        .apply(&config.live)
        .await
        .context("The plugins cannot be loaded")?;
    Ok(Arc::new(catalog))
}

pub(crate) async fn open_store(
    fixed: &Fixed,
    clock: &Arc<dyn Clock>,
    ids: &Arc<IdSource>,
) -> Result<(Arc<SqlStore>, Key)> {
    places::prepare_folder("server.data_dir", &fixed.data_dir)?;
    if let Some(folder) = fixed.key_file.parent() {
        places::prepare_folder("secrets.key_file", folder)?;
    }
    if let Database::Sqlite(file) = &fixed.database
        && file.exists()
        && !fixed.key_file.exists()
    {
        // A new key would open nothing of what is there, and hide that the old one is missing.
        bail!(
            "`[secrets] key_file` {} is missing, and the database {} was sealed with it. Put it back from your backup; \
             without it no token can be read: to connect everything anew, move the database away first",
            fixed.key_file.display(),
            file.display()
        );
    }
    let key = Key::load_or_create(&fixed.key_file)?;
    let store = SqlStore::open(StoreConfig {
        database: fixed.database.clone(),
        data_dir: fixed.data_dir.clone(),
        key: key.clone(),
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
    })
    .await
    .with_context(|| format!("The database {} cannot be used", fixed.database))?;
    Ok((store, key))
}

/// A host at work. Dropping it without [`Running::stop`] leaves its tasks to the runtime.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    pub flow: Arc<Flow>,
    /// For reading what it has stored, in tests and tools.
    pub store: Arc<SqlStore>,
    stop: Stop,
    /// Ends the worker, the watch and the pulse.
    rest: CancellationToken,
    front: Arc<Front>,
    server: JoinHandle<()>,
    worker: JoinHandle<()>,
    tasks: TaskTracker,
    reload: Arc<Reload>,
    failed: Arc<Notify>,
}

impl Running {
    fn begin(
        config: HostConfig,
        surroundings: Surroundings,
        rooms: Rooms,
        listener: TcpListener,
        addr: SocketAddr,
    ) -> Self {
        let Rooms {
            flow,
            store,
            front,
            live,
            renewed,
        } = rooms;
        let (stop, rest, failed) = (Stop::default(), CancellationToken::new(), Arc::new(Notify::new()));
        let tasks = TaskTracker::new();
        let router = mantle_web::router(Arc::clone(&front));
        let server = tokio::spawn(watched(
            "the server",
            Arc::clone(&failed),
            serve(listener, router, stop.clone()),
        ));
        let work = worker::run(Arc::clone(&flow), rest.clone(), stop.force.clone());
        let worker = tokio::spawn(watched("the worker", Arc::clone(&failed), work));
        let beat = Heart {
            front: Arc::clone(&front),
            flow: Arc::clone(&flow),
            store: Arc::clone(&store),
            data_dir: config.fixed.data_dir.clone(),
        };
        tasks.spawn(beat.beat_until(rest.clone()));
        tasks.spawn(watch_backlog(Arc::clone(&front), rest.clone()));
        tasks.spawn(look_after(Arc::clone(&flow), config.fixed.retention, rest.clone()));
        tasks.spawn(follow_directory(
            Arc::clone(&flow),
            Arc::clone(&store),
            renewed,
            rest.clone(),
        ));
        tasks.spawn(follow_versions(
            Arc::clone(&live.catalog),
            Arc::clone(&flow),
            rest.clone(),
        ));
        tasks.spawn(follow_sources(Arc::clone(&live.catalog), rest.clone()));
        let files = watched_files(&config);
        let reload = Arc::new(Reload {
            file: config.file,
            fixed: config.fixed,
            surroundings,
            live,
            turn: tokio::sync::Mutex::default(),
        });
        tasks.spawn(follow(Arc::clone(&reload), Watch::new(files), rest.clone()));
        Self {
            addr,
            flow,
            store,
            stop,
            rest,
            front,
            server,
            worker,
            tasks,
            reload,
            failed,
        }
    }

    /// Reads the configuration again and takes it on, as after a change of the file.
    pub async fn reload(&self) {
        self.reload.now().await;
    }

    /// Cancelling it ends what is under way at once.
    #[must_use]
    pub fn force(&self) -> CancellationToken {
        self.stop.force.clone()
    }

    /// Resolves when a part has ended that ends only when told.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }

    /// From the outside in: no more connections, requests end, work under way ends or is given back. What has not
    /// ended within [`DRAIN_TIME_MAX`], or when it is forced, is dropped and found again at the next start.
    pub async fn stop(self) {
        self.front.pulse.drain();
        // Whoever reads this may rely on it.
        tracing::info!("Stopping: no more connections");
        systemd::notify("STOPPING=1");
        let force = self.stop.force.clone();
        let late = tokio::spawn({
            let force = force.clone();
            async move {
                tokio::time::sleep(DRAIN_TIME_MAX).await;
                tracing::warn!("Not all has ended within {DRAIN_TIME_MAX:?}; the rest is dropped and found again");
                force.cancel();
            }
        });
        self.stop.stop.cancel();
        let _ = self.server.await;
        unless(&force, async {
            self.front.tasks.close();
            self.front.tasks.wait().await;
            self.flow.drain().await;
        })
        .await;
        self.rest.cancel();
        self.tasks.close();
        // Each of them ends at the word; the worker ends its turns, or drops them when it is forced.
        unless(&force, self.tasks.wait()).await;
        let _ = self.worker.await;
        late.abort();
        tracing::info!("Stopped");
    }
}

/// Waits for it, but not when the end is forced.
async fn unless(force: &CancellationToken, ended: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = force.cancelled() => {}
        () = ended => {}
    }
}

async fn look_after(flow: Arc<Flow>, retention: Retention, rest: CancellationToken) {
    upkeep::run(&flow, retention, rest).await;
}

/// A part that crashes or ends early stops the process rather than leaving half a host.
async fn watched(what: &'static str, failed: Arc<Notify>, part: impl Future<Output = ()>) {
    struct Guard(&'static str, Arc<Notify>, bool);
    impl Drop for Guard {
        fn drop(&mut self) {
            if self.2 {
                tracing::error!("{} ended although nobody stopped it", self.0);
                self.1.notify_one();
            }
        }
    }
    let mut guard = Guard(what, failed, true);
    part.await;
    guard.2 = false;
}

/// The wait before workspaces and channels are asked for again when the database did not answer.
const DIRECTORY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Takes on what other hosts of the database change about workspaces and channels, and secrets that providers renew for
/// this one.
async fn follow_directory(flow: Arc<Flow>, store: Arc<SqlStore>, renewed: Arc<Notify>, rest: CancellationToken) {
    let mut known = 0;
    loop {
        let changed = tokio::select! {
            biased;
            () = rest.cancelled() => return,
            () = renewed.notified() => Ok(known),
            changed = store.changed_elsewhere(known) => changed,
        };
        let followed = match changed {
            Ok(no) => flow.refresh().await.map(|()| known = no),
            Err(error) => Err(error),
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "What other hosts changed cannot be read yet: {error}");
            tokio::select! {
                biased;
                () = rest.cancelled() => return,
                () = tokio::time::sleep(DIRECTORY_AGAIN_AFTER) => {}
            }
        }
    }
}

/// How often trials of new versions are looked at when none has rung.
const VERSIONS_EVERY: Duration = Duration::from_secs(2);
/// How soon a component is fetched again that could not be had.
const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Takes on what became of versions on trial, and holds those that channels are pinned to.
async fn follow_versions(catalog: Arc<LiveCatalog>, flow: Arc<Flow>, rest: CancellationToken) {
    loop {
        catalog.settle().await;
        if let Err(error) = catalog.pin(pins(&flow)).await {
            tracing::debug!(%error, "A version that a channel is pinned to is not here, so it uses the current one");
        }
        tokio::select! {
            biased;
            () = rest.cancelled() => return,
            () = catalog.rings() => {}
            () = tokio::time::sleep(VERSIONS_EVERY) => {}
        }
    }
}

/// Fetches components from elsewhere, aside from what runs.
async fn follow_sources(catalog: Arc<LiveCatalog>, rest: CancellationToken) {
    loop {
        let work = async {
            catalog.fetch().await;
            // What failed is tried again after a while; what is new at once.
            if tokio::time::timeout(FETCH_AGAIN_AFTER, catalog.wants()).await.is_err() {
                catalog.fetch_again().await;
            }
        };
        tokio::select! {
            biased;
            () = rest.cancelled() => return,
            () = work => {}
        }
    }
}

/// Apart from the pulse, which must not wait for it.
async fn watch_backlog(front: Arc<Front>, rest: CancellationToken) {
    while !rest.is_cancelled() {
        front.watch_backlog().await;
        tokio::select! {
            biased;
            () = rest.cancelled() => {}
            () = tokio::time::sleep(PULSE_EVERY) => {}
        }
    }
}

/// When any host of the database was at work last.
async fn last_beat(store: &SqlStore, surroundings: &Surroundings) -> Result<Option<Time>> {
    let value = store.kv_get(PULSE_CHANNEL, PULSE_KEY, surroundings.clock.now()).await;
    let value = value.context("The database cannot be read")?;
    let at = value.and_then(|value| <[u8; 8]>::try_from(value).ok());
    Ok(at.map(|at| Time::from_unix_ms(i64::from_be_bytes(at))))
}

/// What shows every other second that the host is alive and able.
struct Heart {
    front: Arc<Front>,
    flow: Arc<Flow>,
    store: Arc<SqlStore>,
    data_dir: PathBuf,
}

impl Heart {
    async fn beat_until(self, rest: CancellationToken) {
        loop {
            let now = self.front.clock.now();
            let value = now.unix_ms().to_be_bytes();
            let write = self
                .store
                .kv_set(PULSE_CHANNEL, PULSE_KEY, None, Some(&value), None, now);
            let written = tokio::select! {
                biased;
                () = rest.cancelled() => return,
                written = write => written,
            };
            let well = written.is_ok();
            self.front.pulse.beat(Beat {
                written: written.map(drop).map_err(|error| format!("A write failed: {error}.")),
                worked: self.flow.worked_at(),
                disk_free: disk_free(&self.data_dir),
            });
            if well {
                systemd::notify("WATCHDOG=1");
            }
            tokio::select! {
                biased;
                () = rest.cancelled() => return,
                () = tokio::time::sleep(PULSE_EVERY) => {}
            }
        }
    }
}

/// Bytes that the host's user may still write; None: the system does not tell.
fn disk_free(folder: &std::path::Path) -> Option<u64> {
    let told = rustix::fs::statvfs(folder).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

/// How a changed configuration is taken on.
struct Reload {
    file: PathBuf,
    /// What the host was started with; a change of it waits for a restart.
    fixed: Fixed,
    surroundings: Surroundings,
    live: Arc<LiveParts>,
    turn: tokio::sync::Mutex<()>,
}

impl Reload {
    /// The files to watch from now on; None: the configuration could not be used.
    async fn now(&self) -> Option<Vec<PathBuf>> {
        let _one_at_a_time = self.turn.lock().await;
        let config = match self.read() {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("The configuration is refused, the one before stays in use:\n{error}");
                self.refuse(error.problems.iter().map(ToString::to_string).collect());
                return None;
            }
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if config.fixed != self.fixed {
            tracing::warn!("[server], [database] or [secrets] changed: that takes effect when the host is restarted");
        }
        let files = watched_files(&config);
        let taken = async {
            self.live.intercom.reconfigure(intercom_app(&config.live)?);
            self.live.catalog.apply(&config.live).await?;
            anyhow::Ok(())
        };
        match taken.await {
            Ok(()) => {
                self.refuse(Vec::new());
                tracing::info!("The configuration was read again and is in use");
            }
            Err(error) => {
                tracing::error!("The configuration cannot be taken on: {error:#}");
                self.refuse(vec![format!("{error:#}")]);
            }
        }
        Some(files)
    }

    /// A file that has become empty is one that is just being written, or was cut off: it takes no plugin away.
    fn read(&self) -> Result<HostConfig, ConfigError> {
        if std::fs::metadata(&self.file).is_ok_and(|file| file.len() == 0) {
            return Err(ConfigError {
                problems: vec![Problem {
                    file: self.file.clone(),
                    line: 0,
                    key: String::new(),
                    message: "The file is empty. Write it anew; to run without plugins, leave [server] in it."
                        .to_owned(),
                }],
            });
        }
        config::load(&self.file, &*self.surroundings.environment)
    }

    fn refuse(&self, problems: Vec<String>) {
        self.live.configuration.store(Arc::new(Configuration { problems }));
    }
}

fn watched_files(config: &HostConfig) -> Vec<PathBuf> {
    std::iter::once(config.file.clone())
        .chain(config.live.files.iter().cloned())
        .collect()
}

async fn follow(reload: Arc<Reload>, mut watch: Watch, rest: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = rest.cancelled() => return,
            () = watch.changed() => {}
        }
        if let Some(files) = reload.now().await {
            watch.look_at(files);
        }
    }
}

/// Intercom as the configuration in use has it.
fn intercom_app(live: &Live) -> Result<IntercomConfig, EgressError> {
    let egress = Egress::new(&EgressConfig {
        redirects: live.redirects.clone(),
    })?;
    Ok(IntercomConfig {
        client_secret: live.intercom.iter().map(|app| app.client_secret.clone()).collect(),
        egress: Arc::new(egress),
    })
}
