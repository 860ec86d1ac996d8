//! A provider that fails: each good send is played again with its last answer replaced, and the connector must say what
//! became of the message truly, since the host repeats or asks a person by that word alone.

use mantle_model::capabilities::RetrySafety;
use serde_json::{Value, json};

use crate::case::{Broken, Case, Exchange};

/// What the provider, or the way to it, does instead of answering.
pub(crate) struct Fault {
    pub name: &'static str,
    exchange: fn() -> Exchange,
    /// Words that are true then.
    allowed: &'static [&'static str],
    /// One more that is true where the same call again makes nothing twice.
    with_key: Option<&'static str>,
}

fn status(status: u16, body: Value) -> Exchange {
    Exchange {
        status: Some(status),
        body,
        ..Exchange::default()
    }
}

fn broken(kind: &str, request_sent: bool) -> Exchange {
    Exchange {
        error: Some(Broken {
            kind: kind.to_owned(),
            request_sent,
            message: None,
        }),
        ..Exchange::default()
    }
}

pub(crate) const FAULTS: [Fault; 7] = [
    Fault {
        name: "429 with a time",
        exchange: || Exchange {
            headers: [("retry-after".to_owned(), "7".to_owned())].into(),
            ..status(429, json!({}))
        },
        allowed: &["rate_limited"],
        with_key: None,
    },
    // Whether it was done, a gateway's page does not tell.
    Fault {
        name: "502 with a page of HTML",
        exchange: || status(502, json!("<html><body>Bad gateway</body></html>")),
        allowed: &["ambiguous", "transient"],
        with_key: None,
    },
    Fault {
        name: "503",
        exchange: || status(503, json!({})),
        allowed: &["transient", "ambiguous", "rate_limited"],
        with_key: None,
    },
    Fault {
        name: "no answer in time",
        exchange: || broken("timeout", true),
        allowed: &["ambiguous"],
        with_key: Some("transient"),
    },
    Fault {
        name: "the connection breaks after the request",
        exchange: || broken("broken", true),
        allowed: &["ambiguous"],
        with_key: Some("transient"),
    },
    Fault {
        name: "no way to the provider",
        exchange: || broken("connect", false),
        allowed: &["transient"],
        with_key: None,
    },
    Fault {
        name: "a name that does not resolve",
        exchange: || broken("dns", false),
        allowed: &["transient"],
        with_key: None,
    },
];

impl Fault {
    /// The case with its last answer replaced.
    pub(crate) fn inject(&self, case: &Case) -> Case {
        let mut faulty = case.clone();
        if let Some(last) = faulty.surroundings.exchanges.last_mut() {
            *last = (self.exchange)();
        }
        faulty
    }

    /// What is wrong with this outcome of a send, if anything.
    pub(crate) fn judge(&self, outcome: &Value, retry: RetrySafety) -> Option<String> {
        let Some(error) = outcome.get("error") else {
            return Some("it says that the message was sent".to_owned());
        };
        let word = error.as_object().and_then(|error| error.keys().next());
        let word = word.map_or("nothing", String::as_str);
        let with_key = self.with_key.filter(|_| retry == RetrySafety::Key);
        if self.allowed.contains(&word) || with_key == Some(word) {
            return None;
        }
        Some(format!("it says `{word}`; true is {}", self.allowed.join(" or ")))
    }
}
