//! One call from the check of its rules to the head of its answer, redirects included.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, LOCATION,
};
use http::{Method, StatusCode};
use mantle_model::failure::Evidence;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::destination::Destination;
use crate::dial::{Trust, classify};
use crate::policy::Led;
use crate::{
    Body, ByteStream, Credential, Egress, EgressError, ErrorKind, Part, PartContent, Policy, Request, Response, answer,
    inject,
};

/// How long a call waits for one of the plugin's places, at most.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(10);

/// One request of a chain.
struct Hop {
    method: Method,
    /// As the rules see it; the dialled address may be another.
    to: Destination,
    headers: HeaderMap,
    credential: Option<Credential>,
}

pub async fn run(egress: &Egress, request: Request, policy: &Policy) -> Result<Response, EgressError> {
    let deadline = Instant::now() + request.timeout;
    let to = judged(
        egress,
        policy,
        &request.method,
        &request.url,
        request.credential.as_ref(),
    )?;
    let mut hop = Hop {
        headers: inject::headers(&request.headers, request.credential.as_ref())?,
        to,
        method: request.method,
        credential: request.credential,
    };
    let mut body = filled(request.body, hop.credential.as_ref())?;
    let permit = place(egress, deadline).await?;
    let mut redirects = 0;
    loop {
        let again = replay(&body);
        let answer = call(egress, &hop, body, deadline)
            .await
            .map_err(|error| if redirects > 0 { after_an_answer(error) } else { error })?;
        let location = if request.redirects_max > 0 {
            location(&answer)
        } else {
            None
        };
        let Some(location) = location else {
            return answer::convert(answer, deadline, permit);
        };
        let method = method_after(answer.status(), &hop.method);
        body = match again {
            _ if method != hop.method => Body::Empty,
            Some(body) => body,
            // The body was a stream and is gone: the caller sees the redirect itself.
            None => return answer::convert(answer, deadline, permit),
        };
        if redirects == request.redirects_max {
            let message = format!("{} redirects more than {redirects} times", hop.to.origin);
            return Err(EgressError::sent(ErrorKind::Denied, message));
        }
        redirects += 1;
        hop = next(egress, policy, hop, method, &location).map_err(after_an_answer)?;
    }
}

/// Reads the address, asks the rules, and keeps the meaning that they allow.
fn judged(
    egress: &Egress,
    policy: &Policy,
    method: &Method,
    url: &str,
    credential: Option<&Credential>,
) -> Result<Destination, EgressError> {
    let mut problem = EgressError::denied("no rule allows the call");
    for to in egress.detours.meanings(Destination::parse(url)?) {
        if to.origin.scheme != "https" {
            problem = EgressError::denied(format!("{} is not https", to.origin));
            continue;
        }
        let led = match egress.detours.of(&to) {
            Some(_) => Led::ByOperator,
            None => Led::Nowhere,
        };
        match policy.allow(method, &to, credential.map(|credential| credential.name.as_str()), led) {
            Ok(_) => return Ok(to),
            Err(error) => problem = error,
        }
    }
    tracing::debug!(reason = %problem, "Refused an outgoing call");
    Err(problem)
}

/// The next request of a redirect: judged like the first; secrets stay with their origin.
fn next(egress: &Egress, policy: &Policy, was: Hop, method: Method, location: &str) -> Result<Hop, EgressError> {
    let base = was.to.to_url(&was.to.path, was.to.query.as_deref())?;
    let url = base
        .join(location)
        .map_err(|_| EgressError::invalid(format!("{} redirects to no readable address", was.to.origin)))?;
    let mut headers = was.headers;
    if method != was.method {
        headers.remove(CONTENT_TYPE);
        headers.remove(CONTENT_ENCODING);
    }
    // First without the credential, to learn the origin; then with it, if it may go along.
    let to = judged(egress, policy, &method, url.as_str(), None)?;
    if to.origin == was.to.origin {
        let to = judged(egress, policy, &method, url.as_str(), was.credential.as_ref())?;
        return Ok(Hop {
            method,
            to,
            headers,
            credential: was.credential,
        });
    }
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    Ok(Hop {
        method,
        to,
        headers,
        credential: None,
    })
}

fn location(answer: &reqwest::Response) -> Option<String> {
    let follow = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = answer.headers().get(LOCATION)?.to_str().ok()?;
    follow.then(|| location.to_owned())
}

/// RFC 9110: 303 asks with GET; 301 and 302 turn POST into GET by old custom; 307 and 308 keep the method.
fn method_after(status: StatusCode, method: &Method) -> Method {
    let turns = match status {
        StatusCode::SEE_OTHER => *method != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method == Method::POST,
        _ => false,
    };
    if turns { Method::GET } else { method.clone() }
}

/// Something was answered already, so nobody may conclude that nothing arrived.
fn after_an_answer(error: EgressError) -> EgressError {
    EgressError {
        evidence: Evidence::Sent,
        ..error
    }
}

async fn place(egress: &Egress, deadline: Instant) -> Result<OwnedSemaphorePermit, EgressError> {
    if let Ok(place) = Arc::clone(&egress.permits).try_acquire_owned() {
        return Ok(place);
    }
    let until = deadline.min(Instant::now() + PLACE_WAIT_MAX);
    match timeout_at(until, Arc::clone(&egress.permits).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(EgressError::not_sent(
            ErrorKind::Timeout,
            "too many calls are under way; none ended in time",
        )),
    }
}

