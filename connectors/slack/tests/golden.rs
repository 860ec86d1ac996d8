//! Every documented kind of event, message, answer and error of Slack, as files.
//! `MANTLE_BLESS=1 cargo test -p mantle-connector-slack` writes the out files anew.

use mantle_connector_slack::Slack;

#[test]
fn ch_10_slack_speaks_as_documented() {
    mantle_sdk::golden::check::<Slack>(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
}
