//! The host as a child process: build, configure, start, ask, stop.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Method;
use mantle_world::{Client, World};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::tell;

/// What providers and the inbox believe that the host is called.
pub const PUBLIC_URL: &str = "https://bridge.test";
/// The first start compiles the connectors; a debug build on a busy machine takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const START_POLL: Duration = Duration::from_millis(100);
/// How long the host may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of the host's log that are shown when something went wrong.
const LOG_LINES: usize = 40;

/// Builds connectors and host, and answers with the host's binary.
pub async fn build() -> anyhow::Result<PathBuf> {
    let started = Instant::now();
    let names = mantle_components::connector_names()?.join(", ");
    tell::step(&format!("Building connectors: {names}"));
    tokio::task::spawn_blocking(mantle_components::build).await??;
    tell::step("Building the host (the first time takes some minutes: the sandbox's compiler is compiled as well)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command
        .current_dir(mantle_components::workspace_root())
        .args(["build", "--locked", "--bin", "mantle"]);
    mantle_components::without_outer_cargo(&mut command);
    let status = Command::from(command).status().await.context("starting cargo")?;
    if !status.success() {
        bail!("`cargo build --bin mantle` failed: see its output above");
    }
    let here = std::env::current_exe().context("finding the demo's own binary")?;
    let binary = here.with_file_name(format!("mantle{}", std::env::consts::EXE_SUFFIX));
    if !binary.is_file() {
        bail!("cargo built the host elsewhere than at {}", binary.display());
    }
    tell::note(&format!("built in {:.1} s", started.elapsed().as_secs_f32()));
    Ok(binary)
}

/// A running host. Its files are gone when this is dropped.
pub struct Host {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
    admin_token: String,
    client: Client,
}

impl Host {
    pub async fn start(binary: &Path, world: &World) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mantle-demo-")
            .tempdir()
            .context("making a temporary folder")?;
        let address = free_address()?;
        let config = folder.path().join("plugins.toml");
        std::fs::write(&config, configuration(world, address)?).context("writing plugins.toml")?;
        let log = std::fs::File::create(folder.path().join("host.log")).context("making the log file")?;
        let admin_token = format!("demo-{}", hex::encode(std::process::id().to_be_bytes()));
        tell::step("Starting the host on an embedded SQLite file");
        let child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&config)
            .current_dir(folder.path())
            .env("MANTLE_ADMIN_TOKEN", &admin_token)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        world.deliver_to(PUBLIC_URL, address);
        let mut host = Self {
            child,
            folder,
            address,
            admin_token,
            client: world.scene().client().clone(),
        };
        if let Err(error) = host.wait_until_ready().await {
            host.show_log();
            host.stop().await;
            return Err(error);
        }
        tell::note(&format!(
            "http://{address}, public as {PUBLIC_URL}, files in {}",
            host.folder.path().display()
        ));
        Ok(host)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let url = format!("http://{}/readyz", self.address);
        loop {
            if let Some(status) = self.child.try_wait().context("watching the host")? {
                bail!("the host ended at once ({status})");
            }
            let answer = self.client.call(Method::GET, &url, &[], Bytes::new()).await;
            if answer.is_ok_and(|answer| answer.is_good()) {
                return Ok(());
            }
            if started.elapsed() > START_TIMEOUT {
                bail!("the host was not ready within {} s", START_TIMEOUT.as_secs());
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// One call of the host's API.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let headers = [
            ("authorization".to_owned(), format!("Bearer {}", self.admin_token)),
            ("content-type".to_owned(), "application/json".to_owned()),
            (
                "idempotency-key".to_owned(),
                format!("demo-{path}-{}", body["plugin"].as_str().unwrap_or("workspace")),
            ),
        ];
        let url = format!("http://{}{path}", self.address);
        let answer = self
            .client
            .call(Method::POST, &url, &headers, body.to_string().into())
            .await?;
        if !answer.is_good() {
            bail!("POST {path} answered {}: {}", answer.status, answer.text());
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("POST {path} answered something else than JSON"))
    }

    /// The end of the host's log, on the terminal.
    pub fn show_log(&self) {
        let text = std::fs::read_to_string(self.folder.path().join("host.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("\nThe last lines of the host's log:");
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            eprintln!("  {line}");
        }
    }

    /// Asks the host to end, and ends it where it does not.
    pub async fn stop(&mut self) {
        if let Some(id) = self.child.id() {
            // The standard library has no way to send a signal other than kill.
            let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// A port that nobody listens on at this moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    listener.local_addr().context("looking for a free port")
}

fn configuration(world: &World, address: SocketAddr) -> anyhow::Result<String> {
    let folder = mantle_components::workspace_root().join("connectors");
    let secret = world.intercom.client_secret();
    let mut text = format!(
        "[server]\nlisten = \"{address}\"\npublic_url = \"{PUBLIC_URL}\"\ndata_dir = \"data\"\n\n\
         [database]\nurl = \"sqlite:data/mantle.db\"\n\n[secrets]\nkey_file = \"data/secret.key\"\n\n\
         [inbox.intercom]\nclient_secret = \"{secret}\"\n\n"
    );
    for name in mantle_components::connector_names()? {
        let file = serde_json::to_string(&folder.join(format!("{name}.wasm")))?;
        text.push_str(&format!("[plugins.{name}]\ncomponent = {file}\ngrants = \"asked\"\n\n"));
    }
    text.push_str(&world.redirects_toml());
    Ok(text)
}
