//! Whose account a channel is: each is connected once.
//!
//! A connector with a lifecycle asks the provider. Where nobody can be asked, the filled-in values stand for the
//! account, and only a genuine hook proves that they are right.

use mantle_sandbox::ProviderAccount;
use mantle_store::directory::{Channel, ChannelStatus};
use mantle_store::{Conflict, StoreError};
use tokio::sync::OwnedMutexGuard;

use super::{ChannelError, refused};
use crate::Flow;
use crate::connector::Connector;

pub(super) async fn identify(
    flow: &Flow,
    plugin: &dyn Connector,
    channel: &Channel,
) -> Result<ProviderAccount, ChannelError> {
    if !plugin.abilities().lifecycle {
        return Ok(ProviderAccount {
            external_id: channel.id.to_string(),
            name: plugin.title().to_owned(),
            foreign_webhook: None,
        });
    }
    let identified = plugin.identify(&flow.context(channel, plugin)).await;
    identified.map_err(|error| refused(plugin, error))
}

/// How a channel begins whose account nobody can be asked about.
pub(super) fn unproven() -> (ChannelStatus, Option<String>) {
    let cause = "Nothing has come from the provider yet, so nobody knows whether the account is right.";
    (ChannelStatus::PendingVerification, Some(cause.to_owned()))
}

/// From here on the provider's hooks find the channel, and nobody else gets the account.
pub(super) async fn reserve(flow: &Flow, plugin: &dyn Connector, channel: &Channel) -> Result<(), ChannelError> {
    let _turn = enter(flow, plugin, channel).await?;
    match flow.store().create_channel(channel).await {
        Ok(()) => Ok(flow.refresh().await?),
        Err(StoreError::Conflict(Conflict::Account { by, workspace })) => {
            let directory = flow.directory();
            let named = directory
                .channel(by)
                .map_or_else(|| by.to_string(), |found| found.name.clone());
            let inside = directory.workspace(workspace);
            Err(ChannelError::Taken {
                account: channel.external_name.clone(),
                channel: named,
                workspace: inside.map_or_else(|| workspace.to_string(), |found| found.name.clone()),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Where the provider did not say whose account it is, refuses values that another channel of the plugin has already.
/// Until the guard is dropped nobody else of this process connects through the plugin: of two that race one sees the
/// other.
pub(super) async fn enter(
    flow: &Flow,
    plugin: &dyn Connector,
    channel: &Channel,
) -> Result<OwnedMutexGuard<()>, ChannelError> {
    let turn = flow.making.enter(format!("account/{}", channel.plugin)).await;
    // From the store itself: another host may have connected one a moment ago.
    let others = flow.store().channels(None).await?;
    let proven = plugin.abilities().lifecycle && !channel.external_id.is_empty();
    let same = |other: &&Channel| {
        other.plugin == channel.plugin && other.id != channel.id && same_values(plugin, other, channel)
    };
    let Some(other) = others.iter().find(same).filter(|_| !proven) else {
        return Ok(turn);
    };
    let inside = flow.directory().workspace(other.workspace);
    Err(ChannelError::Taken {
        account: other.external_name.clone(),
        channel: other.name.clone(),
        workspace: inside.map_or_else(|| other.workspace.to_string(), |found| found.name.clone()),
    })
}

/// Secrets that the host made differ between any two channels and say nothing.
fn same_values(plugin: &dyn Connector, one: &Channel, other: &Channel) -> bool {
    let secret = |channel: &Channel, name: &str| channel.secrets.get(name).map(|secret| secret.expose().to_owned());
    let mut filled_in = plugin.fields().iter().filter(|field| field.secret);
    one.fields == other.fields && filled_in.all(|field| secret(one, &field.name) == secret(other, &field.name))
}
