//! Every kind of event, message, answer and error of the provider, as files.

#[test]
fn messenger_speaks_as_documented() {
    mantle_sdk::golden::check::<mantle_connector_messenger::Messenger>(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden"
    ));
}
