//! AT-8: addresses that lead elsewhere.

use super::*;

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
