//! What differs from row to row, and the files that a host is started with.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use mantle_store::testing::cluster::{self, TestDatabase};
use mantle_world::World;

use crate::process::{Log, Start};
use crate::stage::{ADMIN_TOKEN, PUBLIC_URL};

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
    /// Several hosts share this one. Otherwise there is one host with a file of its own.
    pub database: Option<TestDatabase>,
    /// How each host reaches the shared database, the first one first.
    pub roads: Vec<String>,
    /// Enabled beside Telegram.
    pub plugins: &'static [&'static str],
    /// The host finds its socket open, as a service manager hands it on.
    pub socket: bool,
}

impl Setup {
    /// So many hosts on this database.
    pub fn hosts(database: &TestDatabase, hosts: usize) -> Self {
        Self {
            database: Some(database.clone()),
            roads: vec![database.url.clone(); hosts],
            ..Self::default()
        }
    }

    /// What each host is started with, in folders below this one.
    pub async fn seats(&self, world: &World, folder: &Path, disk: &[(String, String)]) -> Result<Vec<(Start, Log)>> {
        let components = components().await?;
        let mut seats = Vec::new();
        for number in 0..self.roads.len().max(1) {
            let data = self.data(folder, number);
            let config = folder.join(format!("plugins-{number}.toml"));
            std::fs::write(&config, self.configuration(world, (folder, number), &components)?)?;
            share_compiled(&data)?;
            let mut variables = vec![
                ("MANTLE_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
                ("MANTLE_FAILPOINTS".to_owned(), self.failpoints.to_owned()),
            ];
            variables.extend_from_slice(disk);
            variables.extend_from_slice(&self.variables);
            let socket = self.socket.then(|| TcpListener::bind(("127.0.0.1", 0))).transpose()?;
            let socket = socket.map(Arc::new);
            seats.push((
                Start {
                    config,
                    variables,
                    socket,
                },
                Log::default(),
            ));
        }
        Ok(seats)
    }

    pub fn data(&self, folder: &Path, number: usize) -> PathBuf {
        self.data_dir
            .clone()
            .unwrap_or_else(|| folder.join(format!("data-{number}")))
    }

    fn configuration(&self, world: &World, (folder, number): (&Path, usize), components: &Path) -> Result<String> {
        let quoted = |path: &Path| serde_json::to_string(path);
        let data = self.data(folder, number);
        let own = format!("sqlite:{}", data.join("mantle.db").display());
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\npublic_url = \"{PUBLIC_URL}\"\ndata_dir = {}\n\
             [database]\nurl = \"{}\"\n[secrets]\nkey_file = \"secret.key\"\n\
             [inbox.intercom]\nclient_secret = \"{}\"\n",
            quoted(&data)?,
            self.roads.get(number).unwrap_or(&own),
            world.intercom.client_secret(),
        );
        for name in std::iter::once(&"telegram").chain(self.plugins) {
            let component = quoted(&components.join(format!("{name}.wasm")))?;
            text.push_str(&format!(
                "[plugins.{name}]\ncomponent = {component}\ngrants = \"asked\"\n"
            ));
        }
        text.push_str("[egress.redirect]\n");
        for (from, to) in world.redirects() {
            let detour = self.detours.iter().find(|(origin, _)| origin == from);
            let to = detour.map_or(to, |(_, detour)| detour);
            text.push_str(&format!("\"{from}\" = \"{to}\"\n"));
        }
        Ok(text)
    }
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

/// An empty database of this run's server. None where there is no PostgreSQL.
pub async fn database() -> Result<Option<TestDatabase>> {
    match cluster::shared()? {
        Some(cluster) => Ok(Some(cluster.database().await?)),
        None => Ok(None),
    }
}
