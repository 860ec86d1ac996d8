//! Every documented case of the Bot API: raw update in, events out; message in, calls out.
//! `MANTLE_BLESS=1 cargo test -p mantle-connector-telegram` writes the out files anew.

use mantle_connector_telegram::Telegram;

#[test]
fn in_14_every_inbound_and_outbound_kind_is_as_written_down() {
    mantle_sdk::golden::check::<Telegram>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
}
