//! What must be looked after beside the lanes: hooks that could not be read, replies that nobody told, and how
//! channels fare.

use std::time::Duration;

use mantle_store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::{Flow, channels, inbound, sweep, worker};

/// How often kept hooks are looked through; their own times say when each is due.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(2);
/// How often it is asked whether a workspace is to be looked through for lost replies.
const SWEEP_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often each channel is checked at its provider.
const CHECK_EVERY: Duration = Duration::from_secs(5 * 60);
/// Hooks read again in one go.
const HOOKS_AT_ONCE: u32 = 50;

pub(crate) async fn run(flow: &Flow, soft: &CancellationToken) {
    let hooks = async {
        while !soft.is_cancelled() {
            worker::pause(soft, READ_AGAIN_EVERY).await;
            if let Err(error) = read_again(flow).await {
                tracing::error!(%error, "Kept hooks could not be looked through");
            }
        }
    };
    let checks = async {
        while !soft.is_cancelled() {
            worker::pause(soft, CHECK_EVERY).await;
            check_channels(flow, soft).await;
        }
    };
    let sweeps = async {
        while !soft.is_cancelled() {
            sweep::run_due(flow).await;
            worker::pause(soft, SWEEP_LOOK_EVERY).await;
        }
    };
    tokio::join!(hooks, checks, sweeps);
}

/// Reads the kept hooks that are due. One that cannot be stored delays none of the others.
pub(crate) async fn read_again(flow: &Flow) -> Result<(), StoreError> {
    for kept in flow.store().unparsed(flow.now(), HOOKS_AT_ONCE).await? {
        let id = kept.id;
        if let Err(error) = inbound::read_again(flow, kept).await {
            tracing::error!(receipt.id = %id, %error, "A kept hook could not be dealt with");
        }
    }
    Ok(())
}

async fn check_channels(flow: &Flow, soft: &CancellationToken) {
    for channel in flow.directory().channels() {
        if soft.is_cancelled() {
            return;
        }
        if let Err(error) = channels::check(flow, channel.id).await {
            tracing::warn!(channel.id = %channel.id, %error, "A channel could not be checked");
        }
    }
}
