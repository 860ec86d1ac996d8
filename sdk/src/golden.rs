//! Golden tests.

use std::path::Path;

use crate::connector::{
    Account, ConnectError, Connection, Connector, Details, Fetched, InboundMedia, Lifecycle, Page, Profile, Report,
    Templates,
};
use crate::host::Host;
use crate::values::{Alias, CallError};

/// The optional traits that a connector named in [`export!`](crate::export).
#[derive(Default, Clone, Copy)]
pub struct Abilities {
    pub(crate) lifecycle: Option<LifecycleCalls>,
    pub(crate) fetch: Option<fn(String, &dyn Host) -> Result<Fetched, CallError>>,
    pub(crate) look_up: Option<fn(Vec<Alias>, &dyn Host) -> Result<Option<Details>, CallError>>,
    pub(crate) list_page: Option<fn(Option<String>, &dyn Host) -> Result<Page, CallError>>,
}

#[derive(Clone, Copy)]
pub(crate) struct LifecycleCalls {
    pub identify: fn(&dyn Host) -> Result<Account, ConnectError>,
    pub connect: fn(&dyn Host) -> Result<Connection, ConnectError>,
    pub disconnect: fn(&dyn Host) -> Result<(), CallError>,
    pub check: fn(&dyn Host) -> Result<Report, CallError>,
}

/// Implemented by [`export!`](crate::export).
pub trait Exported: Connector {
    fn abilities() -> Abilities;
}

impl Abilities {
    #[must_use]
    pub fn lifecycle<T: Lifecycle>(mut self) -> Self {
        self.lifecycle = Some(LifecycleCalls {
            identify: T::identify,
            connect: T::connect,
            disconnect: T::disconnect,
            check: T::check,
        });
        self
    }

    #[must_use]
    pub fn inbound_media<T: InboundMedia>(mut self) -> Self {
        self.fetch = Some(T::fetch);
        self
    }

    #[must_use]
    pub fn profile<T: Profile>(mut self) -> Self {
        self.look_up = Some(T::look_up);
        self
    }

    #[must_use]
    pub fn templates<T: Templates>(mut self) -> Self {
        self.list_page = Some(T::list_page);
        self
    }
}

/// Runs every `<case>.in.json` of the folder.
pub fn check<T: Exported>(folder: impl AsRef<Path>) {
    let _ = (folder, T::abilities());
}
