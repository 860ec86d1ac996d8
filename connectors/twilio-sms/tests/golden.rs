//! Every kind of webhook, message, answer and error of the provider, as files.

#[test]
fn twilio_sms_speaks_as_documented() {
    mantle_sdk::golden::check::<mantle_connector_twilio_sms::TwilioSms>(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden"
    ));
}
