//! Raw hook in, events out; message in, calls out. `MANTLE_BLESS=1 cargo test` writes the out files anew: read them.

use {{crate}}::Chat;

#[test]
fn every_case_comes_out_as_recorded() {
    mantle_sdk::golden::check::<Chat>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
}
