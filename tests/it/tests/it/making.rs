//! Contacts and conversations are made once, whoever asks at the same time and whatever is slow (CT-4, TH-9).

use std::time::Duration;

use anyhow::Result;
use mantle_it::{Bridge, Channels};
use mantle_world::{Fault, Order};
use serde_json::{Value, json};

const PHONE: &str = "+353888888999";
const WA_ID: &str = "353888888999";
const BOTS: usize = 6;

fn calls(bridge: &Bridge, method: &str, operation: &str) -> usize {
    let all = bridge.world.intercom.calls();
    all.iter()
        .filter(|call| call.method == method && call.operation == operation)
        .count()
}

/// How often a conversation was looked for that we may have opened.
fn looks(bridge: &Bridge) -> usize {
    let all = bridge.world.intercom.calls();
    let looked = |body: &Value| body["query"]["value"][0]["field"] == "contact_ids";
    all.iter().filter(|call| looked(&call.body)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_4_one_user_of_six_bots_is_one_lead_while_the_clock_stands() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let tokens: Vec<String> = (0..BOTS)
        .map(|place| format!("81000000{place}:AAF0bCdEfGhIjKlMnOpQrStUvWxYz01234{place}"))
        .collect();
    for token in &tokens {
        let _ = bridge.world.telegram.bot(token);
        bridge
            .connect(&workspace, "telegram", json!({"bot_token": token}))
            .await?;
    }
    bridge.world.telegram.webhooks().hold();
    for (place, token) in tokens.iter().enumerate() {
        let customer = bridge.world.telegram.bot(token).customer(5_550_001_234);
        customer.writes(&format!("to bot {place}")).await;
    }
    let delivered = bridge.world.telegram.webhooks().release(Order::AtOnce).await;
    assert!(delivered.iter().all(mantle_world::Delivered::is_good));
    assert_eq!(bridge.at_rest().await?, 0, "nothing waits for the clock");
    let contacts = bridge.workspace().contacts();
    assert_eq!(contacts.len(), 1, "{contacts:#?}");
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), BOTS);
    for conversation in &conversations {
        assert_eq!(contacts[0]["id"], conversation.contact.as_str());
        assert!(conversation.notes().is_empty(), "{:#?}", conversation.notes());
    }
    bridge.assert_lawful()
}

/// WhatsApp and SMS of one person at once; the lead is made, and nobody hears of it.
async fn lost_answer(bridge: &Bridge) {
    bridge.world.intercom.faults().next_on("contact", Fault::ResetAfter);
    bridge.world.whatsapp.webhooks().hold();
    bridge.world.twilio.webhooks().hold();
    bridge.whatsapp_customer(WA_ID).writes("by WhatsApp").await;
    bridge.sms_customer(PHONE).writes("by SMS").await;
    tokio::join!(
        bridge.world.whatsapp.webhooks().release(Order::AtOnce),
        bridge.world.twilio.webhooks().release(Order::AtOnce),
    );
}

async fn one_lead_after(bridge: &Bridge) -> Result<()> {
    for _ in 0..30 {
        let left = bridge.at_rest().await?;
        assert_eq!(bridge.workspace().contacts().len(), 1, "never a second one");
        if left == 0 {
            break;
        }
        bridge.advance(Duration::from_secs(5));
    }
    assert_eq!(bridge.at_rest().await?, 0);
    let conversations = bridge.workspace().conversations();
    let mut words: Vec<&str> = conversations.iter().map(|known| known.source.body.as_str()).collect();
    words.sort_unstable();
    assert_eq!(words, ["by SMS", "by WhatsApp"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_4_in_4_a_lost_answer_and_an_index_of_ninety_seconds_make_no_second_lead() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    bridge.workspace().index_lag(Duration::from_secs(90));
    lost_answer(&bridge).await;
    one_lead_after(&bridge).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_4_in_8_a_lead_whose_maker_was_stopped_is_looked_for_by_everybody() -> Result<()> {
    let (mut bridge, Channels { .. }) = Bridge::connected().await?;
    bridge.workspace().index_lag(Duration::from_secs(90));
    lost_answer(&bridge).await;
    bridge.at_rest().await?;
    bridge.restart().await?;
    one_lead_after(&bridge).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c3_c4_an_opening_of_unknown_outcome_is_looked_for_in_growing_steps_and_made_once() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    bridge.world.intercom.faults().next_on("create", Fault::Refuse(500));
    bridge.telegram_customer(81).writes("Hello").await;
    assert_eq!((bridge.at_rest().await?, looks(&bridge)), (1, 0));
    let mut passed = 0;
    for (after, expected) in [(1, 1), (3, 2), (10, 3), (30, 4), (60, 5)] {
        bridge.advance(Duration::from_secs(after - passed));
        passed = after;
        assert_eq!(
            (bridge.at_rest().await?, looks(&bridge)),
            (1, expected),
            "after {after} s"
        );
        // The call that was refused never reached the workspace.
        assert_eq!(calls(&bridge, "POST", "create"), 0, "not before its absence is sure");
    }
    bridge.advance(Duration::from_secs(120 - passed));
    assert_eq!(bridge.at_rest().await?, 0);
    assert_eq!(calls(&bridge, "POST", "create"), 1);
    assert_eq!(bridge.only_conversation()?.source.body, "Hello");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c1_an_opening_that_was_surely_not_made_is_repeated_as_told_without_a_look() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let limit = Fault::Limit(Some("3".to_owned()));
    bridge.world.intercom.faults().next_on("create", limit);
    bridge.telegram_customer(82).writes("Hello").await;
    assert_eq!(bridge.at_rest().await?, 1);
    bridge.advance(Duration::from_secs(3));
    assert_eq!(bridge.at_rest().await?, 0);
    assert_eq!(looks(&bridge), 0, "there was nothing to look for");
    assert_eq!(bridge.only_conversation()?.source.body, "Hello");
    bridge.assert_lawful()
}
