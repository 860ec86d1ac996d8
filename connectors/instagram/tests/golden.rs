//! Every kind of event, message, answer and error of the provider, as files.

#[test]
fn instagram_speaks_as_documented() {
    mantle_sdk::golden::check::<mantle_connector_instagram::Instagram>(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden"
    ));
}
