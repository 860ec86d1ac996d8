//! Who a message belongs to (CT).

use std::time::Duration;

use anyhow::Result;
use mantle_it::{Bridge, text};
use mantle_world::intercom::Conversation;
use mantle_world::{Fault, Order};
use serde_json::{Value, json};

const PHONE: &str = "+353888888999";
const WA_ID: &str = "353888888999";

/// How often Intercom was asked to do this.
fn calls(bridge: &Bridge, method: &str, operation: &str) -> usize {
    let all = bridge.world.intercom.calls();
    all.iter()
        .filter(|call| call.method == method && call.operation == operation)
        .count()
}

fn only_contact(bridge: &Bridge) -> Value {
    let mut all = bridge.workspace().contacts();
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn bodies(conversation: &Conversation) -> Vec<String> {
    conversation.from_customer().into_iter().map(|part| part.body).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_1_a_known_identity_costs_no_search() -> Result<()> {
    let (mut bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    bridge.quiet().await?;
    let asked = calls(&bridge, "POST", "search");
    assert!(asked >= 1);
    customer.writes("second").await;
    bridge.quiet().await?;
    bridge.restart().await?;
    customer.writes("third").await;
    bridge.quiet().await?;
    assert_eq!(calls(&bridge, "POST", "search"), asked);
    assert_eq!(calls(&bridge, "POST", "contact"), 1, "one contact was made");
    assert_eq!(calls(&bridge, "GET", "contact"), 0, "a known contact is not read again");
    assert_eq!(bodies(&bridge.only_conversation()?), ["first", "second", "third"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_2_a_stored_contact_is_found_in_every_spelling_of_its_phone() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let stored = [
        ("353888880001", "+353 888 880 001", "user"),
        ("353888880002", "00353888880002", "user"),
        ("353888880003", "088 888 0003", "user"),
        ("353888880004", "(088) 888-0004", "lead"),
        ("353888880005", "353888880005", "lead"),
        ("353888880006", "+353888880006", "lead"),
        ("353888880007", "00353 888 880 007", "user"),
    ];
    let mut known = Vec::new();
    for (place, (wa_id, phone, role)) in stored.into_iter().enumerate() {
        let fields = json!({"role": role, "phone": phone, "name": format!("Known {place}"),
            "external_id": format!("crm-{place}")});
        known.push((wa_id, bridge.workspace().add_contact(&fields)));
    }
    for (wa_id, _) in &known {
        assert!(bridge.whatsapp_customer(wa_id).writes(wa_id).await.delivered.is_good());
    }
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().contacts().len(), known.len(), "nothing was created");
    for (wa_id, contact) in &known {
        let conversations = bridge.workspace().conversations();
        let found = conversations.iter().find(|known| known.source.body == *wa_id);
        assert_eq!(found.map(|found| &found.contact), Some(contact), "{wa_id}");
    }
    let names: Vec<Value> = bridge
        .workspace()
        .contacts()
        .iter()
        .map(|known| known["name"].clone())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| name.as_str().is_some_and(|name| name.starts_with("Known"))),
        "the team's names stay: {names:?}"
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_3_a_user_comes_before_a_lead_and_one_note_lists_the_others() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let add = |role: &str, name: &str| {
        let fields = json!({"role": role, "phone": PHONE, "name": name, "external_id": name.to_lowercase()});
        bridge.workspace().add_contact(&fields)
    };
    let older = add("user", "Older");
    bridge.advance(Duration::from_secs(60));
    let user = add("user", "Newer");
    bridge.advance(Duration::from_secs(60));
    let lead = add("lead", "Newest");
    let customer = bridge.whatsapp_customer(WA_ID);
    customer.writes("Hello").await;
    customer.writes("Anybody there?").await;
    assert_eq!(bridge.at_rest().await?, 0, "the note waits for nothing");
    let conversation = bridge.only_conversation()?;
    assert_eq!(conversation.contact, user);
    let notes = conversation.notes();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    for other in ["Older", &older, "Newest", &lead] {
        assert!(notes[0].body.contains(other), "{other} in {}", notes[0].body);
    }
    assert!(!notes[0].body.contains(&user), "{}", notes[0].body);
    assert_eq!(bridge.workspace().contacts().len(), 3);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_3_a_workspace_may_prefer_the_newest() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge.connect(&workspace, "whatsapp", bridge.whatsapp_fields()).await?;
    let settings = json!({"settings": {"prefer_users": false}});
    let path = format!("/api/v1/workspaces/{workspace}");
    let (status, body) = bridge.api(http::Method::PATCH, &path, Some(&settings)).await?;
    assert_eq!((status, &body["settings"]["prefer_users"]), (200, &json!(false)));
    let user = json!({"role": "user", "phone": PHONE, "external_id": "u"});
    bridge.workspace().add_contact(&user);
    bridge.advance(Duration::from_secs(60));
    let lead = bridge.workspace().add_contact(&json!({"role": "lead", "phone": PHONE}));
    bridge.whatsapp_customer(WA_ID).writes("Hello").await;
    assert_eq!(bridge.at_rest().await?, 0, "the note waits for nothing");
    assert_eq!(bridge.only_conversation()?.contact, lead);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_4_a_stranger_becomes_one_lead_with_name_and_phone_or_attributes() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    bridge.telegram_customer(5_550_001_234).writes("from Telegram").await;
    bridge
        .whatsapp_customer(WA_ID)
        .named("Aoife B.")
        .writes("from WhatsApp")
        .await;
    bridge
        .whatsapp_customer("353888888111")
        .named("")
        .writes("nameless")
        .await;
    bridge.sms_customer("+353888888222").writes("by SMS").await;
    bridge.quiet().await?;
    let contacts = bridge.workspace().contacts();
    assert_eq!(contacts.len(), 4);
    for (name, phone) in [
        ("Jana K", Value::Null),
        ("Aoife B.", json!("+353888888999")),
        ("+353888888111", json!("+353888888111")),
        ("+353888888222", json!("+353888888222")),
    ] {
        let contact = contacts.iter().find(|known| known["name"] == name);
        let contact = contact.unwrap_or_else(|| panic!("{name} in {contacts:#?}"));
        assert_eq!(
            (&contact["role"], &contact["phone"]),
            (&json!("lead"), &phone),
            "{name}"
        );
    }
    let jana = contacts.iter().find(|known| known["name"] == "Jana K").unwrap();
    assert_eq!(jana["custom_attributes"]["mantle_channel"], "telegram");
    assert_eq!(jana["custom_attributes"]["mantle_telegram_id"], "5550001234");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_4_first_messages_at_once_make_one_lead_though_the_index_lags() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    bridge.workspace().index_lag(Duration::from_secs(3600));
    let customer = bridge.telegram_customer(5_550_001_234);
    bridge.world.telegram.webhooks().hold();
    for place in 1..=8 {
        customer.writes(&format!("message {place}")).await;
    }
    let delivered = bridge.world.telegram.webhooks().release(Order::AtOnce).await;
    assert!(delivered.iter().all(mantle_world::Delivered::is_good));
    bridge.quiet().await?;
    only_contact(&bridge);
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 8);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_4_in_4_two_channels_at_once_make_one_lead_though_the_index_lags() -> Result<()> {
    let (bridge, _) = Bridge::connected().await?;
    bridge.workspace().index_lag(Duration::from_secs(3600));
    let (whatsapp, sms) = (bridge.whatsapp_customer(WA_ID), bridge.sms_customer(PHONE));
    bridge.world.whatsapp.webhooks().hold();
    bridge.world.twilio.webhooks().hold();
    whatsapp.writes("by WhatsApp").await;
    sms.writes("by SMS").await;
    tokio::join!(
        bridge.world.whatsapp.webhooks().release(Order::AtOnce),
        bridge.world.twilio.webhooks().release(Order::AtOnce),
    );
    bridge.quiet().await?;
    let contact = only_contact(&bridge);
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), 2);
    assert!(
        conversations
            .iter()
            .all(|known| contact["id"] == known.contact.as_str())
    );
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_4_a_lead_whose_making_was_not_answered_is_found_before_it_is_made_again() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    bridge.workspace().index_lag(Duration::from_secs(20));
    bridge.world.intercom.faults().next_on("contact", Fault::ResetAfter);
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("first").await;
    customer.writes("second").await;
    for _ in 0..8 {
        bridge.at_rest().await?;
        only_contact(&bridge);
        bridge.advance(Duration::from_secs(5));
    }
    bridge.quiet().await?;
    only_contact(&bridge);
    assert_eq!(bodies(&bridge.only_conversation()?), ["first", "second"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_5_attributes_are_defined_once_and_written_once() -> Result<()> {
    let (bridge, channels) = Bridge::connected().await?;
    let defined = bridge.workspace().contact_attributes();
    for name in ["mantle_channel", "mantle_telegram_id", "mantle_whatsapp_id"] {
        assert_eq!(
            defined.iter().filter(|known| *known == name).count(),
            1,
            "{name} in {defined:?}"
        );
    }
    assert_eq!(
        bridge.connect_workspace().await?,
        channels.workspace,
        "the same workspace again"
    );
    assert_eq!(bridge.workspace().contact_attributes(), defined);

    let customer = bridge.telegram_customer(5_550_001_234);
    for words in ["one", "two", "three"] {
        customer.writes(words).await;
    }
    bridge.quiet().await?;
    let writes: Vec<_> = bridge
        .world
        .intercom
        .calls()
        .into_iter()
        .filter(|call| call.body["custom_attributes"].get("mantle_telegram_id").is_some())
        .collect();
    assert_eq!(writes.len(), 1, "{writes:#?}");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_5_a_wiped_map_is_rebuilt_from_the_attribute() -> Result<()> {
    let (mut bridge, _) = Bridge::with_telegram().await?;
    bridge.telegram_customer(5_550_001_234).writes("before").await;
    bridge.telegram_customer(5_550_009_999).writes("somebody else").await;
    bridge.quiet().await?;
    let before = bridge.workspace().contacts();
    assert_eq!(before.len(), 2);

    bridge.stop().await;
    std::fs::remove_dir_all(bridge.folder().join("data"))?;
    bridge.restart().await?;
    let workspace = bridge.connect_workspace().await?;
    let fields = mantle_it::telegram_fields();
    let body = json!({"plugin": "telegram", "name": "again", "fields": fields, "take_over": true});
    let path = format!("/api/v1/workspaces/{workspace}/channels");
    let (status, answer) = bridge.api(http::Method::POST, &path, Some(&body)).await?;
    assert_eq!(status, 201, "{answer}");

    bridge.telegram_customer(5_550_001_234).writes("after").await;
    bridge.quiet().await?;
    assert_eq!(bridge.workspace().contacts().len(), 2, "nobody was made twice");
    let jana = before
        .iter()
        .find(|known| known["custom_attributes"]["mantle_telegram_id"] == "5550001234")
        .unwrap();
    let after = bridge
        .workspace()
        .conversations()
        .into_iter()
        .find(|known| known.source.body == "after")
        .unwrap();
    assert_eq!(jana["id"], after.contact.as_str());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_6_a_name_changes_only_while_it_is_ours() -> Result<()> {
    let (bridge, _) = Bridge::with_telegram().await?;
    let customer = bridge.telegram_customer(5_550_001_234);
    customer.writes("Hello").await;
    bridge.quiet().await?;
    let id = text(&only_contact(&bridge), "id")?;
    customer
        .clone()
        .named("Jana", Some("Novak"), None)
        .writes("I married")
        .await;
    bridge.quiet().await?;
    assert_eq!(only_contact(&bridge)["name"], "Jana Novak");

    bridge.workspace().rename_contact(&id, "Jana (VIP)");
    customer.clone().named("J.", None, None).writes("I am J. now").await;
    customer.clone().named("K.", None, None).writes("I am K. now").await;
    bridge.quiet().await?;
    assert_eq!(only_contact(&bridge)["name"], "Jana (VIP)");
    assert_eq!(bridge.only_conversation()?.from_customer().len(), 4);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_6_a_name_the_team_gave_before_us_is_left_alone() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let fields = json!({"role": "user", "phone": PHONE, "name": "Mrs Byrne", "external_id": "crm-1"});
    bridge.workspace().add_contact(&fields);
    bridge.whatsapp_customer(WA_ID).named("aoife").writes("Hello").await;
    bridge.quiet().await?;
    bridge
        .whatsapp_customer(WA_ID)
        .named("aoife ✨")
        .writes("Me again")
        .await;
    bridge.quiet().await?;
    assert_eq!(only_contact(&bridge)["name"], "Mrs Byrne");
    bridge.assert_lawful()
}

async fn merged(told: bool) -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer(WA_ID);
    customer.writes("as a lead").await;
    bridge.quiet().await?;
    let lead = text(&only_contact(&bridge), "id")?;
    let user = bridge
        .workspace()
        .add_contact(&json!({"role": "user", "email": "aoife@mail.example", "name": "Aoife"}));
    if !told {
        bridge.world.intercom.webhooks().lose(1);
    }
    bridge.workspace().merge_contacts(&lead, &user).await;
    customer.writes("as a user").await;
    bridge.quiet().await?;
    let searches = calls(&bridge, "POST", "search");
    customer.writes("still").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(bodies(&conversation), ["as a lead", "as a user", "still"]);
    assert_eq!(conversation.from_customer()[1].author.id, user);
    assert_eq!(only_contact(&bridge)["id"], user.as_str(), "no new lead");
    assert_eq!(calls(&bridge, "POST", "search"), searches, "the survivor is known");

    bridge
        .teammate()
        .replies(&conversation.id, "<p>Hello Aoife</p>", &[])
        .await;
    bridge.quiet().await?;
    let received: Vec<String> = customer.received().into_iter().map(|sent| sent.text).collect();
    assert_eq!(received, ["Hello Aoife"]);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_7_a_merge_that_is_told_moves_the_thread_to_the_survivor() -> Result<()> {
    merged(true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_7_a_merge_whose_event_is_lost_moves_the_thread_to_the_survivor() -> Result<()> {
    merged(false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_9_an_archived_contact_is_followed_by_a_new_lead_and_no_message_is_lost() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let customer = bridge.whatsapp_customer(WA_ID);
    customer.writes("before").await;
    bridge.quiet().await?;
    let old = text(&only_contact(&bridge), "id")?;
    bridge.advance(Duration::from_secs(3600));
    bridge.workspace().archive_contact(&old);
    customer.writes("after").await;
    customer.writes("and again").await;
    bridge.quiet().await?;
    let new = only_contact(&bridge);
    assert_ne!(new["id"], old.as_str());
    assert_eq!((&new["role"], &new["phone"]), (&json!("lead"), &json!(PHONE)));
    let conversations = bridge.workspace().conversations();
    assert_eq!(conversations.len(), 2);
    let fresh = conversations.iter().find(|known| new["id"] == known.contact.as_str());
    let written = fresh.map(bodies).unwrap_or_default();
    assert!(written.len() == 2 && written[0].ends_with("after"), "{written:?}");
    assert_eq!(written[1], "and again");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_10_two_identities_on_one_contact_never_cross() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let people = [
        bridge.whatsapp_customer(WA_ID),
        bridge.whatsapp_customer("353888888111"),
    ];
    let openings = ["from the first", "from the second"];
    for (person, words) in people.iter().zip(openings) {
        person.writes(words).await;
    }
    bridge.quiet().await?;
    let user = bridge
        .workspace()
        .add_contact(&json!({"role": "user", "email": "both@mail.example"}));
    for lead in bridge
        .workspace()
        .contacts()
        .iter()
        .filter(|known| known["role"] == "lead")
    {
        bridge.workspace().merge_contacts(&text(lead, "id")?, &user).await;
    }
    let of = |words: &str| {
        let all = bridge.workspace().conversations();
        assert_eq!(all.len(), 2);
        all.into_iter().find(|known| known.source.body == words).unwrap()
    };
    for (person, words) in people.iter().zip(openings) {
        person.writes(&format!("{words} again")).await;
        bridge
            .teammate()
            .replies(&of(words).id, &format!("<p>to whom it is {words}</p>"), &[])
            .await;
    }
    bridge.quiet().await?;
    for (person, words) in people.iter().zip(openings) {
        let conversation = of(words);
        assert_eq!(conversation.contact, user);
        assert_eq!(bodies(&conversation), [words.to_owned(), format!("{words} again")]);
        let received: Vec<String> = person.received().into_iter().map(|sent| sent.text).collect();
        assert_eq!(received, [format!("to whom it is {words}")]);
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_12_a_phone_that_is_told_later_joins_the_identity_and_merges_no_contacts() -> Result<()> {
    const USER_ID: &str = "IE.13491208655302741918";
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let fields = json!({"role": "user", "phone": PHONE, "name": "In the books", "external_id": "crm-1"});
    let stored = bridge.workspace().add_contact(&fields);
    let number = bridge.world.whatsapp.number(mantle_world::whatsapp::PHONE_NUMBER_ID);
    number.hidden_customer(USER_ID).writes("hidden").await;
    bridge.quiet().await?;
    let shown = bridge.whatsapp_customer(WA_ID).with_user_id(USER_ID);
    shown.writes("shown").await;
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(bodies(&conversation), ["hidden", "shown"]);
    assert_ne!(conversation.contact, stored, "nobody is merged in silence");
    assert_eq!(bridge.workspace().contacts().len(), 2);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_13_renumbered_phones_are_one_contact() -> Result<()> {
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let renumbered = [
        ("551187654321", "+5511987654321"),
        ("5215512345678", "+525512345678"),
        ("5491123456789", "+541123456789"),
        ("22990011234", "+2290190011234"),
    ];
    let mut known = Vec::new();
    for (wa_id, phone) in renumbered {
        let fields = json!({"role": "user", "phone": phone, "external_id": phone});
        known.push((wa_id, bridge.workspace().add_contact(&fields)));
    }
    for (wa_id, _) in &known {
        bridge.whatsapp_customer(wa_id).writes(wa_id).await;
    }
    bridge.quiet().await?;
    let conversations = bridge.workspace().conversations();
    for (wa_id, contact) in &known {
        let found = conversations.iter().find(|known| known.source.body == *wa_id);
        assert_eq!(found.map(|found| &found.contact), Some(contact), "{wa_id}");
    }
    assert_eq!(bridge.workspace().contacts().len(), known.len());
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ct_11_a_customer_without_a_phone_number_is_answered_by_user_id() -> Result<()> {
    const USER_ID: &str = "IE.13491208655302741918";
    let (bridge, _) = Bridge::with_whatsapp().await?;
    let number = bridge.world.whatsapp.number(mantle_world::whatsapp::PHONE_NUMBER_ID);
    let customer = number.hidden_customer(USER_ID).named("Aoife");
    assert!(customer.writes("Who am I?").await.delivered.is_good());
    bridge.quiet().await?;
    let contact = only_contact(&bridge);
    assert_eq!((&contact["role"], &contact["phone"]), (&json!("lead"), &Value::Null));
    assert_eq!(contact["name"], "Aoife");
    assert_eq!(contact["custom_attributes"]["mantle_whatsapp_id"], USER_ID);
    let conversation = bridge.only_conversation()?;
    assert_eq!(bodies(&conversation), ["Who am I?"]);

    bridge
        .teammate()
        .replies(&conversation.id, "<p>You are Aoife</p>", &[])
        .await;
    bridge
        .until("the answer", || (!customer.received().is_empty()).then_some(()))
        .await?;
    bridge.quiet().await?;
    let sent = bridge.world.whatsapp.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].to.as_str(), sent[0].text.as_str()), (USER_ID, "You are Aoife"));
    assert_eq!(sent[0].body["recipient"], USER_ID);
    assert!(sent[0].body.get("to").is_none(), "{}", sent[0].body);
    bridge.assert_lawful()
}

async fn waits_for_the_search(fault: Fault) -> Result<()> {
    let (bridge, channel) = Bridge::with_whatsapp().await?;
    let fields = json!({"role": "user", "phone": PHONE, "external_id": "crm-1"});
    let known = bridge.workspace().add_contact(&fields);
    bridge.world.intercom.faults().always_on("search", fault);
    let customer = bridge.whatsapp_customer(WA_ID);
    for words in ["first", "second"] {
        assert!(customer.writes(words).await.delivered.is_good());
    }
    for _ in 0..6 {
        assert_eq!(bridge.at_rest().await?, 2, "both wait");
        bridge.advance(Duration::from_secs(120));
    }
    // A search that began before the last step of the clock would ask for its pause after the next one.
    assert_eq!(bridge.at_rest().await?, 2, "both wait");
    assert_eq!(calls(&bridge, "POST", "contact"), 0, "no lead was made on a guess");
    assert!(bridge.workspace().conversations().is_empty());
    let list = bridge.get(&format!("/api/v1/messages?channel={}", channel.id)).await?;
    assert!(
        list["messages"]
            .as_array()
            .is_some_and(|rows| rows.iter().all(|row| row["state"] == "stored")),
        "{list}"
    );

    bridge.world.intercom.faults().clear();
    bridge.advance(Duration::from_secs(3600));
    bridge.quiet().await?;
    let conversation = bridge.only_conversation()?;
    assert_eq!(conversation.contact, known);
    assert_eq!(bodies(&conversation), ["first", "second"]);
    assert_eq!(bridge.workspace().contacts().len(), 1);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_16_a_message_waits_while_the_search_is_out_of_order() -> Result<()> {
    waits_for_the_search(Fault::Refuse(503)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn ct_16_a_message_waits_while_the_search_is_limited() -> Result<()> {
    waits_for_the_search(Fault::Limit(Some("30".to_owned()))).await
}
