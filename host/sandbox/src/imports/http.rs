//! Calls to the provider: judged, filled with the credential, sent through this plugin's own client.
//!
//! The guest names its credential; what goes in is known to `egress` alone. A request that holds a secret in
//! plain sight is refused, and answers have them replaced.

mod renewal;
mod request;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use mantle_egress::{ByteStream, EgressError, ErrorKind as EgressErrorKind, Response as EgressResponse, collect};
use mantle_model::failure::Evidence;
use tokio::sync::OwnedSemaphorePermit;

use crate::bindings::mantle::connector::http::{
    DownloadBody, DownloadResponse, Error, ErrorKind, Host, Method, Request, Response,
};
use crate::call::{CallState, Kind};
use crate::leaks;
use crate::limits;
use crate::shelf::ShelfError;

impl Host for CallState {
    async fn fetch(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        self.count_host_call()?;
        Ok(Box::pin(self.exchange(request)).await)
    }

    async fn download(&mut self, request: Request) -> wasmtime::Result<Result<DownloadResponse, Error>> {
        self.count_host_call()?;
        Ok(Box::pin(self.keep(request)).await)
    }
}

impl CallState {
    async fn exchange(&mut self, request: Request) -> Result<Response, Error> {
        self.check_keep(&request.keep)?;
        let (time, keep) = (time_of(&request), request.keep.clone());
        let (answer, _place) = self.answer(request, time, time).await?;
        let (status, headers) = (answer.status, answer.headers);
        check_size(&headers)?;
        let body = collect(answer.body, limits::ANSWER_BYTES_MAX)
            .await
            .map_err(|error| self.arrived(&error))?;
        let mut body = body.to_vec();
        if (200..300).contains(&status) && !keep.is_empty() {
            body = self.take_out(&keep, body).await?;
        }
        // Last, so that what was taken out is searched for as well.
        Ok(Response {
            status,
            headers: self.headers(&headers),
            body: leaks::scrub(&self.channel.secrets, body),
        })
    }

    async fn keep(&mut self, request: Request) -> Result<DownloadResponse, Error> {
        if !request.keep.is_empty() {
            return Err(problem(
                ErrorKind::Invalid,
                "a download keeps no secrets; use `fetch`",
                false,
            ));
        }
        // The guest's time is for the first byte; a large file may then take as long as its call.
        let to_head = time_of(&request);
        let (answer, _place) = self.answer(request, to_head, limits::MEDIA_TIME_MAX).await?;
        check_size(&answer.headers)?;
        let (status, headers) = (answer.status, self.headers(&answer.headers));
        if !(200..300).contains(&status) {
            let body = first_bytes(answer.body, limits::DOWNLOAD_REFUSAL_BYTES_MAX).await;
            let body = DownloadBody::Bytes(leaks::scrub(&self.channel.secrets, body));
            return Ok(DownloadResponse { status, headers, body });
        }
        if answer
            .content_length
            .is_some_and(|bytes| bytes > limits::DOWNLOAD_BYTES_MAX)
        {
            return Err(of_shelf(&ShelfError::TooLarge {
                bytes_max: limits::DOWNLOAD_BYTES_MAX,
            }));
        }
        let claimed = answer.header("content-type").map(str::to_owned);
        let shelf = Arc::clone(&self.parts.shelf);
        let file = shelf.put(None, claimed, limits::DOWNLOAD_BYTES_MAX, answer.body).await;
        let file = file.map_err(|error| of_shelf(&error))?;
        let id = self
            .lend(file)
            .ok_or_else(|| problem(ErrorKind::Exhausted, "this call holds too many files", true))?;
        Ok(DownloadResponse {
            status,
            headers,
            body: DownloadBody::Media(id),
        })
    }

