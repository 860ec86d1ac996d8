//! A host in this process with one WhatsApp number, as `mantle serve` would run it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Method;
use mantle_app::config;
use mantle_app::host::{Host, Running, Surroundings};
use mantle_model::clock::{Clock, SystemClock};
use mantle_model::secret::Secret;
use mantle_store::ledger::Ledger;
use mantle_world::{World, whatsapp};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hooks::Writer;
use crate::inbox::Inbox;
use crate::load::Target;

const PUBLIC_URL: &str = "https://bridge.test";
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";
const VERIFY_TOKEN: &str = "bench-verify-token-0123456789";
const INTERCOM: &str = "https://api.intercom.io";
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The connected host with its surroundings; its files are gone when it is dropped.
pub struct Stage {
    pub inbox: Inbox,
    host: Running,
    channel: String,
    writer: Writer,
    folder: TempDir,
    _world: World,
}

impl Stage {
    /// `folder` decides which disk is measured.
    pub async fn start(folder: &Path) -> Result<Self> {
        let component = component().await?;
        let folder = private_folder(folder)?;
        let (world, inbox) = (World::start().await?, Inbox::start()?);
        let number = world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
        let file = folder.path().join("plugins.toml");
        std::fs::write(&file, configuration(&component, &world, &inbox)?)?;
        share_compiled(&folder.path().join("data"))?;
        let config = config::load(&file, &config::process_environment)?;
        let surroundings = Surroundings {
            admin_token: Some(Secret::new(ADMIN_TOKEN.to_owned())),
            ..Surroundings::default()
        };
        let host = Host::start(config, surroundings).await?;
        world.deliver_to(PUBLIC_URL, host.addr);
        let setup = number.setup();
        let fields = json!({"phone_number_id": setup.phone_number_id, "business_account_id": setup.business_account_id,
            "access_token": setup.access_token, "app_secret": setup.app_secret, "verify_token": VERIFY_TOKEN});
        let workspace = json!({"platform": "intercom", "access_token": "bench"});
        let workspace = made(&world, &host, "/api/v1/workspaces", &workspace).await?;
        let path = format!("/api/v1/workspaces/{workspace}/channels");
        let channel = json!({"plugin": "whatsapp", "name": "Bench line", "fields": fields});
        let channel = made(&world, &host, &path, &channel).await?;
        Ok(Self {
            inbox,
            host,
            channel,
            writer: Writer::new(setup, SystemClock.now().unix_seconds()),
            folder,
            _world: world,
        })
    }

    /// The folder of the database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn target(&self) -> Target {
        Target {
            addr: self.host.addr,
            path: format!("/hooks/whatsapp/{}", self.channel),
            writer: self.writer.clone(),
        }
    }

    /// Events that are stored and have not ended.
    pub async fn backlog(&self) -> Result<u64> {
        Ok(self.host.store.backlog().await?)
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

    pub async fn stop(self) {
        self.host.stop().await;
    }
}

/// Makes something over the API; answers with its id.
async fn made(world: &World, host: &Running, path: &str, body: &Value) -> Result<String> {
    let headers = [
        ("authorization".to_owned(), format!("Bearer {ADMIN_TOKEN}")),
        ("content-type".to_owned(), "application/json".to_owned()),
    ];
    let url = format!("http://{}{path}", host.addr);
    let bytes = Bytes::from(body.to_string());
    let answer = world.scene().client().call(Method::POST, &url, &headers, bytes).await?;
    ensure!(
        answer.status == 201,
        "POST {path} answered {}: {}",
        answer.status,
        answer.text()
    );
    let answer: Value = serde_json::from_slice(&answer.body)?;
    let id = answer["id"].as_str().context("an answer without an id")?;
    Ok(id.to_owned())
}

fn configuration(component: &Path, world: &World, inbox: &Inbox) -> Result<String> {
    let component = serde_json::to_string(component)?;
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{PUBLIC_URL}\"\ndata_dir = \"data\"\n\
         [database]\nurl = \"sqlite:data/mantle.db\"\n[secrets]\nkey_file = \"data/secret.key\"\n\
         [inbox.intercom]\nclient_secret = \"bench-client-secret\"\n\
         [plugins.whatsapp]\ncomponent = {component}\ngrants = \"asked\"\n[egress.redirect]\n"
    );
    for (from, to) in world.redirects() {
        let to = if from == INTERCOM {
            format!("http://{}", inbox.addr)
        } else {
            to.clone()
        };
        text.push_str(&format!("\"{from}\" = \"{to}\"\n"));
    }
    Ok(text)
}

/// The connector as it is shipped, built now if it is not.
pub async fn component() -> Result<PathBuf> {
    let built = tokio::task::spawn_blocking(mantle_components::build).await??;
    Ok(built.join("whatsapp.wasm"))
}

/// A new folder below this one, which is made where it is missing.
fn private_folder(below: &Path) -> Result<TempDir> {
    std::fs::create_dir_all(below).with_context(|| format!("making {}", below.display()))?;
    Ok(tempfile::Builder::new().prefix("mantle-bench-").tempdir_in(below)?)
}

/// Compiled components outlive a run: compiling is not what is measured.
fn share_compiled(data: &Path) -> Result<()> {
    let shared = compiled_folder()?;
    make_private(data)?;
    std::os::unix::fs::symlink(shared, data.join("compiled"))?;
    Ok(())
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
