//! The vectors of the providers' documents, right and wrong.

use mantle_model::clock::Time;

use super::*;

fn manifest(name: &str) -> Manifest {
    let text = match name {
        "telegram" => include_str!("../../../../connectors/telegram/connector.toml"),
        "twilio" => include_str!("../../../../connectors/twilio-sms/connector.toml"),
        _ => include_str!("../../../../connectors/whatsapp/connector.toml"),
    };
    Manifest::parse(text).unwrap()
}

fn secrets(pairs: &[(&str, &str)]) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in pairs {
        secrets.add(*name, Secret::new((*value).to_owned()));
    }
    secrets
}

fn hook(method: &str, query: &str, headers: &[(&str, &str)], body: &str) -> Hook {
    let path_and_query = if query.is_empty() {
        "/hooks/x/chn_1".to_owned()
    } else {
        format!("/hooks/x/chn_1?{query}")
    };
    Hook {
        method: method.to_owned(),
        path_and_query,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.as_bytes().to_vec(),
        received_at: Time::from_unix_seconds(1_795_000_000),
    }
}

fn misfit(secret: &str, why: &'static str) -> Verdict {
    Verdict::Misfit {
        secret: secret.to_owned(),
        why,
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8");

mod whatsapp {
    use super::*;

    const SECRET: &str = "9f2c4b7e1a6d8035c4e1f7a2b8d90e36";
    const SIGNATURE: &str = "sha256=86c95f57f3f128ec4467db6009667635b9b9bfe62af61cb1acb071b7e7c265ef";
    const BODY: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"104996122399160","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"4930555010","phone_number_id":"110987654321098"},"contacts":[{"profile":{"name":"J\u00fcrgen"},"wa_id":"4915155501234","user_id":"DE.84120037755512"}],"messages":[{"from":"4915155501234","from_user_id":"DE.84120037755512","id":"wamid.HBgNNDkxNTE1NTUwMTIzNBUCABIYFDNBAA==","timestamp":"1795000000","type":"text","text":{"body":"Gr\u00fc\u00dfe \ud83d\udc4b https:\/\/example.com"}}]},"field":"messages"}]}]}"#;

    fn verdict(values: &[(&str, &str)], headers: &[(&str, &str)], body: &str) -> Verdict {
        let hook = hook("POST", "", headers, body);
        verify(
            &manifest("whatsapp"),
            &secrets(values),
            &hook,
            "https://b.example/hooks/x/chn_1",
        )
    }

    #[test]
    fn in_9_a_signed_body_passes_and_nothing_else() {
        assert_eq!(BODY.len(), 565);
        let header = [("x-hub-signature-256", SIGNATURE)];
        let forged = |why| match why {
            "wrong signature" => misfit("app_secret", why),
            _ => Verdict::Forged { why },
        };
        assert_eq!(verdict(&[("app_secret", SECRET)], &header, BODY), Verdict::Genuine);

        let rewritten = BODY
            .replace("\\/", "/")
            .replace("\\u00fc", "ü")
            .replace("\\u00df", "ß")
            .replace("\\ud83d\\udc4b", "👋");
        assert_eq!(rewritten.len(), 543);
        assert_eq!(
            verdict(&[("app_secret", SECRET)], &header, &rewritten),
            forged("wrong signature")
        );
        assert_eq!(
            verdict(&[("app_secret", "other")], &header, BODY),
            forged("wrong signature")
        );
        assert_eq!(verdict(&[("app_secret", "")], &header, BODY), forged("wrong signature"));
        assert_eq!(verdict(&[], &header, BODY), forged("wrong signature"));
        assert_eq!(verdict(&[("app_secret", SECRET)], &[], BODY), forged("no signature"));
        let bare = [("x-hub-signature-256", &SIGNATURE[7..])];
        assert_eq!(
            verdict(&[("app_secret", SECRET)], &bare, BODY),
            forged("malformed signature")
        );
        let cut = [("x-hub-signature-256", &SIGNATURE[..40])];
        assert_eq!(
            verdict(&[("app_secret", SECRET)], &cut, BODY),
            forged("malformed signature")
        );
        let short = [("x-hub-signature-256", &SIGNATURE[..41])];
        assert_eq!(
            verdict(&[("app_secret", SECRET)], &short, BODY),
            forged("wrong signature")
        );
    }

    #[test]
    fn in_9_old_and_new_secret_pass_while_one_is_rotated() {
        let header = [("x-hub-signature-256", SIGNATURE)];
        let rotated = [("app_secret", "the-new-one"), ("app_secret", SECRET)];
        assert_eq!(verdict(&rotated, &header, BODY), Verdict::Genuine);
    }

    #[test]
    fn the_handshake_is_answered_by_the_host() {
        let ask = |query: &str| {
            let hook = hook("GET", query, &[], "");
            verify(
                &manifest("whatsapp"),
                &secrets(&[("verify_token", "my word")]),
                &hook,
                "https://b.example/",
            )
        };
        let good = ask("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=my+word");
        let answer = Answer {
            status: 200,
            content_type: Some("text/plain".to_owned()),
            body: b"1158201444".to_vec(),
        };
        assert_eq!(good, Verdict::Challenge(answer));
        let wrong = ask("hub.mode=subscribe&hub.challenge=1&hub.verify_token=My+word");
        assert_eq!(wrong, misfit("verify_token", "wrong token"));
        assert_eq!(
            ask("hub.mode=subscribe&hub.challenge=1"),
            Verdict::Forged { why: "no token" }
        );
        assert_eq!(
            ask("hub.mode=subscribe&hub.verify_token=my+word"),
            Verdict::Forged { why: "no challenge" }
        );
        assert_eq!(ask("hub.mode=other&hub.verify_token=my+word"), Verdict::WrongMethod);
        assert_eq!(ask(""), Verdict::WrongMethod);
    }
}

mod twilio {
    use super::*;

    const TOKEN: &str = "4f1c9d2ab7e84c05a6d3f0917be25c88";
    const BODY_A: &str = "ToCountry=US&MessageSid=SM0a1b2c3d4e5f60718293a4b5c6d7e8f9&SmsMessageSid=SM0a1b2c3d4e5f60718293a4b5c6d7e8f9&SmsSid=SM0a1b2c3d4e5f60718293a4b5c6d7e8f9&AccountSid=AC00112233445566778899aabbccddeeff&From=%2B15005550006&To=%2B15005550010&Body=Ol%C3%A1%21+2%2B2%3D4+%26+100%25+%E2%9C%93&NumMedia=0&NumSegments=1&SmsStatus=received&FromCity=&ApiVersion=2010-04-01";
    const URL_A: &str = "https://hooks.example.net/v1/in/twilio/c-7f3a?tenant=acme&rev=2";

    struct Case<'a> {
        token: &'a str,
        method: &'a str,
        url: &'a str,
        content_type: &'a str,
        body: &'a str,
        signature: &'a str,
    }

    impl Case<'_> {
        fn verdict(&self) -> Verdict {
            let query = self.url.split_once('?').map_or("", |(_, query)| query);
            let headers = [
                ("x-twilio-signature", self.signature),
                ("content-type", self.content_type),
            ];
            let hook = hook(self.method, query, &headers, self.body);
            verify(
                &manifest("twilio"),
                &secrets(&[("auth_token", self.token)]),
                &hook,
                self.url,
            )
        }
    }

    fn a() -> Case<'static> {
        Case {
            token: TOKEN,
            method: "POST",
            url: URL_A,
            content_type: FORM.1,
            body: BODY_A,
            signature: "SPnrNcMZ6LR/ESJNSxpsWQ3r7rY=",
        }
    }

    fn b() -> Case<'static> {
        Case {
            url: "https://hooks.example.net/v1/in/twilio/c-7f3a?tenant=acme&bodySHA256=ac95331a2380b6f46f23c19c01d15c923a6a8ce73da521c002c9a6c1e2c8d0ed",
            content_type: "application/json",
            body: r#"{"MessageSid":"SM0a1b2c3d4e5f60718293a4b5c6d7e8f9","MessageStatus":"delivered"}"#,
            signature: "XFlGeCYCfgFFVbNUS1uq2CoEN4s=",
            ..a()
        }
    }

    fn c() -> Case<'static> {
        Case {
            method: "GET",
            url: "https://hooks.example.net/v1/in/twilio/c-7f3a?MessageSid=SM01&Body=hi%20there",
            content_type: "",
            body: "",
            signature: "+lAoO2+2JNAneA3j1TS1fhJwYhE=",
            ..a()
        }
    }

    #[test]
    fn in_9_every_vector_passes() {
        assert_eq!(a().verdict(), Verdict::Genuine, "a form");
        let port = Case {
            signature: "iIczSz8nvqbDT+ZLGDAhnEVrbE4=",
            ..a()
        };
        assert_eq!(port.verdict(), Verdict::Genuine, "the port written");
        assert_eq!(b().verdict(), Verdict::Genuine, "JSON");
        assert_eq!(c().verdict(), Verdict::Genuine, "GET");
        let repeated = Case {
            url: "https://hooks.example.net/t",
            body: "K=b&K=a&K=b&Z=1",
            signature: "HlyzqD3//Yhegeebq9kc5x2jvwI=",
            ..a()
        };
        assert_eq!(repeated.verdict(), Verdict::Genuine, "repeated names");
        let public = Case {
            token: "12345",
            url: "https://mycompany.com/myapp.php?foo=1&bar=2",
            body: "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309",
            signature: "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
            ..a()
        };
        assert_eq!(public.verdict(), Verdict::Genuine, "the public vector");
    }

    #[test]
    fn in_9_what_was_changed_on_the_way_fails() {
        let forged = |why| match why {
            "wrong signature" => misfit("auth_token", why),
            _ => Verdict::Forged { why },
        };
        let check = |case: Case, why| assert_eq!(case.verdict(), forged(why));
        check(
            Case {
                url: "https://hooks.example.net/v1/in/twilio/c-7f3a?tenant=acme&rev=3",
                ..a()
            },
            "wrong signature",
        );
        check(
            Case {
                body: "Body=something+else",
                ..a()
            },
            "wrong signature",
        );
        check(
            Case {
                token: "4f1c9d2ab7e84c05a6d3f0917be25c89",
                ..a()
            },
            "wrong signature",
        );
        check(
            Case {
                body: r#"{"MessageStatus":"read"}"#,
                ..b()
            },
            "wrong body digest",
        );
        check(Case { url: URL_A, ..b() }, "no body digest");
        // A genuine address with a body that nobody signed.
        check(
            Case {
                method: "POST",
                content_type: "application/json",
                body: "{}",
                ..c()
            },
            "no body digest",
        );
        check(
            Case {
                method: "POST",
                content_type: FORM.1,
                body: "Body=x",
                ..c()
            },
            "wrong signature",
        );
        check(
            Case {
                signature: "not base64!",
                ..a()
            },
            "malformed signature",
        );
    }

    #[test]
    fn ports_are_spelt_both_ways() {
        let check = |url: &str, expected: &[&str]| assert_eq!(port_spellings(url), expected);
        check("https://h/p?q", &["https://h/p?q", "https://h:443/p?q"]);
        check("https://h:443/p", &["https://h:443/p", "https://h/p"]);
        check(
            "http://h:8080?q=a:1",
            &["http://h:8080?q=a:1", "http://h?q=a:1", "http://h:80?q=a:1"],
        );
        check("https://[::1]/p", &["https://[::1]/p", "https://[::1]:443/p"]);
    }
}

