//! How the providers prove that a webhook is theirs. Written anew from their documents, apart from the host's own code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

fn hmac_sha1(key: &str, data: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(key.as_bytes()) else {
        return Vec::new();
    };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hmac_sha256(key: &str, data: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes()) else {
        return Vec::new();
    };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// Meta: the value of `X-Hub-Signature-256`.
#[must_use]
pub fn meta(app_secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(hmac_sha256(app_secret, body)))
}

/// Meta: `appsecret_proof` of a token.
#[must_use]
pub fn meta_proof(app_secret: &str, token: &str) -> String {
    hex::encode(hmac_sha256(app_secret, token.as_bytes()))
}

/// Meta escapes everything that is not ASCII, and slashes, in the bodies that it sends and signs.
#[must_use]
pub fn meta_escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '/' => escaped.push_str("\\/"),
            ascii if ascii.is_ascii() => escaped.push(ascii),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}

/// Twilio: the value of `X-Twilio-Signature` over the registered address and the decoded form.
#[must_use]
pub fn twilio(auth_token: &str, url: &str, form: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = form.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut data = url.to_owned();
    for (name, value) in sorted {
        data.push_str(name);
        data.push_str(value);
    }
    STANDARD.encode(hmac_sha1(auth_token, data.as_bytes()))
}

/// Intercom: the value of `X-Hub-Signature` of a webhook.
#[must_use]
pub fn intercom(client_secret: &str, body: &[u8]) -> String {
    format!("sha1={}", hex::encode(hmac_sha1(client_secret, body)))
}

/// Intercom: the value of `X-Body-Signature` of a Canvas Kit call.
#[must_use]
pub fn canvas(client_secret: &str, body: &[u8]) -> String {
    hex::encode(hmac_sha256(client_secret, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(form: &str) -> Vec<(String, String)> {
        form_urlencoded::parse(form.as_bytes()).into_owned().collect()
    }

    #[test]
    fn meta_signs_the_escaped_bytes() {
        let plain = r#"{"object":"whatsapp_business_account","entry":[{"id":"104996122399160","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"4930555010","phone_number_id":"110987654321098"},"contacts":[{"profile":{"name":"Jürgen"},"wa_id":"4915155501234","user_id":"DE.84120037755512"}],"messages":[{"from":"4915155501234","from_user_id":"DE.84120037755512","id":"wamid.HBgNNDkxNTE1NTUwMTIzNBUCABIYFDNBAA==","timestamp":"1795000000","type":"text","text":{"body":"Grüße 👋 https://example.com"}}]},"field":"messages"}]}]}"#;
        let secret = "9f2c4b7e1a6d8035c4e1f7a2b8d90e36";
        let escaped = meta_escaped(plain);
        assert_eq!((plain.len(), escaped.len()), (543, 565));
        assert_eq!(
            meta(secret, escaped.as_bytes()),
            "sha256=86c95f57f3f128ec4467db6009667635b9b9bfe62af61cb1acb071b7e7c265ef"
        );
        assert_eq!(
            meta(secret, plain.as_bytes()),
            "sha256=8d003551416201a8b9f2e1c6e3bdd6783b0ff074480bb5957172e306f17dca15"
        );
        assert_eq!(
            meta_proof(secret, "EAAGexampleToken123"),
            "fab3d296c15829a139f29a301df0e86090c5fe63312132276436ef2c674853ee"
        );
    }

    #[test]
    fn twilio_signs_the_address_and_the_sorted_form() {
        let token = "4f1c9d2ab7e84c05a6d3f0917be25c88";
        let form = pairs(
            "ToCountry=US&MessageSid=SM0a1b2c3d4e5f60718293a4b5c6d7e8f9&SmsMessageSid=SM0a1b2c3d4e5f60718293a4b5c6d7e8f9&SmsSid=SM0a1b2c3d4e5f60718293a4b5c6d7e8f9&AccountSid=AC00112233445566778899aabbccddeeff&From=%2B15005550006&To=%2B15005550010&Body=Ol%C3%A1%21+2%2B2%3D4+%26+100%25+%E2%9C%93&NumMedia=0&NumSegments=1&SmsStatus=received&FromCity=&ApiVersion=2010-04-01",
        );
        let check =
            |url: &str, form: &[(String, String)], expected: &str| assert_eq!(twilio(token, url, form), expected);
        check(
            "https://hooks.example.net/v1/in/twilio/c-7f3a?tenant=acme&rev=2",
            &form,
            "SPnrNcMZ6LR/ESJNSxpsWQ3r7rY=",
        );
        check(
            "https://hooks.example.net:443/v1/in/twilio/c-7f3a?tenant=acme&rev=2",
            &form,
            "iIczSz8nvqbDT+ZLGDAhnEVrbE4=",
        );
        check(
            "https://hooks.example.net/v1/in/twilio/c-7f3a?tenant=acme&bodySHA256=ac95331a2380b6f46f23c19c01d15c923a6a8ce73da521c002c9a6c1e2c8d0ed",
            &[],
            "XFlGeCYCfgFFVbNUS1uq2CoEN4s=",
        );
        check(
            "https://hooks.example.net/v1/in/twilio/c-7f3a?MessageSid=SM01&Body=hi%20there",
            &[],
            "+lAoO2+2JNAneA3j1TS1fhJwYhE=",
        );
        let public =
            pairs("CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309");
        assert_eq!(
            twilio("12345", "https://mycompany.com/myapp.php?foo=1&bar=2", &public),
            "RSOYDt4T1cUTdK1PDd93/VVr8B8="
        );
    }

    #[test]
    fn twilio_names_a_repeated_field_for_each_of_its_values() {
        let form = pairs("K=b&K=a&K=b&Z=1");
        let token = "4f1c9d2ab7e84c05a6d3f0917be25c88";
        assert_eq!(
            twilio(token, "https://hooks.example.net/t", &form),
            "HlyzqD3//Yhegeebq9kc5x2jvwI="
        );
    }

    #[test]
    fn intercom_signs_the_raw_body() {
        let secret = "ic-test-client-secret-0001";
        let webhook = r#"{"type":"notification_event","app_id":"abc12345","topic":"conversation.admin.replied","id":"notif_00000000-0000-4000-8000-000000000001","created_at":1767225600,"delivery_attempts":1,"first_sent_at":1767225600,"data":{"type":"notification_event_data","item":{"type":"conversation","id":"215470000000001"}}}"#;
        assert_eq!(
            intercom(secret, webhook.as_bytes()),
            "sha1=264bc95a87c8fe078130dda3f675d3870383508f"
        );
        let ping = r#"{"type":"notification_event","topic":"ping","data":{"item":{"message":"héllo ✓"}}}"#;
        assert_eq!(
            intercom(secret, ping.as_bytes()),
            "sha1=05d47d952a97c1e2c8904e4cb33dcba9c826a5c6"
        );
        let submit = r#"{"workspace_id":"abc12345","workspace_region":"US","component_id":"send_only","input_values":{"message":"Hello"},"contact":{"type":"contact","id":"6762f0dd1bb69f9f2193bb83"}}"#;
        assert_eq!(
            canvas(secret, submit.as_bytes()),
            "3096852b99ba6bef19cacf2b32a5e7aac9d456849a69e84eeddbb5e1f634ab26"
        );
    }
}
