//! `mantle serve`: the host, until it is told to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use mantle_model::clock::Clock;
use mantle_model::secret::Secret;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::compiler;
use crate::config::{self, process_environment};
use crate::host::{Host, Surroundings};
use crate::{systemd, telemetry};

/// After a second signal the process ends within this, whatever still hangs.
const FORCED_TIME_MAX: Duration = Duration::from_secs(2);

pub(super) async fn run(file: &Path, clock: Arc<dyn Clock>) -> Result<bool> {
    telemetry::start();
    let config = config::load(file, &process_environment)?;
    let admin_token = process_environment("MANTLE_ADMIN_TOKEN").filter(|token| !token.is_empty());
    if admin_token.is_none() {
        tracing::warn!("MANTLE_ADMIN_TOKEN is not set, so the API is closed. Set it and start again to use the API");
    }
    let surroundings = Surroundings {
        clock,
        environment: Arc::new(process_environment),
        admin_token: admin_token.map(Secret::new),
        compiler: compiler::of_this_program(),
    };
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let mut reload = signal(SignalKind::hangup()).context("SIGHUP cannot be listened for")?;
    let running = match systemd::socket()? {
        None => Host::start(config, surroundings).await?,
        Some(socket) => Host::start_on(TcpListener::from_std(socket)?, config, surroundings).await?,
    };
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => running.reload().await,
            () = running.failed() => {
                running.stop().await;
                anyhow::bail!("A part of the host ended that never should; the log says which. Start it again.");
            }
        }
    }
    tracing::info!("Told to stop; a second signal forces it");
    let force = running.force();
    let stopping = running.stop();
    tokio::pin!(stopping);
    tokio::select! {
        () = &mut stopping => return Ok(true),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    force.cancel();
    // Everything that matters is on disk already: what is cut off here is found again at the next start.
    if tokio::time::timeout(FORCED_TIME_MAX, stopping).await.is_err() {
        tracing::warn!("Not all parts ended; the process ends without them");
    }
    anyhow::bail!(
        "The host was forced to stop before its work had ended. What was under way is found at the next start."
    )
}