mod telegram {
    use super::*;

    #[test]
    fn in_9_the_secret_token_must_be_exact() {
        let check = |given: Option<&str>, expected: Verdict| {
            let headers = given.map(|given| ("x-telegram-bot-api-secret-token", given));
            let hook = hook("POST", "", headers.as_slice(), "{}");
            let secrets = secrets(&[("hook_secret", "s3cr3t_Token-1")]);
            assert_eq!(
                verify(&manifest("telegram"), &secrets, &hook, "https://b.example/"),
                expected,
                "{given:?}"
            );
        };
        check(Some("s3cr3t_Token-1"), Verdict::Genuine);
        for wrong in ["S3cr3t_Token-1", "s3cr3t_Token-12", "\"s3cr3t_Token-1\"", ""] {
            check(Some(wrong), misfit("hook_secret", "wrong secret"));
        }
        check(None, Verdict::Forged { why: "no secret" });
    }

    #[test]
    fn in_9_an_empty_secret_lets_nothing_through() {
        let hook = hook("POST", "", &[("x-telegram-bot-api-secret-token", "")], "{}");
        let verdict = verify(
            &manifest("telegram"),
            &secrets(&[("hook_secret", "")]),
            &hook,
            "https://b.example/",
        );
        assert_eq!(verdict, misfit("hook_secret", "wrong secret"));
    }

