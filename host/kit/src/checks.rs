//! What every connector must bear, whatever its provider.

use std::collections::BTreeSet;

use mantle_model::clock::Time;
use mantle_model::hook::Hook;
use mantle_model::secret::{Secret, Secrets};
use mantle_model::text::measure;
use mantle_sandbox::{Plugin, Rehearsal, Verdict};
use serde_json::{Value, json};

use crate::case::Case;
use crate::faults::FAULTS;
use crate::script::Script;
use crate::{Check, Passed, Report, outcome, shown};

/// Of one check; the rest is counted.
const PROBLEMS_MAX: usize = 20;
/// A body as long as a host takes, of nothing.
const LONG_BODY_BYTES: usize = 1 << 20;
/// Deeper than any provider nests.
const DEEP: usize = 10_000;

/// A secret's value that nobody has told the caller.
const UNTOLD: &str = "0f9d1c7e5b3a48e2a6c4d8f0";

/// A call that was played to its end.
struct Outcome {
    value: Value,
    /// What the script was not asked for, or was asked too much.
    script: Vec<String>,
    requests: usize,
}

struct Bench<'a> {
    plugin: &'a Plugin,
    rehearsal: &'a Rehearsal,
    memory_bytes: usize,
    slowest_us: u64,
}

pub(crate) async fn run(plugin: &Plugin, rehearsal: &Rehearsal, cases: &[Case]) -> Report {
    let mut bench = Bench {
        plugin,
        rehearsal,
        memory_bytes: 0,
        slowest_us: 0,
    };
    let (golden, passed) = bench.golden(cases).await;
    let checks = vec![
        golden,
        bench.redelivered(&passed).await,
        bench.keys(&passed),
        bench.nonsense(cases).await,
        bench.longest_texts(&passed).await,
        bench.faults(&passed).await,
        bench.forged(cases),
    ];
    Report {
        claims: shown::claims(plugin, rehearsal, &passed),
        checks,
        memory_bytes: bench.memory_bytes,
        memory_bytes_max: rehearsal.memory_bytes_max(),
        slowest_us: bench.slowest_us,
    }
}

