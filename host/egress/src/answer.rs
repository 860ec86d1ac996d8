//! What comes back: capped, ended by the deadline, without a trace of the address in its errors.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::{ByteStream, EgressError, ErrorKind, Response};

/// Names and values of all headers of one answer, in bytes.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// # Errors
/// `TooLarge` for too many header bytes.
pub fn convert(
    answer: reqwest::Response,
    deadline: Instant,
    permit: OwnedSemaphorePermit,
) -> Result<Response, EgressError> {
    let bytes: usize = answer
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(EgressError::sent(
            ErrorKind::TooLarge,
            format!("the answer has {bytes} bytes of headers; {HEADER_BYTES_MAX} are taken"),
        ));
    }
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    Ok(Response {
        status: answer.status().as_u16(),
        headers,
        content_length: answer.content_length(),
        body: body(answer.bytes_stream().boxed(), deadline, permit),
    })
}

struct Reading {
    stream: BoxStream<'static, reqwest::Result<Bytes>>,
    _permit: OwnedSemaphorePermit,
}

fn body(
    stream: BoxStream<'static, reqwest::Result<Bytes>>,
    deadline: Instant,
    permit: OwnedSemaphorePermit,
) -> ByteStream {
    let reading = Reading {
        stream,
        _permit: permit,
    };
    // None after an error: a broken body does not go on, and gives its place back at once.
    stream::unfold(Some(reading), move |reading| async move {
        let mut reading = reading?;
        match timeout_at(deadline, reading.stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(reading))),
            Ok(Some(Err(_))) => {
                let error = io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the connection broke inside the answer",
                );
                Some((Err(error), None))
            }
            Err(_) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the answer did not end in time");
                Some((Err(error), None))
            }
        }
    })
    .boxed()
}

/// Reads a body into memory, refusing more than `cap` bytes.
///
/// # Errors
/// `TooLarge`, or the stream's own error.
pub async fn collect(mut body: ByteStream, cap: usize) -> Result<Bytes, EgressError> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::TimedOut => ErrorKind::Timeout,
                _ => ErrorKind::Broken,
            };
            EgressError::sent(kind, error.to_string())
        })?;
        if whole.len() + chunk.len() > cap {
            return Err(EgressError::sent(
                ErrorKind::TooLarge,
                format!("the answer is larger than {cap} bytes"),
            ));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}