    #[test]
    fn other_methods_are_refused() {
        let hook = hook("GET", "", &[], "");
        let verdict = verify(&manifest("telegram"), &Secrets::default(), &hook, "https://b.example/");
        assert_eq!(verdict, Verdict::WrongMethod);
    }
}

#[test]
fn basic_asks_for_the_password() {
    let text = include_str!("../../../../connectors/telegram/connector.toml").replacen(
        "kind = \"shared-secret\"\nheader = \"x-telegram-bot-api-secret-token\"",
        "kind = \"basic\"\nuser = \"provider\"",
        1,
    );
    let manifest = Manifest::parse(&text).unwrap();
    let check = |given: &str, genuine: bool| {
        let header = format!("Basic {}", BASE64.encode(given));
        let hook = hook("POST", "", &[("authorization", header.as_str())], "");
        let verdict = verify(
            &manifest,
            &secrets(&[("hook_secret", "pass:word")]),
            &hook,
            "https://b.example/",
        );
        assert_eq!(verdict == Verdict::Genuine, genuine, "{given}: {verdict:?}");
    };
    check("provider:pass:word", true);
    check("other:pass:word", false);
    check("provider:password", false);
    check("provider", false);
}

#[test]
fn parts_are_signed_in_order() {
    let text = include_str!("../../../../connectors/whatsapp/connector.toml").replacen(
        "signed = [\"body\"]",
        "signed = [\"literal:v0:\", \"header:x-time\", \"literal::\", \"body\"]",
        1,
    );
    let manifest = Manifest::parse(&text).unwrap();
    let mut mac = <hmac::Hmac<Sha256> as KeyInit>::new_from_slice(b"key").unwrap();
    mac.update(b"v0:1531420618:body");
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let headers = [("x-hub-signature-256", signature.as_str()), ("x-time", "1531420618")];
    let hook = hook("POST", "", &headers, "body");
    let verdict = verify(
        &manifest,
        &secrets(&[("app_secret", "key")]),
        &hook,
        "https://b.example/",
    );
    assert_eq!(verdict, Verdict::Genuine);
}

