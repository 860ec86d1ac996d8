//! Hostile connectors behind the front door, and plugins that come, change and fail while the host runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{Bridge, Channel, PATIENCE, PUBLIC_URL, text};
use serde_json::{Value, json};

use crate::logs;

pub(crate) async fn guests() -> Result<PathBuf> {
    use std::sync::OnceLock;
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = tokio::task::spawn_blocking(|| {
        BUILT
            .get_or_init(|| mantle_components::build_guests().map_err(|error| format!("{error:#}")))
            .clone()
    });
    built.await?.map_err(anyhow::Error::msg)
}

/// The entry of a guest in `plugins.toml`.
pub(crate) async fn entry(name: &str) -> Result<String> {
    let file = serde_json::to_string(&guests().await?.join(format!("{name}.wasm")))?;
    Ok(format!("[plugins.{name}]\ncomponent = {file}\ngrants = \"asked\"\n"))
}

/// A host with this guest beside Telegram, both with a channel.
async fn beside_telegram(guest: &str) -> Result<(Bridge, Channel)> {
    let bridge = Bridge::start_with(&entry(guest).await?).await?;
    let workspace = bridge.connect_workspace().await?;
    bridge
        .connect(&workspace, "telegram", mantle_it::telegram_fields())
        .await?;
    let channel = bridge
        .connect(&workspace, guest, json!({"key": "guest-key-0123456789abcdef"}))
        .await?;
    Ok((bridge, channel))
}

pub(crate) async fn hook(bridge: &Bridge, channel: &Channel, body: &str) -> Result<u16> {
    let url = text(&channel.body, "hook_url")?;
    ensure!(url.starts_with(PUBLIC_URL), "{url}");
    let client = bridge.world.scene().client();
    Ok(client
        .call(Method::POST, &url, &[], body.to_owned().into())
        .await?
        .status)
}

/// The bodies of hooks that wait to be read again, newest first.
pub(crate) async fn kept(bridge: &Bridge) -> Result<Vec<String>> {
    let list = bridge.get("/api/v1/messages?state=received").await?;
    let mut bodies = Vec::new();
    for row in list["messages"].as_array().context("no list")? {
        let receipt = bridge.get(&format!("/api/v1/receipts/{}", text(row, "id")?)).await?;
        bodies.push(text(&receipt, "body")?);
    }
    Ok(bodies)
}

