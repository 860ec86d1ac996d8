//! Faults of calls and habits of webhooks.

use super::*;

#[tokio::test]
async fn faults_happen_once_before_or_after_the_deed() {
    let trial = Trial::start().await;
    let bot = trial.world.telegram.bot(TOKEN);
    trial.telegram("setWebhook", json!({"url": hook("telegram")})).await;
    let customer = bot.customer(5);
    customer.writes("hi").await;
    let send = json!({"chat_id": 5, "text": "x"});
    let faults = trial.world.telegram.faults();
    faults.next_on("sendMessage", Fault::Refuse(503));
    assert_eq!(trial.telegram("getMe", json!({})).await["ok"], true);
    assert_eq!(trial.telegram("sendMessage", send.clone()).await["error_code"], 503);
    assert_eq!(bot.sent().len(), 0);
    faults.next(Fault::Limit(Some("7".to_owned())));
    assert_eq!(
        trial.telegram("sendMessage", send.clone()).await["parameters"]["retry_after"],
        7
    );
    faults.next(Fault::ResetAfter);
    let url = format!("https://api.telegram.org/bot{TOKEN}/sendMessage");
    let lost = trial
        .call(
            Method::POST,
            &url,
            &[("content-type", "application/json")],
            send.to_string(),
        )
        .await;
    assert!(lost.is_err());
    assert_eq!(bot.sent().len(), 1);
    assert_eq!(faults.waiting(), 0);
}

#[tokio::test]
async fn webhooks_come_twice_again_or_in_reverse() {
    let trial = Trial::start().await;
    let bot = trial.world.telegram.bot(TOKEN);
    trial.telegram("setWebhook", json!({"url": hook("telegram")})).await;
    let customer = bot.customer(5);
    let webhooks = trial.world.telegram.webhooks();
    webhooks.twice(true);
    let told = customer.writes("one").await;
    webhooks.twice(false);
    webhooks.again(&told.delivered.id).await;
    let bodies: Vec<_> = trial.heard().into_iter().map(|call| call.body).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    webhooks.hold();
    customer.writes("two").await;
    customer.writes("three").await;
    assert_eq!(webhooks.release(Order::Reversed).await.len(), 2);
    let texts: Vec<_> = trial.heard()[3..]
        .iter()
        .map(|call| call.json().unwrap()["message"]["text"].clone())
        .collect();
    assert_eq!(texts, ["three", "two"]);
}