/// A provider that signs when it sent, as some do.
mod timestamp {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn manifest() -> Manifest {
        let text = include_str!("../../../../connectors/whatsapp/connector.toml").replacen(
            "signed = [\"body\"]",
            "signed = [\"header:x-time\", \"literal::\", \"body\"]\ntimestamp = { header = \"x-time\", tolerance_s = 300 }",
            1,
        );
        Manifest::parse(&text).unwrap()
    }

    /// Signed as the provider would, whatever the time says.
    #[track_caller]
    fn check(time: &str, expected: &Verdict) {
        let mut mac = <hmac::Hmac<Sha256> as KeyInit>::new_from_slice(b"key").unwrap();
        mac.update(format!("{time}:body").as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let headers = [("x-hub-signature-256", signature.as_str()), ("x-time", time)];
        let verdict = verify(
            &manifest(),
            &secrets(&[("app_secret", "key")]),
            &hook("POST", "", &headers, "body"),
            "https://b.example/",
        );
        assert_eq!(verdict, *expected, "{time}");
    }

    #[test]
    fn e2_a_genuine_hook_is_good_in_its_window_alone() {
        for seconds in [-300, -1, 0, 1, 300] {
            check(&(NOW + seconds).to_string(), &Verdict::Genuine);
        }
        let outside = || Verdict::Forged {
            why: "timestamp outside its window",
        };
        for seconds in [-360, -301, 301, 360] {
            check(&(NOW + seconds).to_string(), &outside());
        }
        check("0", &outside());
        check(&i64::MAX.to_string(), &outside());
        for text in [
            "9223372036854775808",
            "99999999999999999999999999",
            "-1795000000",
            "+1795000000",
            "1795000000.0",
            " 1795000000",
            "0x6afd5c40",
            "soon",
            "",
        ] {
            check(
                text,
                &Verdict::Forged {
                    why: "malformed timestamp",
                },
            );
        }
    }

    #[test]
    fn e2_a_time_must_be_there_and_signed() {
        let hook = hook("POST", "", &[("x-hub-signature-256", "sha256=00")], "body");
        let verdict = verify(
            &manifest(),
            &secrets(&[("app_secret", "key")]),
            &hook,
            "https://b.example/",
        );
        assert_eq!(verdict, Verdict::Forged { why: "no timestamp" });
        let whatsapp = include_str!("../../../../connectors/whatsapp/connector.toml");
        let check = |timestamp: &str, expected: &str| {
            let with = format!("signed = [\"body\"]\ntimestamp = {timestamp}");
            let problem = Manifest::parse(&whatsapp.replacen("signed = [\"body\"]", &with, 1)).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        };
        check(
            "{ header = \"x-time\", tolerance_s = 300 }",
            "verification.timestamp: `signed` needs \"header:x-time\"",
        );
    }
}

mod e1 {
    use super::*;

