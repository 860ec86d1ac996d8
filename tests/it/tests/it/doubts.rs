//! Sends whose outcome nobody knows: what settles them, what the team is told, and the link that sends once more.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use mantle_it::{Bridge, PUBLIC_URL};
use mantle_world::{Fault, Reply, twilio, whatsapp};

use crate::replies::{On, Talk, last_trace, listed, pass, states};

const SECOND: Duration = Duration::from_secs(1);
const UNKNOWN: &str = "This message may not have been delivered";

/// A customer who wrote, and a reply whose call meets the fault.
async fn meets(on: On, fault: Fault, text: &str) -> Result<(Bridge, Talk)> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    on.faults(&bridge).next_on(on.sending(), fault);
    talk.reply(&bridge, &format!("<p>{text}</p>"), &[]).await?;
    bridge.at_rest().await?;
    Ok((bridge, talk))
}

fn account(bridge: &Bridge) -> twilio::Account {
    bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN)
}

/// The address of the link in a note.
fn link_in(note: &str) -> Result<String> {
    let start = note.find("<a href=\"").context("the note has no link")? + "<a href=\"".len();
    let address = note[start..].split('"').next().unwrap_or_default().to_owned();
    assert!(address.starts_with(&format!("{PUBLIC_URL}/resend/")), "{address}");
    Ok(address)
}

async fn browse(bridge: &Bridge, method: Method, address: &str) -> Result<Reply> {
    let client = bridge.world.scene().client();
    client.call(method, address, &[], bytes::Bytes::new()).await
}

// What the provider's API itself says is believed; what stands before it is not.

