//! Every documented kind of event, message, answer and error of Viber, as files.
//! `MANTLE_BLESS=1 cargo test -p mantle-connector-viber` writes the out files anew.

use mantle_connector_viber::Viber;

#[test]
fn in_14_viber_speaks_as_documented() {
    mantle_sdk::golden::check::<Viber>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
}