impl Bench<'_> {
    /// Plays the case; an error is a call that was cut off.
    async fn play(&mut self, case: &Case) -> Result<Outcome, String> {
        let script = Script::new(case.surroundings.clone());
        let called = &case.called;
        let stage = Box::new(script.clone());
        let played = self
            .rehearsal
            .call(called.interface, &called.function, &called.given, stage)
            .await
            .map_err(|cut_off| cut_off.0)?;
        self.memory_bytes = self.memory_bytes.max(played.memory_bytes);
        let took = u64::try_from(played.took.as_micros()).unwrap_or(u64::MAX);
        self.slowest_us = self.slowest_us.max(took);
        let requests = script.requests();
        let (mut out, script) = script.finish();
        let (name, value) = outcome::told(called.interface, &called.function, played.value);
        out.insert(name.to_owned(), value);
        Ok(Outcome {
            value: out.into(),
            script,
            requests,
        })
    }

    async fn golden<'c>(&mut self, cases: &'c [Case]) -> (Check, Passed<'c>) {
        let mut check = Tried::new("Every golden case comes out as recorded");
        let mut passed = Vec::new();
        for case in cases {
            let Some(expected) = &case.expected else {
                check.tried(Some(format!("{}: there is no out file", case.name)));
                continue;
            };
            let problem = match self.play(case).await {
                Err(cut_off) => Some(cut_off),
                Ok(found) => match found.script.first() {
                    Some(problem) => Some(problem.clone()),
                    None => outcome::difference(expected, &found.value).or_else(|| {
                        passed.push((case, found.value));
                        None
                    }),
                },
            };
            check.tried(problem.map(|problem| format!("{}: {problem}", case.name)));
        }
        (check.check(), passed)
    }

    async fn redelivered(&mut self, passed: &Passed<'_>) -> Check {
        let mut check = Tried::new("A hook that comes again is read the same");
        for (case, first) in passed.iter().filter(|(case, _)| case.surroundings.pure) {
            // Later, as a provider's second try is.
            let mut again = (*case).clone();
            if let Some(Value::Object(hook)) = again.called.given.first_mut() {
                let received_at = hook.get("received_at").and_then(Value::as_i64).unwrap_or_default();
                hook.insert("received_at".to_owned(), json!(received_at + 60_000));
            }
            let problem = match self.play(&again).await {
                Err(cut_off) => Some(cut_off),
                Ok(second) => {
                    let (first, second) = (keys(first), keys(&second.value));
                    (first != second).then(|| "its events have other keys the second time".to_owned())
                }
            };
            check.tried(problem.map(|problem| format!("{}: {problem}", case.name)));
        }
        check.check()
    }

    fn keys(&self, passed: &Passed<'_>) -> Check {
        let mut check = Tried::new("No two events of a hook share a key");
        for (case, outcome) in passed.iter().filter(|(case, _)| case.surroundings.pure) {
            let keys = keys(outcome);
            let different: BTreeSet<&String> = keys.iter().collect();
            let problem = if keys.iter().any(String::is_empty) {
                Some("a key is empty")
            } else {
                // Told twice in one hook it is one event: the host drops the second.
                (different.len() < keys.len() && !case.name.contains("twice")).then_some("a key stands twice")
            };
            check.tried(problem.map(|problem| format!("{}: {problem}", case.name)));
        }
        check.check()
    }

    async fn nonsense(&mut self, cases: &[Case]) -> Check {
        let mut check = Tried::new("Nonsense in a hook ends as an answer, never as a crash");
        let Some(hook) = cases.iter().find(|case| case.surroundings.pure) else {
            return check.check();
        };
        for (name, body) in nonsense() {
            let mut case = hook.clone();
            if let Some(Value::Object(hook)) = case.called.given.first_mut() {
                hook.insert("body".to_owned(), json!(body));
            }
            let problem = self.play(&case).await.err();
            check.tried(problem.map(|problem| format!("{name}: {problem}")));
        }
        check.check()
    }

    async fn longest_texts(&mut self, passed: &Passed<'_>) -> Check {
        let mut check = Tried::new("The longest text that the manifest allows is sent, in any script");
        let sends = |(case, outcome): &&(&Case, Value)| {
            case.called.is("connector", "send")
                && outcome.get("error").is_none()
                && case.called.given[0].pointer("/content/text/text").is_some()
                // Buttons and the like have limits of their own.
                && case.called.given[0].get("extras").is_none()
                && outcome
                    .get("requests")
                    .is_some_and(|requests| requests.as_array().is_some_and(|made| made.len() == 1))
        };
        let Some((case, _)) = passed.iter().find(sends) else {
            return check.check();
        };
        let rule = &self.plugin.capabilities().text;
        for (name, sign) in [("a", "a"), ("é", "é"), ("emoji", "😀"), ("family", "👨‍👩‍👧‍👦")] {
            let mut signs = rule.limit / measure(sign, rule.unit).max(1);
            // Where one sign changes how all are counted.
            while signs > 0 && measure(&sign.repeat(signs), rule.unit) > rule.limit {
                signs -= 1;
            }
            let mut long = (*case).clone();
            if let Some(content) = long.called.given[0].pointer_mut("/content/text") {
                *content = json!({ "text": sign.repeat(signs) });
            }
            let problem = match self.play(&long).await {
                Err(cut_off) => Some(cut_off),
                Ok(found) => found.value.get("error").map(|error| format!("it refuses: {error}")),
            };
            check.tried(problem.map(|problem| format!("{signs} times {name}: {problem}")));
        }
        check.check()
    }

    async fn faults(&mut self, passed: &Passed<'_>) -> Check {
        let mut check = Tried::new("A provider that fails is told of truly");
        let retry = self.plugin.capabilities().delivery.retry;
        let sends = |(case, outcome): &&(&Case, Value)| {
            case.called.is("connector", "send")
                && outcome.get("error").is_none()
                && !case.surroundings.exchanges.is_empty()
                // Set once more, a reaction is the same reaction.
                && case.called.given[0].pointer("/content/reaction").is_none()
        };
        for (case, _) in passed.iter().filter(sends) {
            for fault in &FAULTS {
                let problem = match self.play(&fault.inject(case)).await {
                    Err(cut_off) => Some(cut_off),
                    // It gave up before the last call, or went another way: nothing was said of this fault.
                    Ok(found) if found.requests != case.surroundings.exchanges.len() => None,
                    Ok(found) => fault.judge(&found.value, retry),
                };
                check.tried(problem.map(|problem| format!("{}, {}: {problem}", case.name, fault.name)));
            }
        }
        check.check()
    }

    /// The recipe is data and run by the host; what proves nothing must not get through it.
    fn forged(&self, cases: &[Case]) -> Check {
        let mut check = Tried::new("A hook without proof is not let in");
        for case in cases.iter().filter(|case| case.surroundings.pure) {
            let hook = bare(&case.called.given[0]);
            let verdict = self.plugin.verify(&self.secrets(), &hook, &case.surroundings.hook_url);
            let problem = (verdict == Verdict::Genuine).then_some("it counts as the provider's");
            check.tried(problem.map(|problem| format!("{}: {problem}", case.name)));
        }
        check.check()
    }

    fn secrets(&self) -> Secrets {
        let fields = self.plugin.fields().iter().filter(|field| field.secret);
        let names = fields.map(|field| field.name.clone());
        let generated = self.plugin.generated().iter().map(|(name, _)| name.clone());
        let mut secrets = Secrets::default();
        for name in names.chain(generated) {
            secrets.add(name, Secret::new(UNTOLD.to_owned()));
        }
        secrets
    }
}

