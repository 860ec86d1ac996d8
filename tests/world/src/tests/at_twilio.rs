//! Twilio: forms in, messages out.

use super::*;

#[tokio::test]
async fn twilio_signs_the_public_address_and_fetches_media() {
    let trial = Trial::start().await;
    let account = trial.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    account.add_number(twilio::NUMBER);
    let basic = format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", twilio::ACCOUNT_SID, twilio::AUTH_TOKEN))
    );
    let headers = [
        ("authorization", basic.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let base = format!("https://api.twilio.com/2010-04-01/Accounts/{}", twilio::ACCOUNT_SID);
    let listed = trial
        .call(Method::GET, &format!("{base}/IncomingPhoneNumbers.json"), &headers, "")
        .await
        .unwrap();
    let sid = serde_json::from_slice::<Value>(&listed.body).unwrap()["incoming_phone_numbers"][0]["sid"].clone();
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("SmsUrl", &format!("{}#rc=3&rp=all", hook("twilio-sms")))
        .finish();
    trial
        .call(
            Method::POST,
            &format!("{base}/IncomingPhoneNumbers/{}.json", sid.as_str().unwrap()),
            &headers,
            form,
        )
        .await
        .unwrap();

    let customer = account.customer("+15005550006", twilio::NUMBER);
    customer.sends("Olá 2+2", &[samples::photo()]).await;
    let told = trial.heard()[0].clone();
    assert_eq!(
        told.header("x-twilio-signature"),
        signature::twilio(twilio::AUTH_TOKEN, &hook("twilio-sms"), &told.form())
    );
    let media = told.form().into_iter().find(|(name, _)| name == "MediaUrl0").unwrap().1;
    let redirect = trial.call(Method::GET, &media, &headers[..1], "").await.unwrap();
    assert_eq!(redirect.status, 307);
    let stored = trial
        .call(Method::GET, redirect.header("location"), &[], "")
        .await
        .unwrap();
    assert_eq!(stored.body, samples::photo().bytes);

    let form = format!("To=%2B15005550006&From=%2B15005550010&Body=Hi&MediaUrl={PUBLIC}/file/1");
    let made = trial
        .call(Method::POST, &format!("{base}/Messages.json"), &headers, form)
        .await
        .unwrap();
    assert_eq!(made.status, 201);
    trial.world.settled().await;
    assert_eq!(customer.received()[0].files[0].bytes, samples::picture().bytes);
    customer.writes("STOP").await;
    let form = "To=%2B15005550006&From=%2B15005550010&Body=Hi";
    let refused = trial
        .call(Method::POST, &format!("{base}/Messages.json"), &headers, form)
        .await
        .unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&refused.body).unwrap()["code"], 21_610);
    assert_eq!(trial.world.violations(), Vec::new());
}
