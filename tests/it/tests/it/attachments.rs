//! Files in both directions: whole, safe, in order, and never in silence.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{Bridge, PUBLIC_URL};
use mantle_world::{Delivered, Fault, File, Reply, samples, telegram, twilio, whatsapp};

use crate::replies::{On, Talk, listed, pass};

/// Bytes that begin like a film and are one in nothing else.
fn film() -> File {
    let mut bytes = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    bytes.resize(20_000, 7);
    File::new("film.mp4", "video/mp4", bytes)
}

fn gif() -> File {
    let mut bytes =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
            .to_vec();
    bytes.resize(400, 0);
    File::new("dance.gif", "image/gif", bytes)
}

/// A picture of this many bytes.
fn large_picture(name: &str, bytes: usize) -> File {
    let mut content = samples::photo().bytes.to_vec();
    content.resize(bytes, 0);
    File::new(name, "image/jpeg", content)
}

/// The files that the customer's parts hold, in order.
fn files_in(bridge: &Bridge) -> Result<Vec<File>> {
    let parts = bridge.only_conversation()?.from_customer();
    Ok(parts.into_iter().flat_map(|part| part.files).collect())
}

fn texts_in(bridge: &Bridge) -> Result<Vec<String>> {
    let parts = bridge.only_conversation()?.from_customer();
    Ok(parts.into_iter().map(|part| part.body).collect())
}

fn notes_in(bridge: &Bridge) -> Result<Vec<String>> {
    let notes = bridge.only_conversation()?.notes();
    Ok(notes.into_iter().map(|note| note.body).collect())
}

/// Whatever the team sees names no place of the provider and no secret.
fn assert_no_traces(bridge: &Bridge) -> Result<()> {
    let all = format!("{:?}", bridge.only_conversation()?);
    let access = bridge
        .world
        .whatsapp
        .number(whatsapp::PHONE_NUMBER_ID)
        .setup()
        .access_token;
    for secret in [
        telegram::TOKEN,
        twilio::AUTH_TOKEN,
        access.as_str(),
        "api.telegram.org",
        "lookaside",
        "graph.facebook.com",
        "api.twilio.com",
        "twiliocdn",
    ] {
        ensure!(!all.contains(secret), "`{secret}` shows in the conversation");
    }
    Ok(())
}

fn good(delivered: &Delivered) -> Result<()> {
    ensure!(delivered.is_good(), "{delivered:?}");
    Ok(())
}