/// The hook as somebody would send it who knows its body alone.
fn bare(hook: &Value) -> Hook {
    Hook {
        method: hook["method"].as_str().unwrap_or("POST").to_owned(),
        path_and_query: "/hooks/connector/chn_1".to_owned(),
        headers: Vec::new(),
        body: outcome::bytes_of(&hook["body"]),
        received_at: Time::from_unix_ms(hook["received_at"].as_i64().unwrap_or_default()),
    }
}

fn keys(outcome: &Value) -> Vec<String> {
    let events = outcome.pointer("/result/events").and_then(Value::as_array);
    let key = |event: &Value| event["key"].as_str().unwrap_or_default().to_owned();
    events
        .map(|events| events.iter().map(key).collect())
        .unwrap_or_default()
}

fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", Vec::new()),
        ("no JSON", b"{".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"1e400".to_vec()),
        ("an empty list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("bytes that are no text", vec![0xff, 0xfe, 0x00, 0x80]),
        ("half a sign", br#"{"text":"\ud83d"}"#.to_vec()),
        ("deep nesting", "[".repeat(DEEP).into_bytes()),
        (
            "deep nesting with its end",
            format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP)).into_bytes(),
        ),
        ("a mebibyte of a", vec![b'a'; LONG_BODY_BYTES]),
        ("a mebibyte of text in JSON", {
            let mut body = br#"{"text":""#.to_vec();
            body.resize(LONG_BODY_BYTES, b'a');
            body.extend_from_slice(br#""}"#);
            body
        }),
        (
            "markup",
            b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".to_vec(),
        ),
        ("a form", b"Body=%FF&From=%2B49&=&&x".to_vec()),
    ]
}

/// A check under way.
struct Tried {
    check: Check,
    more: usize,
}

impl Tried {
    fn new(title: &'static str) -> Self {
        Self {
            check: Check {
                title,
                tried: 0,
                problems: Vec::new(),
            },
            more: 0,
        }
    }

    fn tried(&mut self, problem: Option<String>) {
        self.check.tried += 1;
        let Some(problem) = problem else { return };
        if self.check.problems.len() < PROBLEMS_MAX {
            self.check.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn check(mut self) -> Check {
        if self.more > 0 {
            self.check.problems.push(format!("and {} more", self.more));
        }
        self.check
    }
}
