//! Reading a request's body within bytes and time.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{BODY_PAUSE_MAX, BODY_TIME_MAX};

/// Why a body is not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("The body is larger than {bytes_max} bytes.")]
    TooLarge { bytes_max: usize },
    #[error("The body came too slowly.")]
    TooSlow,
    #[error("The body broke off or is not well formed.")]
    Broken,
}

impl BodyError {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "body_too_large",
            Self::TooSlow => "body_too_slow",
            Self::Broken => "body_broken",
        }
    }
}

/// Reads the whole body, refusing what says or proves that it is too large before it is held in memory.
pub(crate) async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    use axum::body::HttpBody;
    let too_large = BodyError::TooLarge { bytes_max };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large);
    }
    let deadline = Instant::now() + BODY_TIME_MAX;
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, timeout(BODY_PAUSE_MAX, body.frame()));
        let Ok(Ok(frame)) = frame.await else {
            return Err(BodyError::TooSlow);
        };
        let Some(frame) = frame else {
            return Ok(whole.freeze());
        };
        let frame = frame.map_err(|_| BodyError::Broken)?;
        // Trailers carry nothing for us.
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > bytes_max {
                return Err(too_large);
            }
            whole.extend_from_slice(&data);
        }
    }
}
