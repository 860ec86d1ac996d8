//! AT-5 to AT-7: files of replies.

use super::*;

/// The text and the small file go, the large one is named in a note.
async fn too_large(on: On, large: &File, words: &str) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, "<p>Both files</p>", &[large.clone(), samples::photo()])
        .await?;
    bridge.quiet().await?;
    bridge.world.settled().await;
    assert_eq!(
        sent_files(&bridge, &talk),
        [(samples::photo().bytes.len(), "Both files".to_owned())]
    );
    let note = talk.only_note(&bridge)?;
    assert!(note.contains(words), "{note}");
    assert!(
        note.contains("Send a smaller file, or share a link."),
        "the next step: {note}"
    );
    let trace = listed(&bridge).await?;
    assert_eq!(trace[0]["state"], "accepted");

    // Alone, nothing goes out, and the message has failed.
    talk.reply(&bridge, "", std::slice::from_ref(large)).await?;
    bridge.quiet().await?;
    assert_eq!(sent_files(&bridge, &talk).len(), 1);
    assert_eq!(listed(&bridge).await?[1]["state"], "failed");
    assert_eq!(talk.notes(&bridge)?.len(), 2);
    bridge.assert_lawful()
}

/// Size of the file (0: none) and text of everything on the customer's phone.
fn sent_files(bridge: &Bridge, talk: &Talk) -> Vec<(usize, String)> {
    let texts = talk.got(bridge);
    let sizes: Vec<usize> = match talk.on {
        On::Telegram => {
            let sent = bridge.world.telegram.sent();
            sent.iter()
                .map(|sent| sent.file.as_ref().map_or(0, |(_, file)| file.bytes.len()))
                .collect()
        }
        On::WhatsApp => {
            let sent = bridge.world.whatsapp.sent();
            sent.iter()
                .map(|sent| sent.file.as_ref().map_or(0, |file| file.bytes.len()))
                .collect()
        }
        On::Sms => {
            let sent = bridge.world.twilio.sent();
            sent.iter()
                .map(|sent| sent.files.first().map_or(0, |file| file.bytes.len()))
                .collect()
        }
    };
    sizes.into_iter().zip(texts).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_5_sms_a_picture_above_the_limit_stays_and_is_named() -> Result<()> {
    let large = large_picture("plan.jpg", 5_300_000);
    too_large(On::Sms, &large, "plan.jpg (5.3 MB) is larger than SMS allows (5 MB)").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_5_telegram_a_file_above_the_limit_stays_and_is_named() -> Result<()> {
    let large = File::new("tour.zip", "application/zip", vec![7; 50_100_000]);
    too_large(
        On::Telegram,
        &large,
        "tour.zip (50.1 MB) is larger than Telegram allows (50 MB)",
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_6_whatsapp_refuses_gif_with_the_reason() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, "<p>Party</p>", &[gif(), samples::photo()]).await?;
    bridge.quiet().await?;
    assert_eq!(
        sent_files(&bridge, &talk),
        [(samples::photo().bytes.len(), "Party".to_owned())]
    );
    let note = talk.only_note(&bridge)?;
    let words = "dance.gif: WhatsApp does not take GIF images. Send it as a video (MP4) instead. Or share a link.";
    assert!(note.contains(words), "{note}");
    assert!(
        bridge
            .world
            .whatsapp
            .calls()
            .iter()
            .filter(|call| call.operation == "media")
            .count()
            == 1
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_6_sms_names_a_type_that_it_does_not_take() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let archive = File::new("all.zip", "application/zip", b"PK\x03\x04rest".to_vec());
    talk.reply(&bridge, "<p>All of it</p>", &[archive]).await?;
    bridge.quiet().await?;
    assert_eq!(sent_files(&bridge, &talk), [(0, "All of it".to_owned())]);
    let note = talk.only_note(&bridge)?;
    assert!(
        note.contains("all.zip: SMS does not take files of this type. Send it as image/jpeg, image/png, ")
            && note.contains(" or text/calendar, or share a link."),
        "{note}"
    );
    bridge.assert_lawful()
}

/// Several files: in order, one by one, the text with the first where the channel takes captions.
async fn several(on: On) -> Result<()> {
    let bridge = on.bridge().await?;
    let talk = on.talk(&bridge, 5_001).await?;
    let files = [samples::photo(), samples::document(), samples::picture()];
    talk.reply(&bridge, "<p>Three files</p>", &files).await?;
    bridge.quiet().await?;
    bridge.world.settled().await;
    let sizes = files.each_ref().map(|file| file.bytes.len());
    let expected = [(sizes[0], "Three files"), (sizes[1], ""), (sizes[2], "")];
    assert_eq!(
        sent_files(&bridge, &talk),
        expected.map(|(size, text)| (size, text.to_owned()))
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_7_telegram_sends_several_files_in_order() -> Result<()> {
    several(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_7_whatsapp_sends_several_files_in_order() -> Result<()> {
    several(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_7_sms_sends_several_files_in_order() -> Result<()> {
    several(On::Sms).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_7_words_that_are_no_caption_go_first() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    // Sound has no caption on WhatsApp; a caption above the limit is a text.
    talk.reply(&bridge, "<p>Listen</p>", &[samples::voice()]).await?;
    let long = "word ".repeat(300);
    talk.reply(&bridge, &format!("<p>{long}</p>"), &[samples::photo()])
        .await?;
    bridge.quiet().await?;
    let expected = [
        (0, "Listen".to_owned()),
        (samples::voice().bytes.len(), String::new()),
        (0, long.trim_end().to_owned()),
        (samples::photo().bytes.len(), String::new()),
    ];
    assert_eq!(sent_files(&bridge, &talk), expected);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_7_an_album_comes_in_order() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let customer = bridge.telegram_customer(5_001);
    let files = [samples::photo(), samples::picture(), samples::photo()];
    for told in customer.sends_album(&files, "Three views").await {
        good(&told.delivered)?;
    }
    bridge.quiet().await?;
    same(&files_in(&bridge)?, &files);
    assert_eq!(bridge.only_conversation()?.source.body, "Three views");
    bridge.assert_lawful()
}