/// A line of the audit log that names the channel and this.
fn assert_audited(logs: &logs::Lines, channel: &Channel, what: &str) {
    let all = logs.text();
    let mut audited = all
        .lines()
        .filter(|line| line.contains("mantle::audit") && line.contains(&channel.id));
    assert!(
        audited.any(|line| line.contains(what)),
        "no audit line has `{what}` for {}",
        channel.id
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_2_an_endless_loop_is_stopped_and_others_flow_meanwhile() -> Result<()> {
    let logs = logs::capture();
    let (bridge, channel) = beside_telegram("loops").await?;
    let customer = bridge.telegram_customer(7);
    let begun = Instant::now();
    let (looped, slept, written) = tokio::join!(
        hook(&bridge, &channel, "for ever"),
        hook(&bridge, &channel, "sleep"),
        customer.writes("hello"),
    );
    assert_eq!((looped?, slept?), (200, 200), "the provider is not told to come again");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(written.delivered.is_good());
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer()[0].body, "hello");
    let mut bodies = kept(&bridge).await?;
    bodies.sort();
    assert_eq!(bodies, ["for ever", "sleep"], "the raw hooks are kept");
    assert_audited(&logs, &channel, "was stopped");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_2_op_3_a_loop_in_a_send_delays_nobody_else() -> Result<()> {
    // What one connector's worker cannot do must not take the others' turn: many hooks at once, then a message.
    let (bridge, channel) = beside_telegram("loops").await?;
    let customer = bridge.telegram_customer(7);
    let hooks = async {
        let (one, two, three, four) = tokio::join!(
            hook(&bridge, &channel, "1"),
            hook(&bridge, &channel, "2"),
            hook(&bridge, &channel, "3"),
            hook(&bridge, &channel, "4"),
        );
        anyhow::Ok([one?, two?, three?, four?])
    };
    let flowing = async {
        assert!(customer.writes("hello").await.delivered.is_good());
        bridge
            .until("the part", || bridge.workspace().conversations().pop())
            .await
    };
    let (answers, conversation) = tokio::join!(hooks, flowing);
    assert_eq!(answers?, [200; 4]);
    bridge.teammate().replies(&conversation?.id, "<p>Hi</p>", &[]).await;
    bridge.quiet().await?;
    assert_eq!(customer.received().len(), 1);
    assert_eq!(kept(&bridge).await?.len(), 4);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_2_garbage_is_rejected_and_kept() -> Result<()> {
    let logs = logs::capture();
    let (bridge, channel) = beside_telegram("garbage").await?;
    for body in ["nobody", "huge"] {
        assert_eq!(hook(&bridge, &channel, body).await?, 200);
    }
    bridge.telegram_customer(7).writes("hello").await;
    bridge.quiet().await?;
    assert_eq!(
        bridge.workspace().conversations().len(),
        1,
        "nothing of the garbage got through"
    );
    assert_eq!(kept(&bridge).await?.len(), 2);
    assert_audited(&logs, &channel, "was rejected");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_2_a_panic_is_contained() -> Result<()> {
    let logs = logs::capture();
    let (bridge, channel) = beside_telegram("traps").await?;
    assert_eq!(hook(&bridge, &channel, "boom").await?, 200);
    bridge.telegram_customer(7).writes("hello").await;
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().conversations().len(), 1);
    assert_eq!(kept(&bridge).await?, ["boom"]);
    assert_audited(&logs, &channel, "was stopped");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_2_too_much_memory_is_refused() -> Result<()> {
    let logs = logs::capture();
    let (bridge, channel) = beside_telegram("allocates").await?;
    for body in ["memory", "calls"] {
        assert_eq!(hook(&bridge, &channel, body).await?, 200);
    }
    bridge.telegram_customer(7).writes("hello").await;
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().conversations().len(), 1);
    assert_eq!(kept(&bridge).await?.len(), 2);
    assert_audited(&logs, &channel, "was stopped");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_2_a_host_that_was_not_granted_is_denied() -> Result<()> {
    let logs = logs::capture();
    let (bridge, channel) = beside_telegram("denied").await?;
    // In `receive` no call at all is allowed: the guest writes down what it was told.
    assert_eq!(hook(&bridge, &channel, "x").await?, 200);
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    let tried = conversation.from_customer()[0].body.to_lowercase();
    assert!(tried.contains("err") && tried.contains("denied"), "{tried}");
    assert_audited(&logs, &channel, "api.granted.example");

    // In `send` only what was granted: the message stays, and the operator reads who tried what.
    bridge
        .teammate()
        .replies(&conversation.id, "<p>https://evil.example/steal</p>", &[])
        .await;
    assert_eq!(bridge.at_rest().await?, 1, "the message is kept and tried again");
    assert_audited(&logs, &channel, "evil.example");
    let list = bridge.get(&format!("/api/v1/messages?channel={}", channel.id)).await?;
    let rows = list["messages"].as_array().context("no list")?;
    let reply = rows.iter().find(|row| row["kind"] == "reply").context("no reply")?;
    let trace = bridge.get(&format!("/api/v1/messages/{}", text(reply, "id")?)).await?;
    assert_eq!(trace["tries"], 1, "{trace}");
    assert!(trace["next_attempt_at"].is_string(), "{trace}");
    assert!(trace.to_string().contains("denied"), "the trace says why: {trace}");
    bridge.assert_lawful()
}

/// Longer than all tries to read a kept hook again take, and each longer than the pause before it.
const READING_AGAIN: [Duration; 12] = [Duration::from_secs(2 * 3600); 12];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_what_crashes_for_ever_is_kept_and_parked_after_so_many_tries() -> Result<()> {
    let logs = logs::capture();
    let (bridge, channel) = beside_telegram("traps").await?;
    assert_eq!(hook(&bridge, &channel, "boom").await?, 200);
    assert_eq!(kept(&bridge).await?, ["boom"]);
    for pause in READING_AGAIN {
        bridge.advance(pause);
        bridge.host().flow.settle().await?;
    }
    assert_eq!(kept(&bridge).await?, Vec::<String>::new(), "nobody tries any more");
    let parked = bridge.get("/api/v1/messages?state=parked").await?;
    let rows = parked["messages"].as_array().context("no list")?;
    assert_eq!(rows.len(), 1, "{parked}");
    let receipt = bridge
        .get(&format!("/api/v1/receipts/{}", text(&rows[0], "id")?))
        .await?;
    assert_eq!(text(&receipt, "body")?, "boom", "it is there for a person");
    assert!(receipt.to_string().contains("crashed"), "and says why: {receipt}");
    let all = logs.text();
    let crashes = all
        .lines()
        .filter(|line| line.contains("was stopped") && line.contains(&channel.id))
        .count();
    assert_eq!(crashes, 11, "once for the provider, ten times again");
    // The host and the others are fine.
    bridge.telegram_customer(7).writes("hello").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer()[0].body, "hello");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_of_a_hook_with_too_many_events_nothing_is_written() -> Result<()> {
    let (bridge, channel) = beside_telegram("hostile").await?;
    for body in ["events 10000", "late 3"] {
        assert_eq!(hook(&bridge, &channel, body).await?, 200);
    }
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().conversations().len(), 0);
    assert_eq!(bridge.workspace().contacts().len(), 0);
    assert_eq!(kept(&bridge).await?.len(), 2, "the raw hooks are kept");
    // The same keys in a good hook are new: nothing of the others was noted as seen.
    assert_eq!(hook(&bridge, &channel, "events 3").await?, 200);
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 3);
    bridge.assert_lawful()
}

/// Every word that a template, a shell, a log or a placeholder might take for its own.
const TEMPLATES: &str = "{{secret:bot_token}} {bot_token} {{bot_token}} ${bot_token} {{secret:access_token}} {access_token} \
                         ${jndi:ldap://x} %7Bbot_token%7D {0} %s {% raw %}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e14_words_of_templates_are_words_in_both_directions() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge
        .connect(&workspace, "telegram", mantle_it::telegram_fields())
        .await?;
    bridge.connect(&workspace, "whatsapp", bridge.whatsapp_fields()).await?;
    bridge.connect(&workspace, "twilio-sms", bridge.sms_fields()).await?;
    let telegram = bridge.telegram_customer(7);
    let whatsapp = bridge.whatsapp_customer("4915155501234");
    let sms = bridge.sms_customer("+15005550006");
    telegram.writes(TEMPLATES).await;
    whatsapp.writes(TEMPLATES).await;
    sms.writes(TEMPLATES).await;
    bridge.quiet().await?;
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), 3);
    for conversation in &conversations {
        assert_eq!(conversation.from_customer()[0].body, TEMPLATES);
        bridge
            .teammate()
            .replies(&conversation.id, &format!("<p>{TEMPLATES}</p>"), &[])
            .await;
    }
    bridge.quiet().await?;
    let got = [
        telegram.received().into_iter().map(|sent| sent.text).next(),
        whatsapp.received().into_iter().map(|sent| sent.text).next(),
        sms.received().into_iter().map(|sent| sent.body).next(),
    ];
    for text in got {
        assert_eq!(text.as_deref(), Some(TEMPLATES));
    }
    bridge.assert_lawful()
}

