//! CH-3: wrong credentials are named.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_wrong_credentials_of_telegram_are_named() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let check = async |token: &str, reason: &str| {
        let fields = json!({"bot_token": token});
        assert_refused(&bridge, &workspace, "telegram", (&fields, "bot_token", reason)).await
    };
    check(NO_BOT, "Unauthorized").await?;
    check("not a token", "").await?;
    check("", "").await?;
    bridge.world.telegram.bot(telegram::TOKEN).revoke();
    check(telegram::TOKEN, "Unauthorized").await?;
    assert_eq!(bridge.world.telegram.bot(telegram::TOKEN).webhook(), None);
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_wrong_credentials_of_whatsapp_are_named() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let good = bridge.whatsapp_fields();
    for (field, value, reason) in [
        ("access_token", "EAAGwrong0000000000000000000000", "access token"),
        ("phone_number_id", "999999999999999", "does not exist"),
        ("phone_number_id", "+49 30 555010", ""),
        ("business_account_id", "999999999999999", "does not exist"),
        ("business_account_id", "shop", ""),
        ("app_secret", "00000000000000000000000000000000", "appsecret_proof"),
        ("app_secret", "", ""),
        ("verify_token", "", ""),
    ] {
        let fields = with(good.clone(), field, value);
        assert_refused(&bridge, &workspace, "whatsapp", (&fields, field, reason)).await?;
    }
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_wrong_credentials_of_twilio_are_named() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    let good = bridge.sms_fields();
    for (field, value, reason) in [
        ("auth_token", "00000000000000000000000000000000", "does not accept"),
        (
            "auth_token",
            "00000000000000000000000000000000",
            "Twilio says: Authenticate",
        ),
        ("account_sid", "AC99999999999999999999999999999999", "invalid username"),
        ("account_sid", "shop", ""),
        ("from", "+15005550999", "no such number"),
        (
            "from",
            "MG00112233445566778899aabbccddeeff",
            "no such number or messaging service",
        ),
        ("from", "555 0010", ""),
    ] {
        let fields = with(good.clone(), field, value);
        assert_refused(&bridge, &workspace, "twilio-sms", (&fields, field, reason)).await?;
    }
    let account = bridge.world.twilio.account(twilio::ACCOUNT_SID, twilio::AUTH_TOKEN);
    assert_eq!(account.webhook(twilio::NUMBER), None, "nothing was set at the provider");
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_a_provider_that_is_away_is_not_a_wrong_credential() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge.world.telegram.faults().always(Fault::Refuse(503));
    let (status, answer) = bridge.try_connect(&workspace, "telegram", &telegram_fields()).await?;
    assert_eq!(status, 502, "{answer}");
    assert!(channels(&bridge, &workspace).await?.is_empty());
    bridge.world.telegram.faults().clear();
    bridge.connect(&workspace, "telegram", telegram_fields()).await?;
    bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch_3_what_fails_while_wiring_leaves_nothing_and_can_be_done_again() -> Result<()> {
    let bridge = Bridge::start().await?;
    let workspace = bridge.connect_workspace().await?;
    bridge
        .world
        .telegram
        .faults()
        .always_on("setWebhook", Fault::Refuse(400));
    let (status, answer) = bridge.try_connect(&workspace, "telegram", &telegram_fields()).await?;
    assert_ne!(status, 201, "{answer}");
    assert!(channels(&bridge, &workspace).await?.is_empty());
    bridge.world.telegram.faults().clear();
    bridge.connect(&workspace, "telegram", telegram_fields()).await?;
    assert_eq!(channels(&bridge, &workspace).await?.len(), 1);
    bridge.assert_lawful()
}
