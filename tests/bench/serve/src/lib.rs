//! A webhook of WhatsApp behind `wasi:http`: verified by its signature, read by the connector's own code, answered 200.
//! 401 is the answer to a bad signature, 400 to what cannot be read or holds nothing. Stores nothing, calls nobody.

use std::hint::black_box;

use hmac::{Hmac, KeyInit, Mac};
use mantle_sdk::connector::Hook;
use sha2::Sha256;
use wasip2::clocks::wall_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

/// The files of the connector, and not its crate: that would export the connector's interface too.
#[path = "../../../../connectors/whatsapp/src"]
#[allow(dead_code, reason = "what sends is not used")]
mod connector {
    pub(crate) mod errors;
    pub(crate) mod phone;
    pub(crate) mod receive;
    pub(crate) mod wire;
}
use connector::{errors, phone, receive, wire};

/// Of the number that the benchmark writes to. A constant, so that looking it up costs nothing.
const APP_SECRET: &str = "9f2c4b7e1a6d8035c4e1f7a2b8d90e36";
const SIGNATURE: &str = "x-hub-signature-256";
/// Bytes read at once: more than a webhook of one message has.
const CHUNK_BYTES: u64 = 64 * 1024;

struct Judge;

wasip2::http::proxy::export!(Judge);

impl Guest for Judge {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let status = judge(&request);
        let response = OutgoingResponse::new(Fields::new());
        // Each of these fails for a status or a body that was taken before; here none was.
        let _ = response.set_status_code(status);
        let body = response.body();
        ResponseOutparam::set(out, Ok(response));
        if let Ok(body) = body {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

fn judge(request: &IncomingRequest) -> u16 {
    let Some(body) = body(request) else {
        return 400;
    };
    let hook = Hook {
        method: method(&request.method()),
        query: Vec::new(),
        headers: headers(request),
        body,
        received_at: now_ms(),
    };
    if !is_genuine(&hook) {
        return 401;
    }
    match receive::receive(&hook) {
        Ok(inbound) if !inbound.events.is_empty() => {
            black_box(inbound);
            200
        }
        _ => 400,
    }
}

fn is_genuine(hook: &Hook) -> bool {
    let told = hook.headers.iter().find(|(name, _)| name == SIGNATURE);
    let Some(told) = told
        .and_then(|(_, value)| value.strip_prefix("sha256="))
        .and_then(bytes)
    else {
        return false;
    };
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(APP_SECRET.as_bytes()) else {
        return false;
    };
    mac.update(&hook.body);
    mac.verify_slice(&told).is_ok()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

fn body(request: &IncomingRequest) -> Option<Vec<u8>> {
    let body = request.consume().ok()?;
    let stream = body.stream().ok()?;
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return Some(all),
            Err(StreamError::LastOperationFailed(_)) => return None,
        }
    }
}

/// As the host hands them to a connector: those that are text.
fn headers(request: &IncomingRequest) -> Vec<(String, String)> {
    let all = request.headers().entries().into_iter();
    all.filter_map(|(name, value)| Some((name, String::from_utf8(value).ok()?)))
        .collect()
}

fn method(method: &Method) -> String {
    match method {
        Method::Post => "POST".to_owned(),
        Method::Get => "GET".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}

fn now_ms() -> i64 {
    let now = wall_clock::now();
    i64::try_from(now.seconds * 1000 + u64::from(now.nanoseconds / 1_000_000)).unwrap_or(i64::MAX)
}
