//! The link in a note that sends a message once more: a page that asks, and the button on it that does it.
//!
//! Opening the link changes nothing, so that a preview or a scanner of links sends nothing. No script runs, and the page
//! is never kept, framed or named to another site.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mantle_flow::outbound::resend::{Offer, Standing};
use mantle_model::clock::Clock;
use mantle_model::ids::{LaneId, MessageId};
use sha2::{Digest, Sha256};

use crate::Front;
use crate::desk::DeskError;
use crate::limits::RESEND_LINK_LIFE;
use crate::tokens::{LinkError, Tokens};

/// Makes and reads the addresses.
#[derive(Clone)]
pub struct ResendLinks {
    tokens: Tokens,
    /// Without a slash at its end.
    public_url: String,
}

impl ResendLinks {
    pub fn new(key: [u8; 32], public_url: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            tokens: Tokens::new(key, clock),
            public_url: public_url.into(),
        }
    }

    /// A public address that sends the message of this attempt once more, good for [`RESEND_LINK_LIFE`].
    #[must_use]
    pub fn link(&self, attempt: MessageId) -> String {
        let token = self.tokens.make([attempt.lane.0, attempt.seq], RESEND_LINK_LIFE);
        format!("{}/resend/{token}", self.public_url)
    }

    fn read(&self, token: &str) -> Result<MessageId, LinkError> {
        let [lane, seq] = self.tokens.read(token)?;
        Ok(MessageId {
            lane: LaneId(lane),
            seq,
        })
    }
}

/// `GET /resend/{token}`
pub(crate) async fn ask(State(front): State<Arc<Front>>, Path(token): Path<String>) -> Response {
    match offer(&front, &token).await {
        Ok((_, offer)) => match offer.standing {
            Standing::Failed | Standing::Unknown => question(&offer),
            Standing::SentAgain | Standing::Arrived => nothing_to_do(StatusCode::OK, &offer),
        },
        Err(page) => *page,
    }
}

/// `POST /resend/{token}`: the button.
pub(crate) async fn follow(State(front): State<Arc<Front>>, Path(token): Path<String>) -> Response {
    let (attempt, offer) = match offer(&front, &token).await {
        Ok(known) => known,
        Err(page) => return *page,
    };
    match front.desk.resend(attempt).await {
        Ok(Some(_)) => page(
            StatusCode::OK,
            "It is on its way",
            &[&words(&offer), "Should it fail again, a new note will say so."],
            "",
        ),
        // Somebody was quicker, or it has arrived meanwhile.
        Ok(None) => nothing_to_do(StatusCode::CONFLICT, &offer),
        Err(error) => trouble(&error),
    }
}

async fn offer(front: &Front, token: &str) -> Result<(MessageId, Offer), Box<Response>> {
    let gone = |status, sentence: &str| Box::new(page(status, "This link does not work", &[sentence], ""));
    let attempt = front.resends.read(token).map_err(|error| match error {
        LinkError::Expired => gone(
            StatusCode::GONE,
            "It has expired. Write the message once more in the conversation.",
        ),
        LinkError::Forged => gone(StatusCode::NOT_FOUND, "Copy the whole address out of the note."),
    })?;
    match front.desk.resend_offer(attempt).await {
        Ok(Some(offer)) => Ok((attempt, offer)),
        Ok(None) => Err(gone(
            StatusCode::NOT_FOUND,
            "The message or its channel is not there any more.",
        )),
        Err(error) => Err(Box::new(trouble(&error))),
    }
}

fn question(offer: &Offer) -> Response {
    let risk = match offer.standing {
        Standing::Unknown => "It may have arrived already: then the customer gets it twice.",
        _ => "It has not been delivered so far.",
    };
    let button = "<form method=\"post\"><button type=\"submit\">Send it again</button></form>";
    page(
        StatusCode::OK,
        "Send this message again?",
        &[&words(offer), risk],
        button,
    )
}

fn nothing_to_do(status: StatusCode, offer: &Offer) -> Response {
    let headline = match offer.standing {
        Standing::Arrived => "There is nothing to send",
        _ => "It was already sent again",
    };
    let why = match offer.standing {
        Standing::Arrived => "The message has gone out after all.",
        _ => "This link works once. Should the last attempt have failed, its own note has a new link.",
    };
    page(status, headline, &[&words(offer), why], "")
}

/// What is spoken of: `“Your parcel…” (SMS)`.
fn words(offer: &Offer) -> String {
    format!("{} ({})", offer.words, offer.title).trim().to_owned()
}

fn trouble(error: &DeskError) -> Response {
    tracing::error!(%error, "A message could not be sent again by its link");
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not now",
        &["The message could not be looked up. Try again in a minute."],
        "",
    )
}

const STYLE: &str = "body{font:16px/1.6 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.5rem;\
color:#1c2430;background:#fbfbf9}h1{font-size:1.4rem}p{margin:.6rem 0;overflow-wrap:anywhere}\
button{font:inherit;margin-top:.8rem;padding:.5rem 1.2rem;border:0;border-radius:.4rem;color:#fff;background:#0b62a3;\
cursor:pointer}@media(prefers-color-scheme:dark){body{color:#e6e8ea;background:#14181d}}";

fn page(status: StatusCode, headline: &str, sentences: &[&str], action: &str) -> Response {
    let body: String = sentences
        .iter()
        .map(|sentence| format!("<p>{}</p>", escape(sentence)))
        .collect();
    let headline = escape(headline);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{headline}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head><body><main>\
         <h1>{headline}</h1>{body}{action}</main></body></html>"
    );
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    response
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}