pub(crate) async fn plugins(bridge: &Bridge, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let asking = async {
        loop {
            let answer = bridge.get("/api/v1/plugins").await?;
            if wanted(&answer) {
                return anyhow::Ok(answer);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .context("the file was not taken on")?
}

pub(crate) fn plugin<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    answer["plugins"]
        .as_array()?
        .iter()
        .find(|plugin| plugin["name"] == name)
}

pub(crate) fn state<'a>(answer: &'a Value, name: &str) -> &'a str {
    plugin(answer, name)
        .and_then(|plugin| plugin["state"].as_str())
        .unwrap_or("absent")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_1_a_plugin_is_added_taken_away_and_brought_back_while_the_host_runs() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let file = bridge.folder().join("plugins.toml");
    let before = std::fs::read_to_string(&file)?;
    assert_eq!(state(&bridge.get("/api/v1/plugins").await?, "echo"), "absent");

    std::fs::write(&file, format!("{before}{}", entry("echo").await?))?;
    plugins(&bridge, |answer| state(answer, "echo") == "ready").await?;
    let workspace = text(&bridge.get("/api/v1/workspaces").await?["workspaces"][0], "id")?;
    let channel = bridge
        .connect(&workspace, "echo", json!({"key": "guest-key-0123456789abcdef"}))
        .await?;
    assert_eq!(hook(&bridge, &channel, "from the new one").await?, 200);
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer()[0].body, "from the new one");

    // Taken away: what comes for it meanwhile is kept, the rest goes on.
    std::fs::write(&file, &before)?;
    plugins(&bridge, |answer| state(answer, "echo") == "absent").await?;
    assert_eq!(hook(&bridge, &channel, "while it was away").await?, 200);
    bridge.telegram_customer(7).writes("hello").await;
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().conversations().len(), 2);
    assert_eq!(kept(&bridge).await?, ["while it was away"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_6_a_bad_plugins_toml_names_place_and_fix_and_stops_nothing() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let file = bridge.folder().join("plugins.toml");
    let before = std::fs::read_to_string(&file)?;
    let customer = bridge.telegram_customer(7);
    let missing = "[plugins.absent]\ncomponent = \"connectors/absent.wasm\"\ngrants = \"asked\"\n";
    let unconsented = entry("echo").await?.replace("grants = \"asked\"\n", "");

    // A missing component and one without consent are refused alone.
    std::fs::write(&file, format!("{before}{missing}{unconsented}"))?;
    let answer = plugins(&bridge, |answer| {
        state(answer, "absent") == "refused" && state(answer, "echo") == "refused"
    })
    .await?;
    let reason = |name| {
        plugin(&answer, name)
            .and_then(|one| one["reason"].as_str())
            .unwrap_or("")
    };
    assert!(reason("absent").contains("absent.wasm"), "{}", reason("absent"));
    assert!(reason("echo").contains("grants"), "{}", reason("echo"));
    assert!(
        reason("echo").contains("api.granted.example"),
        "what it asks for: {}",
        reason("echo")
    );
    assert_eq!(state(&answer, "telegram"), "ready");
    customer.writes("one").await;
    bridge.quiet().await?;

    // A file that cannot be read as a whole changes nothing.
    std::fs::write(&file, format!("{before}[plugins.echo\n"))?;
    let answer = plugins(&bridge, |answer| answer["configuration"]["state"] == "refused").await?;
    let problem = text(&answer["configuration"]["problems"], "0").or_else(|_| {
        let problems = answer["configuration"]["problems"].as_array().context("no problems")?;
        problems[0].as_str().map(str::to_owned).context("no words")
    })?;
    let line = before.lines().count() + 1;
    assert!(problem.contains(&format!("plugins.toml:{line}")), "{problem}");
    assert_eq!(state(&answer, "telegram"), "ready");
    customer.writes("two").await;
    bridge.quiet().await?;

    std::fs::write(&file, &before)?;
    let good = |answer: &Value| answer["configuration"]["state"] == "applied" && state(answer, "absent") == "absent";
    plugins(&bridge, good).await?;
    customer.writes("three").await;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 3);
    bridge.assert_lawful()
}
