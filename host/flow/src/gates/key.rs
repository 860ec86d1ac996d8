//! Which credential a gate is for.

use mantle_store::budgets::BudgetKey;
use mantle_store::directory::{Channel, Workspace};
use sha2::{Digest, Sha256};

use crate::connector::Connector;

/// Names one credential at one other side. Made of a digest: it tells nothing of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(super) [u8; 16]);

impl Key {
    /// The workspace's token.
    pub(crate) fn inbox(workspace: &Workspace) -> Self {
        Self::of(["inbox", &workspace.id.to_string(), workspace.token.expose()].into_iter())
    }

    /// What the operator entered for the channel. Channels of one account at the provider share it; what the host
    /// made for one channel, such as a webhook's secret, or a provider renewed is not among it.
    pub(crate) fn provider(channel: &Channel, plugin: &dyn Connector) -> Self {
        let renewed = plugin.renewed();
        let entered = |name: &&str| {
            plugin.generated().iter().all(|(made, _)| made != name) && renewed.iter().all(|(made, _)| made != name)
        };
        let mut parts = vec!["provider", channel.plugin.as_str()];
        let mut names: Vec<&str> = channel.secrets.names().filter(entered).collect();
        names.sort_unstable();
        if names.is_empty() {
            parts.push(channel.external_id.as_str());
        }
        for name in names {
            parts.push(name);
            parts.extend(channel.secrets.all(name).iter().map(|secret| secret.expose()));
        }
        Self::of(parts.into_iter())
    }

    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part.len().to_le_bytes());
            hasher.update(part);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize()[..16]);
        Self(key)
    }

    pub(crate) fn budget(self) -> BudgetKey {
        BudgetKey(self.0)
    }
}
