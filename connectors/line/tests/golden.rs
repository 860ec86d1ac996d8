//! Every documented kind of event, message, answer and error of LINE, as files.
//! `MANTLE_BLESS=1 cargo test -p mantle-connector-line` writes the out files anew.

use mantle_connector_line::Line;

#[test]
fn in_14_line_speaks_as_documented() {
    mantle_sdk::golden::check::<Line>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
}