async fn faults_of_the_api_are_a_delay(on: On) -> Result<()> {
    let (bridge, talk) = meets(on, Fault::Refuse(500), "First").await?;
    talk.reply(&bridge, "<p>Second</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(states(&bridge).await?, ["sending", "queued"]);
    pass(&bridge, 3, Duration::from_secs(60)).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["First", "Second"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 2]);
    assert!(talk.notes(&bridge)?.is_empty(), "a delay is no failure");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_telegram_a_fault_of_the_api_itself_is_a_delay() -> Result<()> {
    faults_of_the_api_are_a_delay(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_whatsapp_a_fault_of_the_api_itself_is_a_delay() -> Result<()> {
    faults_of_the_api_are_a_delay(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_9_sms_a_fault_of_the_api_itself_is_a_delay() -> Result<()> {
    faults_of_the_api_are_a_delay(On::Sms).await
}

/// The customer has it, and nothing can tell: said, and not repeated.
async fn unknown_at_once(fault: Fault) -> Result<(Bridge, Talk)> {
    let (bridge, talk) = meets(On::Telegram, fault, "Are you there?").await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["unknown"]);
    let note = talk.only_note(&bridge)?;
    assert!(note.contains(UNKNOWN) && note.contains("“Are you there?”"), "{note}");
    pass(&bridge, 3, Duration::from_secs(3600)).await?;
    assert_eq!(talk.got(&bridge), ["Are you there?"], "it is not sent again blindly");
    assert_eq!(talk.notes(&bridge)?.len(), 1);
    bridge.assert_lawful()?;
    Ok((bridge, talk))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_10_telegram_a_lost_answer_is_unknown() -> Result<()> {
    unknown_at_once(Fault::ResetAfter).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_telegram_a_gateways_fault_after_applying_is_unknown() -> Result<()> {
    unknown_at_once(Fault::GatewayAfter(500)).await?;
    unknown_at_once(Fault::GatewayAfter(502)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_telegram_an_answer_that_is_none_is_unknown() -> Result<()> {
    unknown_at_once(Fault::Garbage).await.map(drop)
}

// Echo: a status names our id.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_10_whatsapp_a_status_in_time_settles_a_lost_answer_without_a_note() -> Result<()> {
    let (bridge, talk) = meets(On::WhatsApp, Fault::ResetAfter, "Are you there?").await?;
    talk.reply(&bridge, "<p>Next</p>", &[]).await?;
    pass(&bridge, 2, SECOND * 5).await?;
    assert_eq!(
        states(&bridge).await?,
        ["sending", "queued"],
        "what follows does not overtake it"
    );
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let first = number.sent()[0].id.clone();
    assert!(number.status(&first, "sent", None).await.is_good());
    // No time passes: the status itself wakes the lane.
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Are you there?", "Next"]);
    assert_eq!(states(&bridge).await?, ["sent", "accepted"]);
    assert!(number.status(&first, "delivered", None).await.is_good());
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["delivered", "accepted"]);
    assert!(talk.notes(&bridge)?.is_empty(), "nobody needs to know");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_10_whatsapp_a_receipt_after_the_note_is_told_once() -> Result<()> {
    let (bridge, talk) = meets(On::WhatsApp, Fault::GatewayAfter(502), "Are you there?").await?;
    pass(&bridge, 1, SECOND * 29).await?;
    assert_eq!(states(&bridge).await?, ["sending"]);
    pass(&bridge, 1, SECOND * 2).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["unknown"]);
    assert!(talk.only_note(&bridge)?.contains(UNKNOWN));

    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let first = number.sent()[0].id.clone();
    for status in ["sent", "delivered", "delivered", "read"] {
        bridge.advance(SECOND);
        assert!(number.status(&first, status, None).await.is_good());
        bridge.quiet().await?;
    }
    assert_eq!(states(&bridge).await?, ["read"]);
    let notes = talk.notes(&bridge)?;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(
        notes[1],
        "<p><b>Delivered after all (WhatsApp).</b><br>“Are you there?”<br>The provider has reported it: the message did \
         reach the customer. There is nothing to send again.</p>"
    );
    // The link in the first note has nothing to do any more.
    let address = link_in(&notes[0])?;
    let page = browse(&bridge, Method::POST, &address).await?;
    assert_eq!(page.status, 409);
    assert!(page.text().contains("There is nothing to send"), "{}", page.text());
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Are you there?"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_whatsapp_a_failure_told_after_the_doubt_is_one_note_more() -> Result<()> {
    let (bridge, talk) = meets(On::WhatsApp, Fault::ResetAfter, "Are you there?").await?;
    pass(&bridge, 1, SECOND * 31).await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let first = number.sent()[0].id.clone();
    for _ in 0..2 {
        assert!(number.status(&first, "failed", Some(131_026)).await.is_good());
        bridge.quiet().await?;
    }
    assert_eq!(states(&bridge).await?, ["failed"]);
    let notes = talk.notes(&bridge)?;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[1].contains("(code 131026)"), "{}", notes[1]);
    bridge.assert_lawful()
}

// Read-back: the provider is asked.

/// One message at the provider and no note, whatever became of the call.
async fn settled_by_looking(fault: Fault) -> Result<()> {
    let (bridge, talk) = meets(On::Sms, fault, "Are you there?").await?;
    talk.reply(&bridge, "<p>Next</p>", &[]).await?;
    pass(&bridge, 9, SECOND * 10).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Are you there?", "Next"]);
    assert_eq!(states(&bridge).await?, ["accepted"; 2]);
    assert!(talk.notes(&bridge)?.is_empty(), "{:?}", talk.notes(&bridge)?);
    // Found or made again, its statuses find it.
    let account = account(&bridge);
    assert!(
        account
            .status(&account.sent()[0].sid, "delivered", None)
            .await
            .is_good()
    );
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["delivered", "accepted"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_sms_a_fault_after_applying_makes_no_double() -> Result<()> {
    settled_by_looking(Fault::RefuseAfter(500)).await?;
    settled_by_looking(Fault::RefuseAfter(503)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_sms_a_gateways_fault_makes_no_double_and_no_loss() -> Result<()> {
    settled_by_looking(Fault::GatewayAfter(502)).await?;
    settled_by_looking(Fault::Gateway(504)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c4_sms_a_lost_answer_makes_no_double_and_no_loss() -> Result<()> {
    settled_by_looking(Fault::ResetAfter).await?;
    settled_by_looking(Fault::Reset).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_sms_an_answer_that_is_none_makes_no_double() -> Result<()> {
    settled_by_looking(Fault::Garbage).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_sms_a_list_that_lags_makes_no_double() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    account(&bridge).list_lags(SECOND * 45);
    On::Sms.faults(&bridge).next_on("send", Fault::ResetAfter);
    talk.reply(&bridge, "<p>Are you there?</p>", &[]).await?;
    pass(&bridge, 4, SECOND * 10).await?;
    assert_eq!(
        states(&bridge).await?,
        ["sending"],
        "that it does not show yet says nothing"
    );
    pass(&bridge, 3, SECOND * 10).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Are you there?"]);
    assert_eq!(states(&bridge).await?, ["accepted"]);
    let asked = bridge.world.twilio.calls();
    let asked = asked.iter().filter(|call| call.operation == "list").count();
    assert!((3..=5).contains(&asked), "asked {asked} times");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_10_sms_a_status_settles_what_the_list_does_not_show() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let account = account(&bridge);
    account.list_lags(Duration::from_secs(3600));
    On::Sms.faults(&bridge).next_on("send", Fault::ResetAfter);
    talk.reply(&bridge, "<p>Are you there?</p>", &[]).await?;
    pass(&bridge, 1, SECOND * 5).await?;
    assert!(
        account
            .status(&account.sent()[0].sid, "delivered", None)
            .await
            .is_good()
    );
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["delivered"]);
    pass(&bridge, 10, SECOND * 10).await?;
    assert_eq!(talk.got(&bridge), ["Are you there?"]);
    assert!(talk.notes(&bridge)?.is_empty());
    bridge.assert_lawful()
}

/// Two equal messages; the call of one of them is lost. `at` says which.
async fn two_equal(at: usize, fault: Fault) -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    for place in 0..2 {
        if place == at {
            On::Sms.faults(&bridge).next_on("send", fault.clone());
        } else {
            On::Sms.faults(&bridge).next_on("send", Fault::Late(Duration::ZERO));
        }
        talk.reply(&bridge, "<p>ok</p>", &[]).await?;
    }
    pass(&bridge, 12, SECOND * 10).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["ok", "ok"], "{fault:?} on {at}");
    assert_eq!(states(&bridge).await?, ["accepted"; 2]);
    assert!(talk.notes(&bridge)?.is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c14_sms_two_equal_messages_stay_two_when_the_first_is_in_doubt() -> Result<()> {
    two_equal(0, Fault::ResetAfter).await?;
    two_equal(0, Fault::Reset).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c14_sms_two_equal_messages_stay_two_when_the_second_is_in_doubt() -> Result<()> {
    two_equal(1, Fault::ResetAfter).await?;
    two_equal(1, Fault::Reset).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_sms_a_provider_that_cannot_be_asked_leaves_it_unknown() -> Result<()> {
    let (bridge, talk) = meets(On::Sms, Fault::ResetAfter, "Are you there?").await?;
    On::Sms.faults(&bridge).always_on("list", Fault::Refuse(500));
    pass(&bridge, 14, Duration::from_secs(60)).await?;
    assert_eq!(states(&bridge).await?, ["sending"]);
    pass(&bridge, 3, Duration::from_secs(60)).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["unknown"]);
    assert!(talk.only_note(&bridge)?.contains(UNKNOWN));
    assert_eq!(talk.got(&bridge), ["Are you there?"]);
    bridge.assert_lawful()
}

// The link.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_10_the_note_has_a_link_that_sends_once_more_and_once_only() -> Result<()> {
    let (bridge, talk) = unknown_at_once(Fault::ResetAfter).await?;
    let address = link_in(&talk.only_note(&bridge)?)?;
    for _ in 0..3 {
        let page = browse(&bridge, Method::GET, &address).await?;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("Send this message again?"), "{}", page.text());
        assert!(page.text().contains("“Are you there?” (Telegram)"), "{}", page.text());
    }
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge).len(), 1, "looking sends nothing");

    let pressed = browse(&bridge, Method::POST, &address).await?;
    assert_eq!(pressed.status, 200, "{}", pressed.text());
    bridge.quiet().await?;
    let second = browse(&bridge, Method::POST, &address).await?;
    assert_eq!(second.status, 409);
    assert!(second.text().contains("It was already sent again"), "{}", second.text());
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Are you there?", "Are you there?"]);
    assert_eq!(states(&bridge).await?, ["accepted"]);

    // Both attempts are on record.
    let trace = last_trace(&bridge).await?.to_string();
    assert!(trace.contains("send:0 of unknown outcome"), "{trace}");
    assert!(trace.contains("replay 1"), "{trace}");
    assert_eq!(talk.notes(&bridge)?.len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_12_each_attempt_that_fails_has_a_link_of_its_own() -> Result<()> {
    let (bridge, talk) = meets(On::Sms, Fault::Refuse(403), "Once more").await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["failed"]);
    let first = link_in(&talk.only_note(&bridge)?)?;
    On::Sms.faults(&bridge).next_on("send", Fault::Refuse(403));
    assert_eq!(browse(&bridge, Method::POST, &first).await?.status, 200);
    bridge.quiet().await?;
    let notes = talk.notes(&bridge)?;
    assert_eq!(notes.len(), 2, "{notes:?}");
    let second = link_in(&notes[1])?;
    assert_ne!(first, second);
    // The newest attempt failed, but the old link has done its work.
    assert_eq!(browse(&bridge, Method::POST, &first).await?.status, 409);
    assert_eq!(browse(&bridge, Method::POST, &second).await?.status, 200);
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Once more"]);
    assert_eq!(states(&bridge).await?, ["accepted"]);
    assert_eq!(listed(&bridge).await?.len(), 1, "one message, three attempts");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_10_a_link_ends_after_a_week() -> Result<()> {
    let (bridge, talk) = unknown_at_once(Fault::ResetAfter).await?;
    let address = link_in(&talk.only_note(&bridge)?)?;
    bridge.advance(Duration::from_secs(7 * 24 * 3600));
    for method in [Method::GET, Method::POST] {
        assert_eq!(browse(&bridge, method, &address).await?.status, 410);
    }
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge).len(), 1);
    bridge.assert_lawful()
}

// The pause between two messages to one person.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_9_telegram_one_person_gets_one_message_a_second() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let neighbour = On::Telegram.talk(&bridge, 5_002).await?;
    for text in ["1", "2", "3"] {
        talk.reply(&bridge, &format!("<p>{text}</p>"), &[]).await?;
    }
    neighbour.reply(&bridge, "<p>To another</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(talk.got(&bridge), ["1"]);
    assert_eq!(neighbour.got(&bridge), ["To another"], "others do not wait");
    pass(&bridge, 1, Duration::from_millis(999)).await?;
    assert_eq!(talk.got(&bridge), ["1"]);
    pass(&bridge, 1, Duration::from_millis(1)).await?;
    assert_eq!(talk.got(&bridge), ["1", "2"]);
    assert_eq!(last_trace(&bridge).await?["tries"], 0, "waiting is no attempt");
    pass(&bridge, 1, SECOND).await?;
    assert_eq!(talk.got(&bridge), ["1", "2", "3"]);
    assert!(states(&bridge).await?.iter().all(|state| state == "accepted"));
    bridge.assert_lawful()
}

// What the provider says stands beside our words.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_sms_a_refusal_shows_the_code_and_the_providers_words() -> Result<()> {
    let (bridge, talk) = meets(On::Sms, Fault::Refuse(400), "Hello").await?;
    bridge.quiet().await?;
    let note = talk.only_note(&bridge)?;
    assert!(
        note.contains("Refused on purpose") && note.contains("(code 20001)"),
        "{note}"
    );
    bridge.assert_lawful()
}
