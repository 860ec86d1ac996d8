//! One host: started, ended and started again on the same files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mantle_app::config;
use mantle_app::host::{Host as App, Running, Surroundings};
use mantle_model::secret::Secret;

use super::{ADMIN_TOKEN, Program};
use crate::process::{AS_HOST, Launch, Process};

/// What it says: warnings, and where it listens. A line for each message would be measured too.
const LOG: &str = "warn,mantle_app=info";
/// The line that tells that it works, around its address.
const LISTENS_AT: &str = " listens at ";
const KNOWN_AS: &str = ", known as ";

pub struct Host {
    program: Program,
    /// Its `plugins.toml`.
    file: PathBuf,
    place: Option<Place>,
}

/// Where a running host lives.
pub enum Place {
    Inside(Running),
    Process(Process),
}

impl Host {
    pub fn new(program: Program, file: PathBuf) -> Self {
        Self {
            program,
            file,
            place: None,
        }
    }

    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    pub fn runs(&self) -> bool {
        self.place.is_some()
    }

    /// Answers with where it listens.
    pub async fn start(&mut self) -> Result<SocketAddr> {
        let (place, addr) = match &self.program {
            Program::Inside => {
                let config = config::load(&self.file, &config::process_environment)?;
                let surroundings = Surroundings {
                    admin_token: Some(Secret::new(ADMIN_TOKEN.to_owned())),
                    ..Surroundings::default()
                };
                let running = App::start(config, surroundings).await?;
                let addr = running.addr;
                (Place::Inside(running), addr)
            }
            Program::At(program) => {
                let (process, addr) = Process::start(&self.launch(program), listening).await?;
                (Place::Process(process), addr)
            }
        };
        self.place = Some(place);
        Ok(addr)
    }

    fn launch(&self, program: &Path) -> Launch {
        Launch {
            program: program.to_owned(),
            arguments: vec!["serve".into(), "--config".into(), self.file.clone().into_os_string()],
            variables: vec![
                ("MANTLE_ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
                ("MANTLE_LOG", LOG.to_owned()),
                (AS_HOST, "1".to_owned()),
            ],
            folder: self.file.parent().unwrap_or(Path::new("/")).to_owned(),
        }
    }

    pub async fn kill(&mut self) -> Result<()> {
        match self.place.take().context("the host does not run")? {
            Place::Process(process) => process.kill().await,
            Place::Inside(_) => bail!("a host in this process cannot be killed"),
        }
    }

    /// In an orderly way. One that does not run has been ended before.
    pub async fn stop(&mut self) -> Result<()> {
        match self.place.take() {
            Some(Place::Process(process)) => process.stop().await,
            Some(Place::Inside(running)) => {
                running.stop().await;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(LISTENS_AT)?;
    rest.split_once(KNOWN_AS)?.0.parse().ok()
}
