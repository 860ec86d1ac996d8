//! Every kind of webhook, message, answer and error of the provider, as files.

#[test]
fn whatsapp_speaks_as_documented() {
    mantle_sdk::golden::check::<mantle_connector_whatsapp::WhatsApp>(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden"
    ));
}