fn filled(body: Body, credential: Option<&Credential>) -> Result<Body, EgressError> {
    let Some(credential) = credential.filter(|credential| inject::touches_body(credential)) else {
        return Ok(body);
    };
    match body {
        Body::Bytes(bytes) => Ok(Body::Bytes(inject::json(&bytes, credential)?)),
        Body::Empty | Body::Stream { .. } | Body::Multipart(_) => Err(EgressError::invalid(format!(
            "the credential `{}` goes into a JSON body, but there is none",
            credential.name
        ))),
    }
}

fn replay(body: &Body) -> Option<Body> {
    match body {
        Body::Empty => Some(Body::Empty),
        Body::Bytes(bytes) => Some(Body::Bytes(bytes.clone())),
        Body::Stream { .. } | Body::Multipart(_) => None,
    }
}

async fn call(egress: &Egress, hop: &Hop, body: Body, deadline: Instant) -> Result<reqwest::Response, EgressError> {
    let detour = egress.detours.of(&hop.to);
    let (dialled, trust) = match &detour {
        Some(target) => (target, Trust::Operator),
        None => (&hop.to, Trust::Judged),
    };
    let host = &dialled.origin.host;
    let client = egress.dialers.client(trust, host)?;
    let mut headers = hop.headers.clone();
    let (mut path, mut query) = (dialled.path.clone(), dialled.query.clone());
    if let Some(credential) = &hop.credential {
        path = inject::path(&path, credential)?;
        query = inject::query(query.as_deref(), credential)?;
        inject::credential_headers(credential, &mut headers)?;
    }
    let url = dialled.to_url(&path, query.as_deref())?;
    let meter = Meter::default();
    if matches!(body, Body::Multipart(_)) {
        headers.remove(CONTENT_TYPE);
    }
    let builder = with_body(client.request(hop.method.clone(), url).headers(headers), body, &meter)?;
    let request = builder
        .build()
        .map_err(|_| EgressError::invalid(format!("the request for {host} cannot be built")))?;
    match timeout_at(deadline, client.execute(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(classify(&error, host, meter.is_out())),
        Err(_) => Err(EgressError {
            kind: ErrorKind::Timeout,
            message: format!("{host} did not answer in time"),
            evidence: if meter.is_out() {
                Evidence::Sent
            } else {
                Evidence::NotSent
            },
        }),
    }
}

fn with_body(
    builder: reqwest::RequestBuilder,
    body: Body,
    meter: &Meter,
) -> Result<reqwest::RequestBuilder, EgressError> {
    Ok(match body {
        Body::Empty => builder,
        Body::Bytes(bytes) if bytes.is_empty() => builder.header(CONTENT_LENGTH, HeaderValue::from_static("0")),
        Body::Bytes(bytes) => {
            let length = bytes.len() as u64;
            builder.header(CONTENT_LENGTH, length).body(meter.once(bytes))
        }
        Body::Stream { bytes, stream } => builder.header(CONTENT_LENGTH, bytes).body(meter.stream(bytes, stream)),
        Body::Multipart(parts) => {
            // Names go out as UTF-8, the way browsers send them: `filename*` is not read by every provider.
            let mut form = reqwest::multipart::Form::new().percent_encode_noop();
            for part in parts {
                let (name, part) = multipart(part, meter)?;
                form = form.part(name, part);
            }
            builder.multipart(form)
        }
    })
}

fn multipart(part: Part, meter: &Meter) -> Result<(String, reqwest::multipart::Part), EgressError> {
    let names = [Some(&part.name), part.filename.as_ref()];
    if names
        .into_iter()
        .flatten()
        .any(|name| name.chars().any(char::is_control))
    {
        return Err(EgressError::invalid("a form part has a name with control characters"));
    }
    let mut made = match part.content {
        PartContent::Bytes(bytes) => {
            let length = bytes.len() as u64;
            reqwest::multipart::Part::stream_with_length(meter.once(bytes), length)
        }
        PartContent::Stream { bytes, stream } => {
            reqwest::multipart::Part::stream_with_length(meter.stream(bytes, stream), bytes)
        }
    };
    if let Some(filename) = part.filename {
        made = made.file_name(filename);
    }
    if let Some(content_type) = part.content_type {
        made = made
            .mime_str(&content_type)
            .map_err(|_| EgressError::invalid("a form part has a content type that cannot be read"))?;
    }
    Ok((part.name, made))
}

/// Counts what of the body has not been handed to the connection: as long as something is left, the request
/// cannot have been applied.
#[derive(Debug, Default, Clone)]
struct Meter(Arc<AtomicU64>);

impl Meter {
    fn is_out(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn once(&self, bytes: Bytes) -> reqwest::Body {
        let length = bytes.len() as u64;
        self.stream(length, futures_util::stream::iter([Ok(bytes)]).boxed())
    }

    fn stream(&self, bytes: u64, stream: ByteStream) -> reqwest::Body {
        self.0.fetch_add(bytes, Ordering::AcqRel);
        let left = Arc::clone(&self.0);
        let mut own = bytes;
        let counted = stream.map(move |chunk| -> io::Result<Bytes> {
            let chunk = chunk?;
            let length = chunk.len() as u64;
            own = own
                .checked_sub(length)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the body is longer than announced"))?;
            left.fetch_sub(length, Ordering::AcqRel);
            Ok(chunk)
        });
        reqwest::Body::wrap_stream(counted)
    }
}
