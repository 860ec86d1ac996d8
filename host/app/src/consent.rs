//! What an operator consented to, between the words of the sandbox and those of the lock.

use std::collections::BTreeMap;

use mantle_sandbox::{Change, Grants, Plugin, Rights};
use mantle_supply::{Consent, Lock, Locked};

use crate::config::Live;
use crate::supplies::Origin;

/// The consent as the configuration writes it: other words are another consent.
pub(crate) fn words(grants: Option<&Grants>) -> String {
    match grants {
        None => String::new(),
        Some(Grants::Asked) => "asked".to_owned(),
        Some(Grants::Egress(hosts)) => format!("egress: {}", hosts.join(", ")),
    }
}

pub(crate) fn rights(consent: &Consent) -> Rights {
    Rights {
        lines: consent.rights.iter().cloned().collect(),
        memory_mib: consent.memory_mib,
    }
}

/// What is in force after this change.
pub(crate) fn note(lock: &mut Lock, live: &Live, origins: &BTreeMap<String, Origin>, change: &Change) {
    match change {
        Change::Loaded(plugin) => in_force(lock, live, origins, plugin, None),
        Change::Proven { plugin, previous } => in_force(lock, live, origins, plugin, Some(previous)),
        Change::TakenBack { left, running, .. } => {
            in_force(lock, live, origins, running, None);
            if let Some(known) = lock.plugins.get_mut(running.name()) {
                known.rolled_back = Some(left.digest().to_owned());
                known.previous = None;
            }
        }
        Change::OnTrial(_) | Change::Pending { .. } | Change::Refused { .. } | Change::Removed(_) => {}
    }
}

/// Adds the rights of a version that an operator consented to and that has not proven itself yet.
pub(crate) fn widen(lock: &mut Lock, name: &str, plugin: &Plugin) {
    if let Some(known) = lock.plugins.get_mut(name) {
        let mut all = rights(&known.consent);
        all.lines.extend(plugin.rights().lines.iter().cloned());
        all.memory_mib = all.memory_mib.max(plugin.rights().memory_mib);
        known.consent.rights = all.lines.into_iter().collect();
        known.consent.memory_mib = all.memory_mib;
    }
}

/// The entry of a version that is consented to as it is.
pub(crate) fn locked(source: &str, grants: &str, plugin: &Plugin, origin: Option<&Origin>) -> Locked {
    Locked {
        source: source.to_owned(),
        sha256: plugin.digest().to_owned(),
        manifest: origin.and_then(|origin| origin.manifest.clone()),
        version: plugin.version().to_owned(),
        signer: origin.and_then(|origin| origin.signer.clone()),
        interface: plugin.interface().to_owned(),
        previous: None,
        rolled_back: None,
        consent: Consent {
            grants: grants.to_owned(),
            memory_mib: plugin.rights().memory_mib,
            rights: plugin.rights().lines.iter().cloned().collect(),
        },
    }
}

fn in_force(
    lock: &mut Lock,
    live: &Live,
    origins: &BTreeMap<String, Origin>,
    plugin: &Plugin,
    previous: Option<&Plugin>,
) {
    let Some(setting) = live.plugins.iter().find(|setting| setting.name == plugin.name()) else {
        return;
    };
    let source = setting.source.as_ref().map(ToString::to_string).unwrap_or_default();
    let grants = words(setting.entry.as_ref().ok().and_then(|entry| entry.grants.as_ref()));
    let mut now = locked(&source, &grants, plugin, origins.get(plugin.digest()));
    if let Some(known) = lock.plugins.get(plugin.name()) {
        let left = (known.sha256 != now.sha256).then(|| known.sha256.clone());
        now.previous = previous
            .map(|previous| previous.digest().to_owned())
            .or(left)
            .or_else(|| known.previous.clone())
            .filter(|previous| *previous != now.sha256);
        now.rolled_back = known.rolled_back.clone().filter(|left| *left != now.sha256);
        if now.manifest.is_none() && known.sha256 == now.sha256 && known.source == now.source {
            now.manifest.clone_from(&known.manifest);
        }
    }
    lock.plugins.insert(plugin.name().to_owned(), now);
}
