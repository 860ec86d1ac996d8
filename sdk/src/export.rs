//! From traits to exports: the adapter that the generated code calls, and the macro that writes the exports and the
//! manifest into the component.

use std::marker::PhantomData;

use crate::bindings;
use crate::connector::{
    Account, ConnectError, Connection, Connector, Details, Fetched, Finding, Hook, Inbound, InboundMedia, Lifecycle,
    Page, Profile, Query, ReceiveError, Reconcile, Report, Templates,
};
use crate::host::Imports;
use crate::values::{Alias, CallError, Outgoing, Sent};

/// Hands the component's imports to a connector.
#[doc(hidden)]
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: Connector> bindings::minimal::exports::mantle::connector::connector::Guest for Adapter<T> {
    fn receive(hook: Hook) -> Result<Inbound, ReceiveError> {
        T::receive(hook, &Imports)
    }

    fn send(message: Outgoing) -> Result<Sent, CallError> {
        T::send(message, &Imports)
    }
}

impl<T: Lifecycle> bindings::lifecycle::exports::mantle::connector::lifecycle::Guest for Adapter<T> {
    fn identify() -> Result<Account, ConnectError> {
        T::identify(&Imports)
    }

    fn connect() -> Result<Connection, ConnectError> {
        T::connect(&Imports)
    }

    fn disconnect() -> Result<(), CallError> {
        T::disconnect(&Imports)
    }

    fn check() -> Result<Report, CallError> {
        T::check(&Imports)
    }
}

impl<T: InboundMedia> bindings::inbound_media::exports::mantle::connector::inbound_media::Guest for Adapter<T> {
    fn fetch(source: String) -> Result<Fetched, CallError> {
        T::fetch(source, &Imports)
    }
}

impl<T: Reconcile> bindings::reconcile::exports::mantle::connector::reconcile::Guest for Adapter<T> {
    fn find_sent(query: Query) -> Result<Finding, CallError> {
        T::find_sent(query, &Imports)
    }
}

impl<T: Profile> bindings::profile::exports::mantle::connector::profile::Guest for Adapter<T> {
    fn look_up(aliases: Vec<Alias>) -> Result<Option<Details>, CallError> {
        T::look_up(aliases, &Imports)
    }
}

impl<T: Templates> bindings::templates::exports::mantle::connector::templates::Guest for Adapter<T> {
    fn list_page(cursor: Option<String>) -> Result<Page, CallError> {
        T::list_page(cursor, &Imports)
    }
}

/// Makes a component of a connector.
///
/// `manifest` is relative to the connector's folder and travels in the custom section `mantle:manifest`. `with` lists
/// the optional traits that the type implements, and only those become exports: `lifecycle`, `inbound_media`,
/// `reconcile`, `profile`, `templates`. On every other target than wasm the macro only tells the golden tests about the abilities.
///
/// ```ignore
/// mantle_sdk::export!(Telegram, manifest = "connector.toml", with = [lifecycle, inbound_media, profile]);
/// ```
#[macro_export]
macro_rules! export {
    ($connector:ident, manifest = $manifest:literal $(,)?) => {
        $crate::export!($connector, manifest = $manifest, with = []);
    };
    ($connector:ident, manifest = $manifest:literal, with = [$($ability:ident),* $(,)?] $(,)?) => {
        #[cfg(not(target_arch = "wasm32"))]
        impl $crate::golden::Exported for $connector {
            fn abilities() -> $crate::golden::Abilities {
                $crate::golden::Abilities::default()$(.$ability::<$connector>())*
            }
        }

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exports of a component have link names, and the manifest a link section")]
        const _: () = {
            type Exports = $crate::export::Adapter<$connector>;

            $crate::bindings::minimal::export_minimal!(Exports with_types_in $crate::bindings::minimal);
            $($crate::__export_ability!($ability, Exports);)*

            const MANIFEST: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));
            #[used]
            #[unsafe(link_section = "mantle:manifest")]
            static MANIFEST_SECTION: [u8; MANIFEST.len()] = {
                let mut bytes = [0; MANIFEST.len()];
                bytes.copy_from_slice(MANIFEST);
                bytes
            };
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_ability {
    (lifecycle, $exports:ident) => {
        $crate::bindings::lifecycle::export_lifecycle!($exports with_types_in $crate::bindings::lifecycle);
    };
    (inbound_media, $exports:ident) => {
        $crate::bindings::inbound_media::export_inbound_media!($exports with_types_in $crate::bindings::inbound_media);
    };
    (reconcile, $exports:ident) => {
        $crate::bindings::reconcile::export_reconcile!($exports with_types_in $crate::bindings::reconcile);
    };
    (profile, $exports:ident) => {
        $crate::bindings::profile::export_profile!($exports with_types_in $crate::bindings::profile);
    };
    (templates, $exports:ident) => {
        $crate::bindings::templates::export_templates!($exports with_types_in $crate::bindings::templates);
    };
}
