//! WhatsApp: webhooks in, Graph calls out.

use super::*;

#[tokio::test]
async fn whatsapp_shakes_hands_signs_escaped_bodies_and_keeps_the_window() {
    let trial = Trial::start().await;
    let number = trial.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let subscribe = json!({"override_callback_uri": hook("whatsapp"), "verify_token": "mine"});
    let account = whatsapp::BUSINESS_ACCOUNT_ID;
    assert_eq!(
        trial
            .graph(Method::POST, &format!("{account}/subscribed_apps"), subscribe)
            .await["success"],
        true
    );
    assert_eq!(trial.heard()[0].parameter("hub.verify_token").as_deref(), Some("mine"));

    let customer = number.customer("4915155501234");
    assert!(customer.writes("Grüße").await.delivered.is_good());
    let told = trial.heard()[1].clone();
    assert!(String::from_utf8_lossy(&told.body).contains("Gr\\u00fc\\u00dfe"));
    assert_eq!(
        told.header("x-hub-signature-256"),
        signature::meta(&number.setup().app_secret, &told.body)
    );

    let path = format!("{}/messages", whatsapp::PHONE_NUMBER_ID);
    let text = |to: &str| json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "text", "text": {"body": "Hi"}});
    let accepted = trial.graph(Method::POST, &path, text("+4915155501234")).await;
    assert!(accepted["messages"][0]["id"].as_str().unwrap().starts_with("wamid."));
    assert_eq!(customer.received()[0].text, "Hi");
    trial.graph(Method::POST, &path, text("+4915155509999")).await;
    trial.world.settled().await;
    let failed = trial.heard().last().unwrap().json().unwrap();
    assert_eq!(
        failed["entry"][0]["changes"][0]["value"]["statuses"][0]["errors"][0]["code"],
        131_047
    );
    assert_eq!(trial.world.violations(), Vec::new());
}

#[tokio::test]
async fn whatsapp_media_need_two_steps_and_the_token() {
    let trial = Trial::start().await;
    let number = trial.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    number.set_app_webhook(&hook("whatsapp"), "mine").await.unwrap();
    number
        .customer("49")
        .sends_image(&samples::photo(), Some("Receipt"))
        .await;
    let told = trial.heard()[1].json().unwrap();
    let id = told["entry"][0]["changes"][0]["value"]["messages"][0]["image"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let found = trial.graph(Method::GET, &id, Value::Null).await;
    let url = found["url"].as_str().unwrap();
    assert_eq!(trial.call(Method::GET, url, &[], "").await.unwrap().status, 401);
    let token = format!("Bearer {}", number.setup().access_token);
    let file = trial
        .call(Method::GET, url, &[("authorization", &token)], "")
        .await
        .unwrap();
    assert_eq!(file.body, samples::photo().bytes);
}
