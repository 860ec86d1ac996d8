//! Text and files on all three channels, both ways.

use anyhow::Result;
use mantle_it::Bridge;
use mantle_world::samples;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn in_1_out_1_a_text_crosses_both_ways() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    let words = "Hello 👋\nשלום  <b>& so on</b>";
    assert!(customer.writes(words).await.delivered.is_good());
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(conversation.from_customer().len(), 1);
    assert_eq!(conversation.from_customer()[0].body, words);
    assert_eq!(bridge.workspace().contacts().len(), 1);

    bridge
        .teammate()
        .replies(&conversation.id, "<p>Good morning</p>", &[samples::photo()])
        .await;
    bridge
        .until("the reply", || (!customer.received().is_empty()).then_some(()))
        .await?;
    bridge.quiet().await?;
    let sent = bridge.world.telegram.sent();
    assert_eq!(sent.len(), 1, "the text is the photo's caption: {sent:?}");
    assert_eq!(sent[0].text, "Good morning");
    assert_eq!(
        sent[0].file.as_ref().map(|(kind, file)| (kind.as_str(), &file.bytes)),
        Some(("photo", &samples::photo().bytes))
    );
    bridge.assert_lawful()
}
