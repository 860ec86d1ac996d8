//! OUT-13, OUT-14, OUT-18: long texts, formatting, and what is not for the customer.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_13_a_long_text_is_split_where_it_reads_best() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let sentence = "This is one whole sentence of the letter. ";
    let paragraph = sentence.repeat(60).trim_end().to_owned();
    let html: String = (0..4).map(|_| format!("<p>{paragraph}</p>")).collect();
    talk.reply(&bridge, &html, &[]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), vec![paragraph.clone(); 4], "between paragraphs");

    // One paragraph above the limit: between sentences.
    talk.reply(&bridge, &format!("<p>{}</p>", sentence.repeat(120)), &[])
        .await?;
    bridge.quiet().await?;
    let got = talk.got(&bridge)[4..].to_vec();
    assert_eq!(got.join(" "), sentence.repeat(120).trim_end());
    assert!(
        got.iter()
            .all(|piece| piece.ends_with('.') && piece.encode_utf16().count() <= 4096)
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_13_a_split_never_tears_a_word_or_an_emoji() -> Result<()> {
    const FAMILY: &str = "👩‍👩‍👧‍👦";
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let words = "wonderful ".repeat(400);
    talk.reply(&bridge, &format!("<p>{words}</p>"), &[]).await?;
    bridge.quiet().await?;
    let got = talk.got(&bridge);
    assert!(got.len() >= 3 && got.iter().all(|piece| piece.chars().count() <= 1600));
    assert_eq!(got.join(" "), words.trim_end());

    talk.reply(&bridge, &format!("<p>{}</p>", FAMILY.repeat(500)), &[])
        .await?;
    bridge.quiet().await?;
    let pieces = talk.got(&bridge)[got.len()..].to_vec();
    assert_eq!(pieces.concat(), FAMILY.repeat(500));
    for piece in &pieces {
        assert!(
            piece.chars().count() <= 1600 && piece.replace(FAMILY, "").is_empty(),
            "{piece}"
        );
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_13_a_part_that_fails_stops_the_rest() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    let faults = bridge.world.telegram.faults();
    faults.next_on("sendMessage", Fault::Late(Duration::ZERO));
    faults.next_on("sendMessage", Fault::Refuse(400));
    let paragraph = |letter: &str| format!("<p>{}</p>", letter.repeat(3_000));
    let html = ["a", "b", "c"].map(paragraph).concat();
    talk.reply(&bridge, &html, &[]).await?;
    bridge.quiet().await?;
    assert_eq!(talk.got(&bridge), ["a".repeat(3_000)]);
    let note = talk.only_note(&bridge)?;
    assert!(
        note.contains("Part 2 of 3 failed. Nothing after it was sent."),
        "{note}"
    );
    assert_eq!(states(&bridge).await?, ["failed"]);

    // The resend is for what did not arrive.
    let (status, body) = replay_last(&bridge).await?;
    assert_eq!(status, 202, "{body}");
    bridge.quiet().await?;
    let all = ["a", "b", "c"].map(|letter| letter.repeat(3_000));
    assert_eq!(talk.got(&bridge), all);
    assert_eq!(states(&bridge).await?, ["accepted"]);
    bridge.assert_lawful()
}

const RICH: &str = "<h2>Your order</h2><p>Dear <b>Jana</b>, it is <i>nearly</i> there &lt;3</p>\
    <ul><li>one</li><li>two</li></ul><p>See <a href=\"https://shop.example/t/7?a=1&amp;b=2\">the tracking</a>, \
    ask <span class=\"mention\">@Dana</span></p>";

fn entities(sent: &Sent) -> Vec<(String, String)> {
    let units: Vec<u16> = sent.text.encode_utf16().collect();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap_or_default()).unwrap_or_default();
    let list = sent.parameters["entities"].as_array().cloned().unwrap_or_default();
    list.iter()
        .map(|entity| {
            let (start, length) = (number(&entity["offset"]), number(&entity["length"]));
            let words = String::from_utf16_lossy(&units[start..start + length]);
            let url = entity["url"].as_str().map(|url| format!(" {url}")).unwrap_or_default();
            (format!("{}{url}", entity["type"].as_str().unwrap_or_default()), words)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_formatting_is_entities_on_telegram() -> Result<()> {
    let bridge = On::Telegram.bridge().await?;
    let talk = On::Telegram.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, RICH, &[]).await?;
    bridge.quiet().await?;
    let sent = bridge.world.telegram.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        sent[0].text,
        "Your order\nDear Jana, it is nearly there <3\n• one\n• two\nSee the tracking, ask @Dana"
    );
    let expected = [
        ("bold", "Your order"),
        ("bold", "Jana"),
        ("italic", "nearly"),
        ("text_link https://shop.example/t/7?a=1&b=2", "the tracking"),
    ];
    assert_eq!(
        entities(&sent[0]),
        expected.map(|(kind, words)| (kind.to_owned(), words.to_owned()))
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_formatting_is_marks_on_whatsapp() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let talk = On::WhatsApp.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, RICH, &[]).await?;
    bridge.quiet().await?;
    let expected = "*Your order*\nDear *Jana*, it is _nearly_ there <3\n• one\n• two\n\
        See the tracking (https://shop.example/t/7?a=1&b=2), ask @Dana";
    assert_eq!(talk.got(&bridge), [expected]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_formatting_is_readable_text_on_sms() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    talk.reply(&bridge, RICH, &[]).await?;
    bridge.quiet().await?;
    let expected = "Your order\nDear Jana, it is nearly there <3\n• one\n• two\n\
        See the tracking (https://shop.example/t/7?a=1&b=2), ask @Dana";
    assert_eq!(talk.got(&bridge), [expected]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_14_cards_are_readable_and_nothing_empty_is_sent() -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let talk = On::Sms.talk(&bridge, 5_001).await?;
    let card = "<div class=\"intercom-interblocks-article-card\"><a href=\"https://help.example/a/9\"><h3>Returns</h3>\
        <p>How to send it back</p></a></div>";
    let button = "<div class=\"intercom-h2b-button\"><a href=\"https://shop.example/pay\">Pay now</a></div>";
    talk.reply(&bridge, card, &[]).await?;
    talk.reply(&bridge, button, &[]).await?;
    for empty in ["<p></p>", "<p> &nbsp;<br></p>", "<script>alert(1)</script>", ""] {
        talk.reply(&bridge, empty, &[]).await?;
    }
    bridge.quiet().await?;
    let got = talk.got(&bridge);
    assert_eq!(got.len(), 2, "{got:?}");
    for words in ["Returns", "How to send it back", "https://help.example/a/9"] {
        assert!(got[0].contains(words), "{}", got[0]);
    }
    assert_eq!(got[1], "Pay now (https://shop.example/pay)");
    assert!(
        got.iter().all(|text| !text.contains('<') && !text.contains("class=")),
        "{got:?}"
    );
    assert!(talk.notes(&bridge)?.is_empty());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_18_a_foreign_conversation_costs_no_call() -> Result<()> {
    const FOREIGN: &str = "215469999999999";
    let bridge = On::Telegram.bridge().await?;
    On::Telegram.talk(&bridge, 5_001).await?;
    // The search for lost replies goes on by itself and reads conversations of ours, whatever is told.
    let calls = || {
        let inbox = bridge.world.intercom.calls();
        let inbox = inbox.iter().filter(|call| call.path.contains(FOREIGN)).count();
        (inbox, bridge.world.telegram.calls().len())
    };
    let before = calls();
    let author = json!({"type": "admin", "id": bridge.teammate().id(), "name": "Dana Ops"});
    let part = json!({"type": "conversation_part", "id": "77001", "part_type": "comment", "body": "Not for us",
        "created_at": bridge.world.scene().now(), "author": author, "attachments": []});
    let item = json!({"type": "conversation", "id": FOREIGN, "created_at": bridge.world.scene().now(),
        "conversation_parts": {"type": "conversation_part.list", "conversation_parts": [part], "total_count": 1}});
    let told = bridge.workspace().notify("conversation.admin.replied", item).await;
    assert!(told.is_some_and(|told| told.is_good()));
    bridge.quiet().await?;
    pass(&bridge, 2, Duration::from_secs(120)).await?;
    assert_eq!(calls(), before);
    assert!(listed(&bridge).await?.is_empty());
    bridge.assert_lawful()
}
