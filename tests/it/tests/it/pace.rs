//! Limits, outages and refused credentials: what waits, for how long, and that it costs neither order nor messages.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{Bridge, text};
use mantle_world::{Fault, whatsapp};
use serde_json::{Value, json};

use crate::replies::{On, listed, pass};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// One person meets a limit of the account; four others want to be written to meanwhile.
async fn account_limit(retry_after: Option<&str>, held: Duration) -> Result<()> {
    let bridge = On::Sms.bridge().await?;
    let mut talks = Vec::new();
    for who in 1..=5 {
        talks.push(On::Sms.talk(&bridge, who).await?);
    }
    let twilio = &bridge.world.twilio;
    let sends = || twilio.sent().len() + twilio.faults().struck();
    bridge
        .world
        .twilio
        .faults()
        .next_on("send", Fault::Limit(retry_after.map(str::to_owned)));
    talks[0].reply(&bridge, "<p>To you</p>", &[]).await?;
    bridge.at_rest().await?;
    assert_eq!(sends(), 1);
    for talk in &talks[1..] {
        talk.reply(&bridge, "<p>To you</p>", &[]).await?;
    }
    bridge.at_rest().await?;
    pass(&bridge, 1, held - Duration::from_secs(1)).await?;
    assert_eq!(sends(), 1, "{retry_after:?}: nobody calls before the time is over");
    pass(&bridge, 1, Duration::from_secs(1)).await?;
    assert!(sends() > 1, "{retry_after:?}: the first one is sent at its time");
    // The others within a fifth of the wait, half a minute at most.
    pass(&bridge, 1, (held / 5).min(MINUTE / 2)).await?;
    bridge.quiet().await?;
    for talk in &talks {
        assert_eq!(talk.got(&bridge), ["To you"], "{retry_after:?}");
    }
    let (_, listed) = bridge.api(Method::GET, "/api/v1/messages", None).await?;
    for row in listed["messages"].as_array().context("no list")? {
        let message = bridge.get(&format!("/api/v1/messages/{}", text(row, "id")?)).await?;
        assert_eq!(message["tries"], 0, "{message}");
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c1_a_limit_in_seconds_holds_the_whole_account() -> Result<()> {
    account_limit(Some("17"), Duration::from_secs(17)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c1_a_limit_by_date_holds_the_whole_workspace() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let until = Fault::Limit(Some("Fri, 20 Nov 2026 14:00:30 GMT".to_owned()));
    bridge.world.intercom.faults().next_on("search", until);
    for who in 0..5 {
        assert!(
            bridge
                .telegram_customer(7_000 + who)
                .writes("one")
                .await
                .delivered
                .is_good()
        );
        bridge.at_rest().await?;
    }
    pass(&bridge, 1, Duration::from_secs(29)).await?;
    assert!(
        bridge.workspace().contacts().is_empty(),
        "nobody is made before the time is over"
    );
    pass(&bridge, 1, Duration::from_secs(1)).await?;
    assert!(
        !bridge.workspace().contacts().is_empty(),
        "the first one is made at its time"
    );
    pass(&bridge, 1, Duration::from_secs(6)).await?;
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().conversations().len(), 5);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_a_limit_without_a_time_or_with_a_negative_one_holds_for_seconds() -> Result<()> {
    account_limit(None, Duration::from_secs(5)).await?;
    account_limit(Some("-5"), Duration::from_secs(5)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_an_absurd_limit_is_believed_for_six_hours() -> Result<()> {
    account_limit(Some("9999999"), 6 * HOUR).await
}

/// A dozen customers on one channel, each with two messages, while every call to the inbox fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c2_ten_minutes_of_errors_cost_one_probe_a_wait_and_no_order() -> Result<()> {
    const CUSTOMERS: i64 = 12;
    let (bridge, channel) = Bridge::with_telegram().await?;
    bridge.world.intercom.faults().always(Fault::Refuse(500));
    for who in 0..CUSTOMERS {
        assert!(
            bridge
                .telegram_customer(7_000 + who)
                .writes("one")
                .await
                .delivered
                .is_good()
        );
        assert!(
            bridge
                .telegram_customer(7_000 + who)
                .writes("two")
                .await
                .delivered
                .is_good()
        );
    }
    // The first tries show what is wrong, within five seconds.
    pass(&bridge, 5, Duration::from_secs(1)).await?;
    let metrics = bridge.get("/metrics").await?.to_string();
    let workspace = text(&channel.body, "workspace_id").or_else(|_| text(&channel.body, "workspace"))?;
    let open = format!("mantle_breaker_state{{target=\\\"inbox\\\",of=\\\"{workspace}\\\"}} 2");
    assert!(metrics.contains(&open), "{open} is not in {metrics}");
    let before = bridge.world.intercom.faults().struck();
    pass(&bridge, 119, Duration::from_secs(5)).await?;
    let probes = bridge.world.intercom.faults().struck() - before;
    assert!((4..=7).contains(&probes), "{probes} calls while the breaker was open");

    bridge.world.intercom.faults().clear();
    let mut waited = Duration::ZERO;
    while bridge.at_rest().await? > 0 {
        waited += MINUTE / 6;
        assert!(waited <= HOUR, "work resumes");
        bridge.advance(MINUTE / 6);
    }
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), CUSTOMERS as usize);
    for conversation in &conversations {
        let parts = conversation.from_customer();
        let words: Vec<&str> = parts
            .iter()
            .map(|part| part.body.lines().last().unwrap_or_default())
            .collect();
        assert_eq!(words, ["one", "two"], "in order, once each");
    }
    let metrics = bridge.get("/metrics").await?.to_string();
    assert!(!metrics.contains(&open), "it is closed or about to be");
    bridge.assert_lawful()
}

async fn shown(bridge: &Bridge, workspace: &str) -> Result<Value> {
    bridge.get(&format!("/api/v1/workspaces/{workspace}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ws_7_c11_a_revoked_token_parks_the_workspace_until_a_new_one_comes() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let customers: Vec<_> = (0..10).map(|who| bridge.telegram_customer(7_000 + who)).collect();
    bridge.workspace().revoke_token();
    for round in ["one", "two"] {
        for customer in &customers {
            assert!(customer.writes(round).await.delivered.is_good());
        }
    }
    assert_eq!(bridge.at_rest().await?, 20, "all is stored");
    let row = shown(&bridge, &channels.workspace).await?;
    assert_eq!(row["status"], "disconnected", "{row}");
    let since = text(&row, "status_since")?;
    let before = bridge.world.intercom.calls().len();
    pass(&bridge, 60, MINUTE / 6).await?;
    let calls = bridge.world.intercom.calls().len() - before;
    assert!(calls <= 10, "{calls} calls in ten minutes with a token that is refused");
    assert_eq!(
        text(&shown(&bridge, &channels.workspace).await?, "status_since")?,
        since,
        "told once"
    );

    assert_eq!(
        bridge.connect_workspace().await?,
        channels.workspace,
        "the same one, with the new token"
    );
    bridge.quiet().await?;
    assert_eq!(shown(&bridge, &channels.workspace).await?["status"], "active");
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), customers.len());
    for conversation in conversations {
        let words: Vec<String> = conversation
            .from_customer()
            .iter()
            .map(|part| part.body.lines().last().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(words, ["one", "two"]);
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws_7_a_lost_permission_parks_and_gives_nothing_up() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    bridge.world.intercom.faults().always(Fault::Refuse(403));
    let customer = bridge.telegram_customer(7_000);
    assert!(customer.writes("one").await.delivered.is_good());
    assert_eq!(bridge.at_rest().await?, 1);
    assert_eq!(shown(&bridge, &channels.workspace).await?["status"], "disconnected");
    bridge.world.intercom.faults().clear();
    // The permission is given back to the same token: found out within two minutes, by nobody's doing.
    pass(&bridge, 12, MINUTE / 6).await?;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 1);
    assert_eq!(shown(&bridge, &channels.workspace).await?["status"], "active");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws_7_timeouts_are_no_lost_token() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    bridge.world.intercom.faults().always(Fault::Reset);
    assert!(bridge.telegram_customer(7_000).writes("one").await.delivered.is_good());
    bridge.at_rest().await?;
    pass(&bridge, 30, MINUTE).await?;
    assert_eq!(shown(&bridge, &channels.workspace).await?["status"], "waiting");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn th_9_after_two_days_a_message_is_dead_with_an_alarm_and_a_replay_posts_once() -> Result<()> {
    let (bridge, channel) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(7_000);
    bridge.world.intercom.faults().always(Fault::Refuse(503));
    assert!(customer.writes("one").await.delivered.is_good());
    bridge.at_rest().await?;
    let find = async || -> Result<Value> {
        let listed = bridge.get("/api/v1/messages").await?;
        let first = listed["messages"].as_array().and_then(|all| all.first());
        first.cloned().context("no message")
    };
    pass(&bridge, 90, MINUTE * 30).await?;
    assert_ne!(find().await?["state"], "dead", "45 hours are not two days");
    pass(&bridge, 12, MINUTE * 30).await?;
    let message = find().await?;
    assert_eq!(message["state"], "dead", "{message}");
    let workspaces = bridge.get("/api/v1/workspaces").await?;
    let warning = workspaces["workspaces"][0]["warning"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(warning.contains("given up"), "{warning}");
    let metrics = bridge.get("/metrics").await?.to_string();
    let counted = format!("mantle_dead_letters_total{{channel=\\\"{}\\\"}} 1", channel.id);
    assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    assert_eq!(bridge.workspace().conversations().len(), 0);

    bridge.world.intercom.faults().clear();
    let path = format!("/api/v1/messages/{}/replay", text(&message, "id")?);
    let (status, answer) = bridge.api(Method::POST, &path, Some(&json!({}))).await?;
    ensure!((200..300).contains(&status), "{status} {answer}");
    // The breaker may ask for a few minutes first.
    pass(&bridge, 10, MINUTE).await?;
    bridge.quiet().await?;
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 1, "once");
    let (again, _) = bridge.api(Method::POST, &path, Some(&json!({}))).await?;
    assert_eq!(again, 409, "what arrived is not replayed");
    bridge.assert_lawful()
}

/// The lookup of a contact fails: nobody is made on a guess.
async fn lookup_fails(fault: Fault) -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    bridge.world.intercom.faults().always_on("search", fault);
    let customer = bridge.telegram_customer(7_000);
    assert!(customer.writes("one").await.delivered.is_good());
    assert!(customer.writes("two").await.delivered.is_good());
    bridge.at_rest().await?;
    pass(&bridge, 20, MINUTE / 2).await?;
    assert_eq!((bridge.at_rest().await?, bridge.workspace().contacts().len()), (2, 0));
    assert!(bridge.workspace().conversations().is_empty());
    bridge.world.intercom.faults().clear();
    let mut waited = Duration::ZERO;
    while bridge.at_rest().await? > 0 {
        waited += MINUTE;
        assert!(waited <= 2 * HOUR, "work resumes");
        bridge.advance(MINUTE);
    }
    assert_eq!(bridge.workspace().contacts().len(), 1);
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 2);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_16_a_failing_lookup_makes_nobody() -> Result<()> {
    lookup_fails(Fault::Refuse(503)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_16_a_limited_lookup_makes_nobody() -> Result<()> {
    lookup_fails(Fault::Limit(Some("20".to_owned()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn c19_p18_shuffled_statuses_never_go_backwards() -> Result<()> {
    let bridge = On::WhatsApp.bridge().await?;
    let number = bridge.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    number.reports_statuses(false);
    let rank = |state: &str| {
        ["accepted", "sent", "delivered", "read"]
            .iter()
            .position(|known| *known == state)
    };
    let orders = [
        ["read", "delivered", "sent"],
        ["delivered", "sent", "read"],
        ["sent", "read", "delivered"],
        ["read", "sent", "delivered"],
        ["delivered", "read", "sent"],
    ];
    for (who, order) in (1..).zip(orders) {
        let talk = On::WhatsApp.talk(&bridge, who).await?;
        talk.reply(&bridge, "<p>Hi</p>", &[]).await?;
        bridge.quiet().await?;
        let sent = number.sent().pop().context("nothing was sent")?;
        let mut last = Some(0);
        for status in order {
            assert!(number.status(&sent.id, status, None).await.is_good());
            bridge.quiet().await?;
            let replies = listed(&bridge).await?;
            let newest = replies.last().context("no reply")?;
            let now = rank(newest["state"].as_str().unwrap_or_default());
            assert!(now >= last, "{order:?}: {status} made it {}", newest["state"]);
            last = now;
        }
        assert_eq!(last, Some(3), "{order:?} ends as read");
    }
    bridge.assert_lawful()
}