fn same(found: &[File], sent: &[File]) {
    let bare = |files: &[File]| {
        files
            .iter()
            .map(|file| {
                (
                    file.content_type.split(';').next().unwrap_or_default().to_owned(),
                    file.bytes.clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert!(bare(found) == bare(sent), "types and bytes differ: {:?}", kinds(found));
}

fn kinds(files: &[File]) -> Vec<(String, String, usize)> {
    let of = |file: &File| (file.name.clone(), file.content_type.clone(), file.bytes.len());
    files.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_1_telegram_files_come_whole() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let customer = bridge.telegram_customer(5_001);
    good(&customer.writes("Look:").await.delivered)?;
    good(
        &customer
            .sends_photo(&samples::photo(), Some("The parcel"))
            .await
            .delivered,
    )?;
    good(&customer.sends_voice(&samples::voice(), 7).await.delivered)?;
    good(&customer.sends_video(&film(), None).await.delivered)?;
    good(&customer.sends_document(&samples::document(), None).await.delivered)?;
    bridge.quiet().await?;
    let found = files_in(&bridge)?;
    same(
        &found,
        &[samples::photo(), samples::voice(), film(), samples::document()],
    );
    assert_eq!(found[2].name, "film.mp4");
    assert_eq!(found[3].name, "invoice.pdf");
    let texts = texts_in(&bridge)?;
    assert_eq!(texts[1], "The parcel");
    assert_eq!(texts[2], "[Voice message, 0:07]");
    assert_no_traces(&bridge)?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_1_whatsapp_files_come_whole() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    good(&customer.writes("Look:").await.delivered)?;
    good(
        &customer
            .sends_image(&samples::photo(), Some("The parcel"))
            .await
            .delivered,
    )?;
    good(&customer.sends_voice(&samples::voice()).await.delivered)?;
    good(&customer.sends_video(&film(), None).await.delivered)?;
    good(&customer.sends_document(&samples::document(), None).await.delivered)?;
    bridge.quiet().await?;
    let found = files_in(&bridge)?;
    same(
        &found,
        &[samples::photo(), samples::voice(), film(), samples::document()],
    );
    assert_eq!(found[3].name, "invoice.pdf");
    assert_eq!(texts_in(&bridge)?[1], "The parcel");
    assert_no_traces(&bridge)?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_1_sms_files_come_whole() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let customer = bridge.sms_customer("+4915155501234");
    good(&customer.writes("Look:").await.delivered)?;
    good(
        &customer
            .sends("Three of them", &[samples::photo(), samples::voice(), film()])
            .await
            .delivered,
    )?;
    good(&customer.sends("", &[samples::document()]).await.delivered)?;
    bridge.quiet().await?;
    same(
        &files_in(&bridge)?,
        &[samples::photo(), samples::voice(), film(), samples::document()],
    );
    assert_eq!(texts_in(&bridge)?[1], "Three of them");
    assert_no_traces(&bridge)?;
    bridge.assert_lawful()
}

/// The first message is a picture and nothing else.
async fn media_first(on: On) -> Result<()> {
    let bridge = on.bridge().await?;
    let photo = samples::photo();
    good(&match on {
        On::Telegram => {
            bridge
                .telegram_customer(5_001)
                .sends_photo(&photo, None)
                .await
                .delivered
        }
        On::WhatsApp => {
            bridge
                .whatsapp_customer("4915155501234")
                .sends_image(&photo, None)
                .await
                .delivered
        }
        On::Sms => {
            bridge
                .sms_customer("+4915155501234")
                .sends("", std::slice::from_ref(&photo))
                .await
                .delivered
        }
    })?;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(conversation.source.body, "[image]");
    same(&files_in(&bridge)?, &[photo]);
    assert_eq!(bridge.workspace().contacts().len(), 1);
    assert_no_traces(&bridge)?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_2_telegram_a_conversation_can_begin_with_a_picture() -> Result<()> {
    media_first(On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_2_whatsapp_a_conversation_can_begin_with_a_picture() -> Result<()> {
    media_first(On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_2_sms_a_conversation_can_begin_with_a_picture() -> Result<()> {
    media_first(On::Sms).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_2_a_caption_opens_the_conversation() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let customer = bridge.whatsapp_customer("4915155501234");
    good(
        &customer
            .sends_image(&samples::photo(), Some("It is broken"))
            .await
            .delivered,
    )?;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.source.body, "It is broken");
    same(&files_in(&bridge)?, &[samples::photo()]);
    bridge.assert_lawful()
}

/// The provider's file host fails for a moment: the words come at once, the file follows.
async fn late_media(on: On, download: &str) -> Result<()> {
    let bridge = on.bridge().await?;
    on.write(&bridge, 5_001, "Hello").await?;
    bridge.quiet().await?;
    on.faults(&bridge).next_on(download, Fault::Refuse(503));
    let photo = samples::photo();
    let (phone, caption) = ("4915155005001", "See the crack");
    let told = match on {
        On::Telegram => {
            bridge
                .telegram_customer(5_001)
                .sends_photo(&photo, Some(caption))
                .await
                .delivered
        }
        On::WhatsApp => {
            bridge
                .whatsapp_customer(phone)
                .sends_image(&photo, Some(caption))
                .await
                .delivered
        }
        On::Sms => {
            let customer = bridge.sms_customer(&format!("+{phone}"));
            customer.sends(caption, std::slice::from_ref(&photo)).await.delivered
        }
    };
    good(&told)?;
    bridge.at_rest().await?;
    assert_eq!(
        texts_in(&bridge)?[1..],
        ["See the crack\n[attachment on its way]".to_owned()]
    );
    assert!(files_in(&bridge)?.is_empty());
    pass(&bridge, 1, Duration::from_secs(2)).await?;
    bridge.quiet().await?;
    same(&files_in(&bridge)?, std::slice::from_ref(&photo));

    let webhooks = match on {
        On::Telegram => bridge.world.telegram.webhooks(),
        On::WhatsApp => bridge.world.whatsapp.webhooks(),
        On::Sms => bridge.world.twilio.webhooks(),
    };
    good(&webhooks.again(&told.id).await)?;
    pass(&bridge, 2, Duration::from_secs(120)).await?;
    bridge.quiet().await?;
    assert_eq!(
        bridge.only_conversation()?.from_customer().len(),
        3,
        "told again, nothing more is shown"
    );
    assert!(notes_in(&bridge)?.is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_3_telegram_a_file_follows_when_it_can_be_had() -> Result<()> {
    late_media(On::Telegram, "file").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_3_whatsapp_a_file_follows_when_it_can_be_had() -> Result<()> {
    late_media(On::WhatsApp, "download").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_3_sms_a_file_follows_when_it_can_be_had() -> Result<()> {
    late_media(On::Sms, "media").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_3_an_upload_of_unknown_outcome_ends_in_one_part() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    On::Telegram.write(&bridge, 5_001, "Hello").await?;
    bridge.quiet().await?;
    bridge.world.intercom.faults().next_on("reply", Fault::Refuse(503));
    let customer = bridge.telegram_customer(5_001);
    good(
        &customer
            .sends_document(&samples::document(), Some("The invoice"))
            .await
            .delivered,
    )?;
    bridge.at_rest().await?;
    // A 503 does not prove that nothing was written: it is looked for before anything is repeated.
    pass(&bridge, 3, Duration::from_secs(60)).await?;
    bridge.quiet().await?;
    assert_eq!(kinds(&files_in(&bridge)?), kinds(&[samples::document()]));
    assert_eq!(texts_in(&bridge)?, ["Hello", "The invoice"]);
    assert!(notes_in(&bridge)?.is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_3_a_file_that_cannot_be_had_for_a_day_is_a_note() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    bridge.world.telegram.faults().always_on("file", Fault::Refuse(503));
    let customer = bridge.telegram_customer(5_001);
    good(&customer.sends_document(&samples::document(), None).await.delivered)?;
    bridge.at_rest().await?;
    assert!(texts_in(&bridge)?[0].contains("[attachment on its way]"));
    pass(&bridge, 23, Duration::from_secs(3600)).await?;
    assert!(notes_in(&bridge)?.is_empty(), "it is tried for a day");
    pass(&bridge, 3, Duration::from_secs(3600)).await?;
    bridge.quiet().await?;
    let notes = notes_in(&bridge)?;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("“invoice.pdf” was not taken over."), "{}", notes[0]);
    bridge.assert_lawful()
}

/// The address in a text, and what lies behind it.
async fn follow(bridge: &Bridge, text: &str) -> Result<(String, Reply)> {
    let start = text.find(PUBLIC_URL).with_context(|| format!("no address in {text}"))?;
    let url = text[start..]
        .split([']', ' ', '\n'])
        .next()
        .unwrap_or_default()
        .to_owned();
    let reply = bridge
        .world
        .scene()
        .client()
        .call(Method::GET, &url, &[], bytes::Bytes::new())
        .await?;
    Ok((url, reply))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_4_what_is_too_large_for_the_inbox_is_a_link_that_ends() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    bridge.workspace().file_limit(1_000);
    let customer = bridge.telegram_customer(5_001);
    good(&customer.sends_video(&film(), Some("The film")).await.delivered)?;
    good(&customer.sends_video(&film(), Some("Once more")).await.delivered)?;
    bridge.quiet().await?;
    let texts = texts_in(&bridge)?;
    assert!(files_in(&bridge)?.is_empty());
    let linked: Vec<&String> = texts.iter().filter(|text| text.contains(PUBLIC_URL)).collect();
    assert_eq!(linked.len(), 2, "{texts:?}");
    for text in linked {
        assert!(text.contains("[film.mp4, 20 KB: https://bridge.test/media/"), "{text}");
        let (_, reply) = follow(&bridge, text).await?;
        assert_eq!((reply.status, &reply.body), (200, &film().bytes));
        assert!(reply.header("content-disposition").contains("film.mp4"));
    }
    assert_eq!(texts.iter().filter(|text| text.contains("Once more")).count(), 1);
    assert!(notes_in(&bridge)?.is_empty());

    let text = texts.last().context("no text")?;
    let (url, _) = follow(&bridge, text).await?;
    let forged = format!("{}AA", &url[..url.len() - 2]);
    let client = bridge.world.scene().client();
    let answer = client.call(Method::GET, &forged, &[], bytes::Bytes::new()).await?;
    assert_eq!(answer.status, 404, "a link cannot be made up");
    bridge.advance(Duration::from_secs(24 * 3600 + 1));
    let (_, reply) = follow(&bridge, text).await?;
    assert_eq!(reply.status, 410, "a link ends");
    bridge.assert_lawful()
}

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
    let words = "dance.gif: WhatsApp does not take GIF images. Send it as a video (MP4) instead.";
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
        note.contains("all.zip: SMS does not take files of this type."),
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

const METADATA: &str = "http://169.254.169.254/latest/meta-data/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_8_a_media_address_elsewhere_is_refused() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let customer = bridge.sms_customer("+4915155501234");
    for url in [
        METADATA,
        "http://127.0.0.1:9/x",
        "https://localhost/x",
        "file:///etc/passwd",
    ] {
        let (sid, mut form) = customer.compose("Look", &[samples::photo()]);
        for (name, value) in &mut form {
            if *name == "MediaUrl0" {
                url.clone_into(value);
            }
        }
        good(&customer.deliver(&sid, &form).await)?;
    }
    bridge.quiet().await?;
    let notes = notes_in(&bridge)?;
    assert_eq!(notes.len(), 4, "{notes:?}");
    assert!(
        notes.iter().all(|note| note.contains("was not taken over")),
        "{notes:?}"
    );
    assert!(files_in(&bridge)?.is_empty());
    assert!(texts_in(&bridge)?.iter().all(|text| text.starts_with("Look")));
    still_works(&bridge, On::Sms).await
}

/// After the attack an honest message passes.
async fn still_works(bridge: &Bridge, on: On) -> Result<()> {
    on.write(bridge, 6_001, "Still there?").await?;
    bridge.quiet().await?;
    let all = bridge.workspace().conversations();
    assert!(all.iter().any(|known| known.source.body == "Still there?"));
    bridge.assert_lawful()
}

/// The provider's file host leads to a private address.
async fn redirected(on: On, download: &str) -> Result<()> {
    for target in [METADATA, "https://127.0.0.1/x", "https://10.0.0.8/x"] {
        let bridge = on.bridge().await?;
        on.faults(&bridge)
            .always_on(download, Fault::Redirect(target.to_owned()));
        let photo = samples::photo();
        good(&match on {
            On::Telegram => {
                bridge
                    .telegram_customer(5_001)
                    .sends_photo(&photo, Some("Look"))
                    .await
                    .delivered
            }
            On::WhatsApp => {
                let customer = bridge.whatsapp_customer("4915155501234");
                customer.sends_image(&photo, Some("Look")).await.delivered
            }
            On::Sms => {
                bridge
                    .sms_customer("+4915155501234")
                    .sends("Look", &[photo])
                    .await
                    .delivered
            }
        })?;
        bridge.at_rest().await?;
        pass(&bridge, 26, Duration::from_secs(3600)).await?;
        bridge.quiet().await?;
        let notes = notes_in(&bridge)?;
        assert_eq!(notes.len(), 1, "{target}: {notes:?}");
        assert!(notes[0].contains("was not taken over"), "{}", notes[0]);
        assert!(files_in(&bridge)?.is_empty());
        still_works(&bridge, on).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_8_telegram_a_redirect_to_a_private_address_is_refused() -> Result<()> {
    redirected(On::Telegram, "file").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_8_whatsapp_a_redirect_to_a_private_address_is_refused() -> Result<()> {
    redirected(On::WhatsApp, "download").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_8_sms_a_redirect_to_a_private_address_is_refused() -> Result<()> {
    redirected(On::Sms, "media").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_8_an_endless_file_ends_at_the_limit() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    bridge.world.whatsapp.faults().next_on("download", Fault::Endless);
    let customer = bridge.whatsapp_customer("4915155501234");
    good(
        &customer
            .sends_document(&samples::document(), Some("Endless"))
            .await
            .delivered,
    )?;
    bridge.quiet().await?;
    let notes = notes_in(&bridge)?;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("“invoice.pdf” was not taken over."), "{}", notes[0]);
    still_works(&bridge, On::WhatsApp).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_8_a_file_that_lies_about_its_type_is_refused() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let page = b"<!DOCTYPE html><html><script>alert(1)</script></html>".to_vec();
    let customer = bridge.telegram_customer(5_001);
    let lying = File::new("cute.jpg", "image/jpeg", page);
    good(&customer.sends_photo(&lying, Some("Look")).await.delivered)?;
    bridge.quiet().await?;
    let notes = notes_in(&bridge)?;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("it says to be a file of kind image but is text/html"),
        "{}",
        notes[0]
    );
    assert!(files_in(&bridge)?.is_empty());
    still_works(&bridge, On::Telegram).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_8_a_reply_that_names_a_private_address_is_refused() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let html = format!("<p>See</p><img src=\"{METADATA}secret.png\"><img src=\"https://127.0.0.1/x.png\">");
    talk.reply(&bridge, &html, &[]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["See"]);
    let note = talk.only_note(&bridge)?;
    assert!(note.contains("secret.png") && note.contains("x.png"), "{note}");

    bridge
        .world
        .intercom
        .faults()
        .next_on("download", Fault::Redirect(METADATA.to_owned()));
    talk.reply(&bridge, "<p>And</p>", &[samples::document()]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["See", "And"]);
    assert!(talk.notes(&bridge)?[1].contains("invoice.pdf"));
    still_works(&bridge, On::Telegram).await
}