    const BODY: &str = r#"{"a":"\u00fc","b": 1}"#;
    const URL: &str = "https://b.example/hooks/x/chn_1";

    fn sha1_hex(key: &str, message: &str) -> String {
        let mut mac = <hmac::Hmac<Sha1> as KeyInit>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(message.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    fn sha256(key: &str, message: &str) -> Vec<u8> {
        let mut mac = <hmac::Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(message.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// The proofs of one channel's hook: only the first is genuine.
    fn check(name: &str, secret: (&str, &str), (header, good): (&str, String), bad: &[Option<String>]) {
        let form = [FORM];
        let verdict = |given: Option<&str>| {
            let mut headers = if name == "twilio" { form.to_vec() } else { Vec::new() };
            headers.extend(given.map(|given| (header, given)));
            let body = if name == "twilio" { "Body=x" } else { BODY };
            verify(
                &manifest(name),
                &secrets(&[secret]),
                &hook("POST", "", &headers, body),
                URL,
            )
        };
        assert_eq!(verdict(Some(&good)), Verdict::Genuine, "{name}");
        let truncated = [
            good[..good.len() - 1].to_owned(),
            good[..good.len() / 2].to_owned(),
            String::new(),
        ];
        let longer = [format!("{good}0"), format!("{good}{good}"), format!(" {good}")];
        let made = truncated.into_iter().chain(longer).map(Some);
        for given in bad.iter().cloned().chain(made).chain([None]) {
            let found = verdict(given.as_deref());
            let refused = matches!(found, Verdict::Forged { .. } | Verdict::Misfit { .. });
            assert!(refused, "{name}: {given:?} is {found:?}");
        }
    }

    #[test]
    fn e1_of_whatsapp_hooks_only_the_genuine_one_passes() {
        let signed = |key: &str, message: &str| format!("sha256={}", hex::encode(sha256(key, message)));
        let rewritten = BODY.replace("\\u00fc", "ü").replace(": 1", ":1");
        assert_ne!(rewritten, BODY);
        let bad = [
            signed("ours", &rewritten),
            signed("another tenant's", BODY),
            signed("", BODY),
            format!("sha256={}", sha1_hex("ours", BODY)),
            format!("sha1={}", sha1_hex("ours", BODY)),
            sha1_hex("ours", BODY),
            "sha256=".to_owned(),
        ];
        let good = ("x-hub-signature-256", signed("ours", BODY));
        check("whatsapp", ("app_secret", "ours"), good, &bad.map(Some));
    }

    #[test]
    fn e1_of_twilio_hooks_only_the_genuine_one_passes() {
        let message = format!("{URL}Bodyx");
        let signed = |key: &str, message: &str| BASE64.encode(hex::decode(sha1_hex(key, message)).unwrap());
        let bad = [
            signed("another tenant's", &message),
            signed("", &message),
            signed("ours", &format!("{URL}Body=x")),
            signed("ours", "https://b.example/hooks/x/chn_2Bodyx"),
            BASE64.encode(sha256("ours", &message)),
            sha1_hex("ours", &message),
        ];
        let good = ("x-twilio-signature", signed("ours", &message));
        check("twilio", ("auth_token", "ours"), good, &bad.map(Some));
    }

    #[test]
    fn e1_of_telegram_hooks_only_the_genuine_one_passes() {
        let bad = ["another tenant's", "OURS_0123456789", "ours_0123456780"].map(|text| Some(text.to_owned()));
        let good = ("x-telegram-bot-api-secret-token", "ours_0123456789".to_owned());
        check("telegram", ("hook_secret", "ours_0123456789"), good, &bad);
    }
}
