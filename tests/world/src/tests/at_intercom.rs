//! Intercom: people, conversations, what teammates do.

use super::*;

#[tokio::test]
async fn intercom_wants_attributes_defined_and_its_search_lags() {
    let trial = Trial::start().await;
    let workspace = trial.world.intercom.workspace(intercom::WORKSPACE);
    let undefined = json!({"role": "lead", "custom_attributes": {"x_telegram_id": "7"}});
    assert_eq!(
        trial.intercom(Method::POST, "/contacts", undefined.clone()).await.0,
        400
    );
    let attribute = json!({"name": "x_telegram_id", "model": "contact", "data_type": "string"});
    assert_eq!(
        trial
            .intercom(Method::POST, "/data_attributes", attribute.clone())
            .await
            .0,
        200
    );
    assert_eq!(trial.intercom(Method::POST, "/data_attributes", attribute).await.0, 400);
    workspace.index_lag(Duration::from_secs(60));
    assert_eq!(trial.intercom(Method::POST, "/contacts", undefined).await.0, 200);
    let search = json!({"query": {"field": "custom_attributes.x_telegram_id", "operator": "=", "value": "7"}});
    assert_eq!(
        trial.intercom(Method::POST, "/contacts/search", search.clone()).await.1["total_count"],
        0
    );
    let now = trial.world.scene().now_ms();
    trial.world.scene().set_clock(Some(now + 61_000));
    assert_eq!(
        trial.intercom(Method::POST, "/contacts/search", search).await.1["total_count"],
        1
    );
    assert_eq!(trial.world.violations(), Vec::new());
}

#[tokio::test]
async fn intercom_keeps_conversations_and_tells_of_replies() {
    let trial = Trial::start().await;
    trial
        .world
        .intercom
        .set_webhook(&format!("{PUBLIC}/inbox/intercom"))
        .await
        .unwrap();
    let workspace = trial.world.intercom.workspace(intercom::WORKSPACE);
    let contact = json!({"id": workspace.add_contact(&json!({"role": "lead"}))});
    let now = trial.world.scene().now_ms();
    let create = json!({"from": {"type": "lead", "id": contact["id"]}, "body": "Hi <b>"});
    let conversation = trial.intercom(Method::POST, "/conversations", create).await.1["conversation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = json!({"content_type": "image/jpeg", "name": "a.jpg", "data": STANDARD.encode(&samples::photo().bytes)});
    let reply = json!({"message_type": "comment", "type": "user", "intercom_user_id": contact["id"], "body": "[image]", "attachment_files": [file]});
    let path = format!("/conversations/{conversation}/reply");
    assert_eq!(trial.intercom(Method::POST, &path, reply.clone()).await.0, 200);

    let dana = workspace.admin(intercom::ADMIN);
    let replied = dana
        .replies(&conversation, "<p>Yes, <b>blue</b></p>", &[samples::picture()])
        .await;
    assert!(replied.delivered.unwrap().is_good());
    let told = trial
        .heard()
        .into_iter()
        .find(|call| String::from_utf8_lossy(&call.body).contains("admin.replied"))
        .unwrap();
    assert_eq!(
        told.header("x-hub-signature"),
        signature::intercom(&trial.world.intercom.client_secret(), &told.body)
    );
    let part = told.json().unwrap()["data"]["item"]["conversation_parts"]["conversation_parts"][0].clone();
    assert_eq!(
        (part["id"].as_str().unwrap(), part["body"].as_str().unwrap()),
        (replied.part.as_str(), "Yes, blue [Image]")
    );
    dana.closes(&conversation, "").await;
    trial.intercom(Method::POST, &path, reply).await;
    let (_, shown) = trial
        .intercom(Method::GET, &format!("/conversations/{conversation}"), Value::Null)
        .await;
    assert_eq!(
        (&shown["state"], &shown["source"]["body"]),
        (&json!("open"), &json!("<p>Hi &lt;b&gt;</p>"))
    );
    let parts = shown["conversation_parts"]["conversation_parts"].as_array().unwrap();
    assert_eq!(parts.last().unwrap()["part_type"], "open");
    let url = parts[0]["attachments"][0]["url"].as_str().unwrap();
    assert_eq!(
        trial.call(Method::GET, url, &[], "").await.unwrap().body,
        samples::photo().bytes
    );
    trial.world.scene().set_clock(Some(now + 3_600_000));
    assert_eq!(trial.call(Method::GET, url, &[], "").await.unwrap().status, 403);
    assert_eq!(trial.world.violations(), Vec::new());
}

#[tokio::test]
async fn intercom_tells_of_merges_conflicts_and_the_wrong_region() {
    let trial = Trial::start().await;
    let workspace = trial.world.intercom.workspace(intercom::WORKSPACE);
    let lead = workspace.add_contact(&json!({"role": "lead", "name": "A"}));
    let user = workspace.add_contact(&json!({"role": "user", "external_id": "u1"}));
    let (status, conflict) = trial
        .intercom(Method::POST, "/contacts", json!({"role": "user", "external_id": "u1"}))
        .await;
    assert_eq!(status, 409);
    assert!(
        conflict["errors"][0]["message"]
            .as_str()
            .unwrap()
            .ends_with(&format!("id={user}"))
    );
    workspace.merge_contacts(&lead, &user).await;
    let (status, gone) = trial
        .intercom(Method::GET, &format!("/contacts/{lead}"), Value::Null)
        .await;
    assert_eq!((status, &gone["errors"][0]["code"]), (410, &json!("contact_merged")));
    workspace.set_region(Region::Eu);
    assert_eq!(trial.intercom(Method::GET, "/me", Value::Null).await.0, 401);
}
