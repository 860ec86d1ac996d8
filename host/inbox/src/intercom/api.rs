//! One call to the REST API: version, credential, limits, and an answer that is either good or a [`Trouble`].

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Method;
use mantle_egress::{Body, ByteStream, Credential, Egress, Injection, Policy, Request, collect};
use mantle_failpoint::{Point, reach};
use mantle_model::clock::{Clock, Time};
use mantle_model::failure::{Cause, Failure};
use mantle_model::secret::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pace::Pace;
use super::region::{CREDENTIAL, Region, api_policy, file_policy};
use super::trouble::{Repeat, Trouble, read, unanswered, unreadable, wait};
use crate::Access;

/// The version whose shapes are read and written here.
const VERSION: &str = "2.16";
/// A call without files. Intercom's own slowest answers stay below 20 s.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A call that carries files: 27 MB at 2 Mbit/s.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// A conversation of 500 parts of 10 KiB, the largest answer there is, with room.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

pub struct Api {
    egress: ArcSwap<Egress>,
    clock: Arc<dyn Clock>,
    policy: Policy,
    files: Policy,
    pace: Pace,
}

/// What to ask.
pub struct Call<'a> {
    pub method: Method,
    pub path: String,
    pub body: Content<'a>,
    pub repeat: Repeat,
}

pub enum Content<'a> {
    None,
    Json(&'a Value),
    /// JSON written while files are read.
    Stream {
        bytes: u64,
        stream: ByteStream,
    },
}

impl<'a> Call<'a> {
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Content::None,
            repeat: Repeat::Harmless,
        }
    }

    /// A search, or a write that may be repeated.
    pub fn harmless(method: Method, path: impl Into<String>, body: &'a Value) -> Self {
        Self {
            method,
            path: path.into(),
            body: Content::Json(body),
            repeat: Repeat::Harmless,
        }
    }

    pub fn doubling(path: impl Into<String>, body: Content<'a>) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body,
            repeat: Repeat::Doubles,
        }
    }
}

impl Api {
    pub fn new(egress: Arc<Egress>, clock: Arc<dyn Clock>) -> Self {
        Self {
            egress: ArcSwap::new(egress),
            clock,
            policy: api_policy(),
            files: file_policy(),
            pace: Pace::default(),
        }
    }

    /// Calls from now on leave through this client.
    pub fn reconnect(&self, egress: Arc<Egress>) {
        self.egress.store(egress);
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub async fn ask<T: DeserializeOwned>(&self, access: &Access, call: Call<'_>) -> Result<T, Trouble> {
        let workspace = self
            .pace
            .workspace(access.facts.get("app_id").map_or("", String::as_str));
        if let Some(left) = workspace.held(self.now()) {
            let cause = Cause::new(
                "rate_limit",
                "The workspace's limit of calls is used up for the moment.",
            );
            return Err(Trouble::Failure(Failure::RateLimited {
                after: Some(left),
                cause,
            }));
        }
        let Some(_turn) = workspace.turn().await else {
            let cause = Cause::new("busy", "Too many calls of this workspace are under way.");
            return Err(Trouble::Failure(Failure::Transient(cause)));
        };
        let (answer, limits) = self.exchange(&access.token, Region::of(access), call).await;
        if let Some(wait) = limits {
            workspace.hold(self.now(), wait);
        }
        answer
    }

    /// Asks one region before anything is known of the workspace.
    pub async fn ask_region<T: DeserializeOwned>(
        &self,
        token: &Secret,
        region: Region,
        call: Call<'_>,
    ) -> Result<T, Trouble> {
        self.exchange(token, region, call).await.0
    }

    /// The answer, and how long the workspace is to be left alone if its limit is used up.
    async fn exchange<T: DeserializeOwned>(
        &self,
        token: &Secret,
        region: Region,
        call: Call<'_>,
    ) -> (Result<T, Trouble>, Option<Duration>) {
        let repeat = call.repeat;
        let request = match request(token, region, call) {
            Ok(request) => request,
            Err(trouble) => return (Err(trouble), None),
        };
        let mut answer = match self.egress.load_full().send(request, &self.policy).await {
            Ok(answer) => answer,
            Err(error) => return (Err(unanswered(&error, repeat)), None),
        };
        if repeat == Repeat::Doubles {
            reach(Point::AnswerBegun).await;
        }
        let used_up = answer.status == 429
            || answer
                .header("x-ratelimit-remaining")
                .is_some_and(|left| left.trim() == "0");
        let limits = if used_up { wait(&answer, self.now()) } else { None };
        let stream = std::mem::replace(&mut answer.body, Box::pin(futures_util::stream::empty()));
        let body = collect(stream, ANSWER_BYTES_MAX).await;
        if repeat == Repeat::Doubles {
            reach(Point::AnswerRead).await;
        }
        let result = match (answer.status, body) {
            (200..=299, Ok(body)) => serde_json::from_slice(&body).map_err(|_| unreadable(repeat)),
            (200..=299, Err(error)) => Err(unanswered(&error, repeat)),
            // The status alone is a definite answer, whatever became of its explanation.
            (_, body) => Err(read(&answer, &body.unwrap_or_default(), repeat, self.now())),
        };
        (result, limits)
    }

    /// Starts a download of a file that a reply names.
    pub async fn file(&self, url: &str) -> Result<mantle_egress::Response, mantle_egress::EgressError> {
        let request = Request {
            method: Method::GET,
            url: url.to_owned(),
            headers: Vec::new(),
            body: Body::Empty,
            credential: None,
            timeout: FILE_TIMEOUT,
            redirects_max: FILE_REDIRECTS_MAX,
        };
        self.egress.load_full().send(request, &self.files).await
    }
}

/// 100 MB, the most that a Messenger file may have, at 3 Mbit/s.
const FILE_TIMEOUT: Duration = Duration::from_secs(300);
/// Signed addresses lead to the storage at once; more than this is a loop.
const FILE_REDIRECTS_MAX: u8 = 3;

fn request(token: &Secret, region: Region, call: Call<'_>) -> Result<Request, Trouble> {
    let mut headers = vec![
        ("accept".to_owned(), "application/json".to_owned()),
        ("intercom-version".to_owned(), VERSION.to_owned()),
    ];
    let mut timeout = TIMEOUT;
    let body = match call.body {
        Content::None => Body::Empty,
        Content::Json(value) => Body::Bytes(
            serde_json::to_vec(value)
                .map(Bytes::from)
                .map_err(|_| unreadable(Repeat::Harmless))?,
        ),
        Content::Stream { bytes, stream } => {
            timeout = UPLOAD_TIMEOUT;
            Body::Stream { bytes, stream }
        }
    };
    if !matches!(body, Body::Empty) {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    Ok(Request {
        method: call.method,
        url: format!("https://{}{}", region.api_host(), call.path),
        headers,
        body,
        credential: Some(Credential {
            name: CREDENTIAL.to_owned(),
            injections: vec![Injection::Bearer(token.clone())],
        }),
        timeout,
        redirects_max: 0,
    })
}

/// An id as one segment of a path: ids come from outside and must not lead elsewhere.
pub fn segment(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}
