//! AT-1 to AT-4: files of customers.

use super::*;

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
pub async fn at_3_telegram_a_file_follows_when_it_can_be_had() -> Result<()> {
    late_media(On::Telegram, "file").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn at_3_whatsapp_a_file_follows_when_it_can_be_had() -> Result<()> {
    late_media(On::WhatsApp, "download").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn at_3_sms_a_file_follows_when_it_can_be_had() -> Result<()> {
    late_media(On::Sms, "media").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn at_3_an_upload_of_unknown_outcome_that_arrived_is_one_part() -> Result<()> {
    for fault in [Fault::RefuseAfter(503), Fault::ResetAfter] {
        let bridge = sent_with_a_document(&[fault]).await?;
        pass(&bridge, 3, Duration::from_secs(60)).await?;
        bridge.quiet().await?;
        assert_eq!(kinds(&files_in(&bridge)?), kinds(&[samples::document()]));
        assert_eq!(texts_in(&bridge)?, ["Hello", "The invoice", "And this"]);
        assert!(notes_in(&bridge)?.is_empty());
        bridge.assert_lawful()?;
    }
    Ok(())
}

/// A 503 or a broken connection does not prove that nothing was written: it is looked for, and then the words do not
/// wait for the file any longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn at_3_words_do_not_wait_for_an_upload_of_unknown_outcome() -> Result<()> {
    for fault in [Fault::Refuse(503), Fault::Reset] {
        let bridge = sent_with_a_document(&[fault]).await?;
        pass(&bridge, 5, Duration::from_secs(3)).await?;
        let words = "The invoice\n[attachment on its way]";
        assert_eq!(texts_in(&bridge)?[..2], ["Hello".to_owned(), words.to_owned()]);
        pass(&bridge, 5, Duration::from_secs(10)).await?;
        bridge.quiet().await?;
        assert_eq!(kinds(&files_in(&bridge)?), kinds(&[samples::document()]), "once");
        let texts = texts_in(&bridge)?;
        assert_eq!(
            texts.iter().filter(|text| text.contains("The invoice")).count(),
            1,
            "{texts:?}"
        );
        assert!(texts.contains(&"And this".to_owned()), "{texts:?}");
        assert!(notes_in(&bridge)?.is_empty());
        bridge.assert_lawful()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn at_3_an_upload_that_never_succeeds_is_a_note_after_a_day() -> Result<()> {
    let bridge = sent_with_a_document(&[]).await?;
    bridge.quiet().await?;
    let customer = bridge.telegram_customer(5_001);
    bridge.world.intercom.faults().next_on("reply", Fault::Reset);
    good(
        &customer
            .sends_document(&samples::document(), Some("Again"))
            .await
            .delivered,
    )?;
    bridge.at_rest().await?;
    pass(&bridge, 4, Duration::from_secs(3)).await?;
    assert!(texts_in(&bridge)?.contains(&"Again\n[attachment on its way]".to_owned()));
    bridge.world.intercom.faults().always_on("reply", Fault::Reset);
    pass(&bridge, 26, Duration::from_secs(3600)).await?;
    bridge.world.intercom.faults().clear();
    pass(&bridge, 3, Duration::from_secs(3600)).await?;
    bridge.quiet().await?;
    let notes = notes_in(&bridge)?;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("“invoice.pdf” was not taken over."), "{}", notes[0]);
    bridge.assert_lawful()
}

/// A document with words whose way into the inbox meets these faults, and a text behind it.
async fn sent_with_a_document(faults: &[Fault]) -> Result<Bridge> {
    let bridge = On::Telegram.bridge().await?;
    On::Telegram.write(&bridge, 5_001, "Hello").await?;
    bridge.quiet().await?;
    for fault in faults {
        bridge.world.intercom.faults().next_on("reply", fault.clone());
    }
    let customer = bridge.telegram_customer(5_001);
    let told = customer.sends_document(&samples::document(), Some("The invoice")).await;
    good(&told.delivered)?;
    On::Telegram.write(&bridge, 5_001, "And this").await?;
    bridge.at_rest().await?;
    Ok(bridge)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn at_3_a_file_that_cannot_be_had_for_a_day_is_a_note() -> Result<()> {
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
