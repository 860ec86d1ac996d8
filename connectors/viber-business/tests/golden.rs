//! Every documented kind of webhook, message, answer and error of Infobip's Viber API, as files.
//! `MANTLE_BLESS=1 cargo test -p mantle-connector-viber-business` writes the out files anew.

use mantle_connector_viber_business::ViberBusiness;

#[test]
fn in_14_viber_business_speaks_as_documented() {
    mantle_sdk::golden::check::<ViberBusiness>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
}