    /// Sends the request and returns with the head of the answer, `to_head` at most from then on, and with the place
    /// that the call takes until its body is read.
    async fn answer(
        &mut self,
        request: Request,
        to_head: Duration,
        to_end: Duration,
    ) -> Result<(EgressResponse, OwnedSemaphorePermit), Error> {
        if self.kind == Kind::Receive {
            return Err(self.deny(&request.url, "`receive` makes no calls"));
        }
        self.http_calls += 1;
        if self.http_calls > limits::HTTP_CALLS_MAX {
            let message = format!("more than {} calls to the provider", limits::HTTP_CALLS_MAX);
            return Err(problem(ErrorKind::Exhausted, message, false));
        }
        let url = request.url.clone();
        let acts = !matches!(request.method, Method::Get | Method::Head);
        let prepared = self.prepare(request, to_end).await?;
        let place = self.place(to_head).await?;

        // From here on the call may be cut off at any moment, so the worst is noted first.
        let acted_before = self.may_have_acted;
        self.may_have_acted |= acts;
        let parts = Arc::clone(&self.parts);
        let sent = tokio::time::timeout(to_head, parts.egress.send(prepared, &parts.policy)).await;
        let error = match sent {
            Ok(Ok(answer)) => return Ok((answer, place)),
            Ok(Err(error)) => error,
            Err(_) => EgressError {
                kind: EgressErrorKind::Timeout,
                message: format!("no answer within {} ms", to_head.as_millis()),
                evidence: Evidence::Sent,
            },
        };
        if error.evidence == Evidence::NotSent {
            self.may_have_acted = acted_before;
        }
        if error.kind == EgressErrorKind::Denied {
            return Err(self.deny(&url, &error.message));
        }
        let request_sent = error.evidence == Evidence::Sent;
        Err(problem(
            kind(error.kind),
            leaks::scrub_text(&self.channel.secrets, &error.message),
            request_sent,
        ))
    }

    /// One of the places for calls of all plugins: the sockets of the process are everybody's.
    async fn place(&mut self, time: Duration) -> Result<OwnedSemaphorePermit, Error> {
        let free = Arc::clone(&self.parts.http_calls).acquire_owned();
        match tokio::time::timeout(time.min(limits::HTTP_PLACE_WAIT), free).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(problem(
                ErrorKind::Timeout,
                "too many calls of all connectors are under way; none ended in time",
                false,
            )),
        }
    }

    /// Refuses a call, with a line for the operator: a connector that tries is broken or hostile.
    fn deny(&self, url: &str, why: &str) -> Error {
        let why = leaks::scrub_text(&self.channel.secrets, why);
        let host = url::Url::parse(url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned));
        let host = host.unwrap_or_else(|| "an address without a host".to_owned());
        tracing::warn!(
            target: "mantle::audit",
            plugin = %self.parts.name,
            channel = %self.channel.channel,
            host,
            "Denied the connector {} a call to {host}: {why}",
            self.parts.name
        );
        problem(ErrorKind::Denied, why, false)
    }

    fn headers(&self, headers: &[(String, String)]) -> Vec<(String, String)> {
        let needles = leaks::Needles::of(&self.channel.secrets);
        let clean = |value: &String| needles.scrub_text(value);
        headers
            .iter()
            .map(|(name, value)| (name.clone(), clean(value)))
            .collect()
    }

    /// An error after the head of the answer was there.
    fn arrived(&self, error: &EgressError) -> Error {
        problem(
            kind(error.kind),
            leaks::scrub_text(&self.channel.secrets, &error.message),
            true,
        )
    }
}

fn problem(kind: ErrorKind, message: impl Into<String>, request_sent: bool) -> Error {
    Error {
        kind,
        message: message.into(),
        request_sent,
    }
}

fn check_size(headers: &[(String, String)]) -> Result<(), Error> {
    let bytes = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>();
    if bytes > limits::ANSWER_HEADER_BYTES_MAX {
        return Err(problem(ErrorKind::TooLarge, "the answer's headers are too large", true));
    }
    Ok(())
}

fn time_of(request: &Request) -> Duration {
    let asked = request.timeout_ms.map(|ms| Duration::from_millis(ms.into()));
    asked
        .unwrap_or(limits::HTTP_TIMEOUT_DEFAULT)
        .min(limits::HTTP_TIMEOUT_MAX)
}

fn kind(kind: EgressErrorKind) -> ErrorKind {
    match kind {
        EgressErrorKind::Denied => ErrorKind::Denied,
        EgressErrorKind::Invalid => ErrorKind::Invalid,
        EgressErrorKind::Dns => ErrorKind::Dns,
        EgressErrorKind::Connect => ErrorKind::Connect,
        EgressErrorKind::Tls => ErrorKind::Tls,
        EgressErrorKind::Timeout => ErrorKind::Timeout,
        EgressErrorKind::Broken => ErrorKind::Broken,
        EgressErrorKind::TooLarge => ErrorKind::TooLarge,
    }
}

fn of_shelf(error: &ShelfError) -> Error {
    let kind = match error {
        ShelfError::TooLarge { .. } => ErrorKind::TooLarge,
        ShelfError::Full => ErrorKind::Exhausted,
        ShelfError::Unknown | ShelfError::Broken(_) | ShelfError::Unavailable(_) => ErrorKind::Broken,
    };
    problem(kind, error.to_string(), true)
}

/// As much of the body as there is room for; a broken end loses only the end.
async fn first_bytes(mut body: ByteStream, bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        let room = bytes_max - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() == bytes_max {
            break;
        }
    }
    bytes
}
