//! Every request that a connector's golden files record, against the contracts that the providers publish.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mantle_world::needs::leave_out;
use mantle_world::recorded::{Judgement, judge};
use serde_json::Value;

/// Calls that no published file describes, and where they are described instead.
const UNCOVERED: &[(&str, &str)] = &[
    (
        "GET api.telegram.org/file",
        "downloads are described in prose only: Bot API, getFile",
    ),
    (
        "GET a node of the Graph API",
        "reads of numbers and media have no schema for their query: Cloud API reference",
    ),
    (
        "POST a node of the Graph API",
        "the webhook of a number is newer than the file: Cloud API, webhook overrides",
    ),
    (
        "GET graph …/subscribed_apps",
        "no query and no body to check: Graph API reference",
    ),
    (
        "POST graph …/subscribed_apps",
        "the file has no overrides: Cloud API, webhook overrides",
    ),
    (
        "DELETE graph …/subscribed_apps",
        "no query and no body to check: Graph API reference",
    ),
    (
        "GET graph …/phone_numbers",
        "no schema for the query: Graph API reference",
    ),
    (
        "GET graph …/message_templates",
        "no schema for the query: Graph API reference",
    ),
    (
        "GET /2010-04-01/Accounts/*/Messages/*/Media/*",
        "the address without .json answers with the file itself, in prose only: Media subresource",
    ),
    (
        "GET lookaside.fbsbx.com",
        "the file store behind media addresses has no contract",
    ),
    (
        "GET mms.twiliocdn.com",
        "the file store behind media addresses has no contract",
    ),
    (
        "GET s3-external-1.amazonaws.com",
        "the file store behind media addresses has no contract",
    ),
    (
        "GET profile.line-scdn.net",
        "the store of LINE's pictures has no contract",
    ),
    (
        "POST chatapi.viber.com",
        "Viber publishes no machine-readable contract: REST Bot API",
    ),
    (
        "GET dl-media.viber.com",
        "Viber publishes no machine-readable contract: REST Bot API, receive message",
    ),
    (
        "GET media-direct.cdn.viber.com",
        "Viber publishes no machine-readable contract: REST Bot API, user details",
    ),
    (
        "GET /viber/1/files/a",
        "the contract gives the address of a customer's file, and does not describe it",
    ),
];

/// What is not what a contract says, and right all the same: connector, golden case, part of the problem, why.
const KNOWN_GAPS: &[(&str, &str, &str, &str)] = &[
    (
        "twilio-sms",
        "fetch_at_8_redirect_without_tls",
        "http://169.254.169.254/latest",
        "the case is about a call that the host refuses",
    ),
    (
        "twilio-sms",
        "connect_number_with_application",
        "/SmsApplicationSid",
        "the pattern forgets that an empty value takes the application away from the number",
    ),
    (
        "whatsapp",
        "out_template_copy_code",
        "\"copy_code\"",
        "the file is older than buttons that copy a code: Cloud API, template components",
    ),
];

struct Recorded {
    connector: String,
    case: String,
    request: Value,
}

/// Held against their own documents in their own folders: Meta's two share an origin with WhatsApp, whose contract says
/// other things of the same paths, and Slack's reference is no schema but a page for each method.
const HELD_ELSEWHERE: [&str; 3] = ["instagram", "messenger", "slack"];

fn recorded() -> Result<Vec<Recorded>> {
    let mut all = Vec::new();
    let mut connectors = mantle_components::connector_names()?;
    connectors.retain(|connector| !HELD_ELSEWHERE.contains(&connector.as_str()));
    for connector in connectors {
        let folder = mantle_components::workspace_root()
            .join("connectors")
            .join(&connector)
            .join("tests/golden");
        for file in outputs(&folder)? {
            let value: Value =
                serde_json::from_slice(&std::fs::read(&file)?).with_context(|| file.display().to_string())?;
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("");
            for request in value["requests"].as_array().into_iter().flatten() {
                all.push(Recorded {
                    connector: connector.clone(),
                    case: name.trim_end_matches(".out.json").to_owned(),
                    request: request.clone(),
                });
            }
        }
    }
    Ok(all)
}

fn outputs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.to_str().is_some_and(|name| name.ends_with(".out.json")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[test]
fn every_recorded_request_fits_the_providers_contract() -> Result<()> {
    let (mut fitting, mut absent) = (0, 0);
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let mut uncovered: BTreeMap<String, String> = BTreeMap::new();
    for one in recorded()? {
        let case = format!("{}/{}", one.connector, one.case);
        match judge(&one.request) {
            Judgement::Fits => fitting += 1,
            Judgement::Absent => absent += 1,
            Judgement::Uncovered(what) => {
                uncovered.insert(what, case);
            }
            Judgement::Against(problems) => {
                for problem in problems {
                    let gap = KNOWN_GAPS.iter().position(|(connector, name, part, _)| {
                        *connector == one.connector && *name == one.case && problem.contains(part)
                    });
                    match gap {
                        Some(at) => {
                            used.insert(at);
                        }
                        None => wrong.push(format!("{case}: {problem}")),
                    }
                }
            }
        }
    }
    if absent > 0 {
        let why =
            format!("the contracts of {absent} recorded requests are not there (MANTLE_CONTRACTS names the folder)");
        leave_out("contracts", "requests against the providers' contracts", &why);
        return Ok(());
    }
    assert!(wrong.is_empty(), "against the contracts: {wrong:#?}");
    assert!(fitting > 150, "only {fitting} requests were checked");
    uncovered.retain(|what, _| UNCOVERED.iter().all(|(known, _)| known != what));
    assert!(uncovered.is_empty(), "calls that no contract describes: {uncovered:#?}");
    let stale: Vec<_> = (0..KNOWN_GAPS.len())
        .filter(|at| !used.contains(at))
        .map(|at| KNOWN_GAPS[at])
        .collect();
    assert!(stale.is_empty(), "gaps that are none any more: {stale:?}");
    Ok(())
}

#[test]
fn a_wrong_request_is_noticed() {
    let judged = |text: &str| serde_json::from_str(text).map(|request: Value| judge(&request));
    let bad = [
        r#"{"method":"POST","url":"https://api.telegram.org/bot{bot_token}/sendMessage","body":{"json":{"chat_id":"1"}}}"#,
        r#"{"method":"POST","url":"https://api.telegram.org/bot{bot_token}/sendNothing","body":{"json":{}}}"#,
        r#"{"method":"POST","url":"https://graph.facebook.com/v25.0/1/messages","body":{"json":{"messaging_product":"whatsapp","to":"+1","type":"text","text":{"body":7}}}}"#,
        r#"{"method":"POST","url":"https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json","body":{"form":[["To","+1"],["Text","x"]]}}"#,
        r#"{"method":"POST","url":"https://messaging.twilio.com/v1/Services/MG1","body":{"form":[["Nothing","x"]]}}"#,
        r#"{"method":"POST","url":"https://api.line.me/v2/bot/message/push","body":{"json":{"to":"U1","messages":[{"type":"text"}]}}}"#,
        r#"{"method":"GET","url":"https://api.infobip.com/viber/2/logs?limits=1"}"#,
    ];
    for text in bad {
        let judgement = judged(text);
        let noticed = matches!(judgement, Ok(Judgement::Against(_) | Judgement::Absent));
        assert!(noticed, "{text}: {judgement:?}");
    }
}
