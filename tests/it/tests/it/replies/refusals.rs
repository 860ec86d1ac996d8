//! OUT-11, OUT-12: refusals are told, and sent again by a person.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_a_refusal_is_one_note_that_says_why() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    bridge
        .world
        .telegram
        .faults()
        .next_on("sendMessage", Fault::Refuse(400));
    talk.reply(
        &bridge,
        "<p>Your parcel &amp; the invoice are on their way to you</p>",
        &[],
    )
    .await?;
    bridge.quiet().await?;
    let note = talk.only_note(&bridge)?;
    assert_eq!(
        note,
        "<p><b>Not delivered (Telegram).</b><br>“Your parcel &amp; the invoice are on their…”<br>Reason: Telegram: \
         Bad Request: refused on purpose (code 400).<br>Change the message and send it again.</p>"
    );
    assert_eq!(states(&bridge).await?, ["failed"]);
    let trace = last_trace(&bridge).await?;
    assert!(
        trace["reason"].as_str().is_some_and(|reason| reason.contains("400")),
        "{trace}"
    );

    bridge
        .world
        .telegram
        .faults()
        .next_on("sendDocument", Fault::Refuse(400));
    talk.reply(&bridge, "", &[samples::document()]).await?;
    bridge.quiet().await?;
    let notes = talk.notes(&bridge)?;
    assert_eq!(notes.len(), 2);
    assert!(
        notes[1].contains("invoice.pdf") && notes[1].contains("400"),
        "{}",
        notes[1]
    );
    assert_eq!(talk.got(&bridge), [""; 0]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_whatsapp_a_failure_told_minutes_later_is_one_note() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, "<p>Your parcel has left</p>", &[]).await?;
    talk.reply(&bridge, "", &[samples::document()]).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["accepted"; 2]);
    bridge.advance(Duration::from_secs(600));
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    for sent in number.sent() {
        for _ in 0..2 {
            assert!(number.status(&sent.id, "failed", Some(131_026)).await.is_good());
        }
    }
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["failed"; 2]);
    let notes = talk.notes(&bridge)?;
    assert_eq!(notes.len(), 2, "{notes:?}");
    // Statuses of two messages wait for nothing of each other.
    for named in ["“Your parcel has left”", "invoice.pdf"] {
        let telling = notes.iter().filter(|note| note.contains(named)).count();
        assert_eq!(telling, 1, "{named}: {notes:?}");
    }
    for note in &notes {
        assert!(note.starts_with("<p><b>Not delivered (WhatsApp).</b>"), "{note}");
        assert!(note.contains("(code 131026)") && note.contains("Reason: "), "{note}");
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_11_sms_a_failure_told_by_callback_is_one_note() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    account.fails_for(&format!("+{}", On::phone(5_001)), 30_003);
    talk.reply(&bridge, "<p>Your parcel has left</p>", &[]).await?;
    bridge
        .until("the note", || {
            talk.notes(&bridge).ok().filter(|notes| !notes.is_empty())
        })
        .await?;
    bridge.world.settled().await;
    bridge.quiet().await?;
    let note = talk.only_note(&bridge)?;
    assert!(
        note.starts_with("<p><b>Not delivered (SMS).</b><br>“Your parcel has left”"),
        "{note}"
    );
    assert!(note.contains("(code 30003)"), "{note}");
    assert_eq!(states(&bridge).await?, ["failed"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn out_12_resend_is_a_new_attempt_beside_the_old_one() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    bridge.world.whatsapp.faults().next_on("messages", Fault::Refuse(400));
    talk.reply(&bridge, "<p>Once more</p>", &[]).await?;
    bridge.quiet().await?;
    assert_eq!(states(&bridge).await?, ["failed"]);
    let (status, body) = replay_last(&bridge).await?;
    assert_eq!(status, 202, "{body}");
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["Once more"]);
    assert_eq!(states(&bridge).await?, ["accepted"], "one message in the list");
    let trace = last_trace(&bridge).await?;
    let hops: Vec<(String, bool)> = trace["hops"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|hop| {
            (
                hop["what"].as_str().unwrap_or_default().to_owned(),
                hop["detail"] == "replay 1",
            )
        })
        .collect();
    assert!(hops.contains(&("send:0 failed".to_owned(), false)), "{trace:#}");
    assert!(hops.contains(&("send:0 done".to_owned(), true)), "{trace:#}");

    // What has arrived is not sent again.
    let (status, body) = replay_last(&bridge).await?;
    assert_eq!(status, 409, "{body}");
    assert_eq!(talk.got(&bridge).len(), 1);
    bridge.assert_lawful()
}
