//! Files for providers and inboxes, behind links that are signed and expire.
//!
//! A link names one file and one moment; whoever has it may fetch the file until then. The bytes are strangers'
//! bytes: a browser must never run them on this host's name.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mantle_model::clock::Clock;
use mantle_model::ids::MediaId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Front;
use crate::limits::MEDIA_LINK_LIFE;
use crate::tokens::{LinkError, Tokens};

/// A name longer than this is cut, before its extension, in bytes.
const NAME_BYTES_MAX: usize = 150;
/// What RFC 5987 leaves as it is.
const NAME_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Makes and reads the addresses of files.
#[derive(Clone)]
pub struct MediaLinks {
    tokens: Tokens,
    /// Without a slash at its end.
    public_url: String,
}

impl MediaLinks {
    pub fn new(key: [u8; 32], public_url: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            tokens: Tokens::new(key, clock),
            public_url: public_url.into(),
        }
    }

    /// A public address of the file, good for [`MEDIA_LINK_LIFE`].
    #[must_use]
    pub fn link(&self, id: MediaId) -> String {
        format!(
            "{}/media/{}",
            self.public_url,
            self.tokens.make([id.0], MEDIA_LINK_LIFE)
        )
    }

    /// # Errors
    /// The token was not made here, or its time is over.
    pub fn read(&self, token: &str) -> Result<MediaId, LinkError> {
        let [id] = self.tokens.read(token)?;
        Ok(MediaId(id))
    }
}

/// `GET` and `HEAD /media/{token}`
pub(crate) async fn serve(State(front): State<Arc<Front>>, Path(token): Path<String>, method: Method) -> Response {
    let plain = |status: StatusCode, text: &'static str| (status, text).into_response();
    let id = match front.links.read(&token) {
        Ok(id) => id,
        Err(LinkError::Expired) => return plain(StatusCode::GONE, "This link has expired.\n"),
        Err(LinkError::Forged) => return plain(StatusCode::NOT_FOUND, "There is no such file.\n"),
    };
    let file = match front.desk.file(id).await {
        Ok(Some(file)) => file,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "There is no such file.\n"),
        Err(error) => {
            tracing::error!(media.id = %id, %error, "A file could not be opened");
            return plain(StatusCode::SERVICE_UNAVAILABLE, "The file cannot be read now.\n");
        }
    };
    let disposition = disposition(&file.content_type, file.name.as_deref());
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(file.body)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, file.content_type);
    set(header::CONTENT_LENGTH, file.bytes.to_string());
    set(header::CONTENT_DISPOSITION, disposition);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff".into());
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".into());
    set(header::CACHE_CONTROL, "private, max-age=3600, immutable".into());
    set(
        HeaderName::from_static("cross-origin-resource-policy"),
        "cross-origin".into(),
    );
    set(header::REFERRER_POLICY, "no-referrer".into());
    response
}

/// Pictures, sound and film are shown where they stand, as providers want it; all else is only ever saved.
fn disposition(content_type: &str, name: Option<&str>) -> String {
    let family = content_type.split('/').next().unwrap_or_default();
    let shown = matches!(family, "image" | "audio" | "video") && !content_type.contains("svg");
    let kind = if shown { "inline" } else { "attachment" };
    let Some(name) = name.map(safe_name).filter(|name| !name.is_empty()) else {
        return kind.to_owned();
    };
    let ascii: String = name
        .chars()
        .map(|letter| if letter.is_ascii() { letter } else { '_' })
        .collect();
    let encoded = utf8_percent_encode(&name, NAME_KEPT);
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

/// The last part of the name, without what breaks a header or misleads a reader.
fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut safe: String = last
        .chars()
        .filter(|letter| {
            !letter.is_control()
                && !matches!(letter, '"' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect();
    let extension = safe.rfind('.').map(|dot| safe.split_off(dot)).unwrap_or_default();
    let room = NAME_BYTES_MAX.saturating_sub(extension.len());
    let cut = (0..=room.min(safe.len())).rev().find(|at| safe.is_char_boundary(*at));
    safe.truncate(cut.unwrap_or(0));
    let whole = format!("{safe}{extension}");
    whole.trim_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mantle_model::clock::{ManualClock, Time};

    use super::*;

    fn links(clock: &ManualClock) -> MediaLinks {
        MediaLinks::new([7; 32], "https://bridge.example.com", Arc::new(clock.clone()))
    }

    #[test]
    fn a_link_is_good_for_its_time_and_for_its_file_alone() {
        let clock = ManualClock::at(Time::from_unix_seconds(1_795_000_000));
        let links = links(&clock);
        let link = links.link(MediaId(42));
        let token = link
            .strip_prefix("https://bridge.example.com/media/")
            .unwrap_or_default();
        assert_eq!(links.read(token), Ok(MediaId(42)));

        clock.advance(MEDIA_LINK_LIFE - Duration::from_millis(1));
        assert_eq!(links.read(token), Ok(MediaId(42)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(links.read(token), Err(LinkError::Expired));
    }

    #[test]
    fn names_and_types_of_strangers_do_no_harm() {
        let check = |kind: &str, name: Option<&str>, expected: &str| assert_eq!(disposition(kind, name), expected);
        check("image/png", None, "inline");
        check("image/svg+xml", None, "attachment");
        check(
            "text/html",
            Some("a.html"),
            "attachment; filename=\"a.html\"; filename*=UTF-8''a.html",
        );
        check(
            "application/pdf",
            Some("../../etc/Rech\u{202e}nung\"\r\nX: y ü.pdf"),
            "attachment; filename=\"RechnungX: y _.pdf\"; filename*=UTF-8''RechnungX%3A%20y%20%C3%BC.pdf",
        );
        check(
            "audio/ogg",
            Some("C:\\v\\voice.ogg"),
            "inline; filename=\"voice.ogg\"; filename*=UTF-8''voice.ogg",
        );
        let long = format!("{}.pdf", "é".repeat(4000));
        assert!(safe_name(&long).len() <= NAME_BYTES_MAX);
        assert!(safe_name(&long).ends_with(".pdf"));
        assert!(safe_name(&format!("a.{}", "x".repeat(4000))).len() <= 4002);
    }
}
