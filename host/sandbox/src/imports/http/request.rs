//! From the guest's request to one that `egress` can send: checked, with its credential, bodies streamed.

use std::time::Duration;

use mantle_egress::{
    Body as EgressBody, Credential, Injection, Part as EgressPart, PartContent as EgressPartContent,
    Request as EgressRequest,
};
use mantle_model::secret::Secrets;

use super::{of_shelf, problem};
use crate::bindings::mantle::connector::http::{Body, Error, ErrorKind, Method, Part, PartContent, Request};
use crate::call::CallState;
use crate::imports::crypto;
use crate::leaks;
use crate::limits::PARTS_MAX;
use crate::manifest::raw::Inject;
use crate::shelf::ShelfError;

/// Headers that frame the message or name its target: only the host sets them.
const HOST_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "proxy-authorization",
];

impl CallState {
    pub(super) async fn prepare(&mut self, request: Request, timeout: Duration) -> Result<EgressRequest, Error> {
        let credential = request
            .credential
            .as_deref()
            .map(|name| self.credential(name))
            .transpose()?;
        check_headers(&request.headers, credential.as_ref())?;
        if holds_secret(&self.channel.secrets, &request) {
            return Err(self.deny(
                &request.url,
                "the request holds a secret in plain sight; name a credential instead",
            ));
        }
        Ok(EgressRequest {
            method: method(request.method),
            url: request.url,
            headers: request.headers,
            body: self.body(request.body).await?,
            credential,
            timeout,
            redirects_max: 0,
        })
    }

    /// The manifest's credential with this channel's secrets in it.
    fn credential(&self, name: &str) -> Result<Credential, Error> {
        let manifest = &self.parts.manifest;
        let Some(known) = manifest.credentials.iter().find(|credential| credential.name == name) else {
            let message = format!("the manifest has no [[credentials]] `{name}`");
            return Err(problem(ErrorKind::Denied, message, false));
        };
        let injections = known
            .inject
            .iter()
            .map(|inject| self.injection(inject))
            .collect::<Result<_, _>>()?;
        Ok(Credential {
            name: name.to_owned(),
            injections,
        })
    }

    fn injection(&self, inject: &Inject) -> Result<Injection, Error> {
        let missing = |what: &str| problem(ErrorKind::Denied, format!("the channel has no {what}"), false);
        let secret_named = |name: &str| {
            let found = self.secrets(name).first().cloned();
            found.ok_or_else(|| missing(&format!("secret `{name}`")))
        };
        let secret = secret_named(inject.secret())?;
        Ok(match inject {
            Inject::Bearer { .. } => Injection::Bearer(secret),
            Inject::Basic { user_field, .. } => {
                let user = self.channel.fields.get(user_field);
                let user = user.ok_or_else(|| missing(&format!("field `{user_field}`")))?;
                Injection::Basic {
                    user: user.clone(),
                    password: secret,
                }
            }
            Inject::Header { name, .. } => Injection::Header {
                name: name.clone(),
                value: secret,
            },
            Inject::Query { name, .. } => Injection::Query {
                name: name.clone(),
                value: secret,
            },
            Inject::QueryHmac {
                name,
                key,
                algorithm,
                encoding,
                ..
            } => Injection::Query {
                name: name.clone(),
                value: crypto::written((*algorithm, *encoding), &secret_named(key)?, &secret)
                    .ok_or_else(|| missing(&format!("usable secret `{key}`")))?,
            },
            Inject::Path { placeholder, .. } => Injection::Path {
                placeholder: placeholder.clone(),
                value: secret,
            },
            Inject::Json { pointer, .. } => Injection::Json {
                pointer: pointer.clone(),
                value: secret,
            },
        })
    }

    async fn body(&mut self, body: Body) -> Result<EgressBody, Error> {
        Ok(match body {
            Body::None => EgressBody::Empty,
            Body::Bytes(bytes) => EgressBody::Bytes(bytes.into()),
            Body::Media(file) => match self.stream(file).await? {
                EgressPartContent::Stream { bytes, stream } => EgressBody::Stream { bytes, stream },
                EgressPartContent::Bytes(bytes) => EgressBody::Bytes(bytes),
            },
            Body::Multipart(parts) if parts.len() > PARTS_MAX => {
                let message = format!("more than {PARTS_MAX} parts in one body");
                return Err(problem(ErrorKind::Invalid, message, false));
            }
            Body::Multipart(parts) => {
                let mut prepared = Vec::with_capacity(parts.len());
                for part in parts {
                    prepared.push(self.part(part).await?);
                }
                EgressBody::Multipart(prepared)
            }
        })
    }

    async fn part(&mut self, part: Part) -> Result<EgressPart, Error> {
        let content = match part.content {
            PartContent::Text(text) => EgressPartContent::Bytes(text.into_bytes().into()),
            PartContent::Bytes(bytes) => EgressPartContent::Bytes(bytes.into()),
            PartContent::Media(file) => self.stream(file).await?,
        };
        Ok(EgressPart {
            name: part.name,
            filename: part.filename,
            content_type: part.content_type,
            content,
        })
    }

    async fn stream(&mut self, file: u32) -> Result<EgressPartContent, Error> {
        let unknown = || {
            problem(
                ErrorKind::Invalid,
                format!("the file {file} was not given to this call"),
                false,
            )
        };
        let (id, bytes) = self.file(file).map(|file| (file.id, file.bytes)).ok_or_else(unknown)?;
        match self.parts.shelf.open(id).await {
            Ok(stream) => Ok(EgressPartContent::Stream { bytes, stream }),
            Err(ShelfError::Unknown) => Err(problem(ErrorKind::Invalid, "the file is no longer kept", false)),
            Err(error) => Err(Error {
                request_sent: false,
                ..of_shelf(&error)
            }),
        }
    }
}

fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
    }
}

fn check_headers(headers: &[(String, String)], credential: Option<&Credential>) -> Result<(), Error> {
    for (name, value) in headers {
        let invalid = |why: &str| Err(problem(ErrorKind::Invalid, format!("the header `{name}` {why}"), false));
        let Ok(parsed) = http::HeaderName::from_bytes(name.as_bytes()) else {
            return invalid("has no valid name");
        };
        if http::HeaderValue::from_str(value).is_err() {
            return invalid("has no valid value");
        }
        if HOST_HEADERS.contains(&parsed.as_str()) {
            return invalid("is set by the host alone");
        }
        let taken = credential.is_some_and(|credential| {
            credential.injections.iter().any(|injection| match injection {
                Injection::Bearer(_) | Injection::Basic { .. } => parsed == http::header::AUTHORIZATION,
                Injection::Header { name, .. } => name.eq_ignore_ascii_case(parsed.as_str()),
                Injection::Query { .. } | Injection::Path { .. } | Injection::Json { .. } => false,
            })
        });
        if taken {
            return invalid("is set by the credential");
        }
    }
    Ok(())
}

fn holds_secret(secrets: &Secrets, request: &Request) -> bool {
    let needles = leaks::Needles::of(secrets);
    let held = |bytes: &[u8]| needles.found(bytes);
    let in_body = match &request.body {
        Body::None | Body::Media(_) => false,
        Body::Bytes(bytes) => held(bytes),
        Body::Multipart(parts) => parts.iter().any(|part| {
            let content = match &part.content {
                PartContent::Text(text) => held(text.as_bytes()),
                PartContent::Bytes(bytes) => held(bytes),
                PartContent::Media(_) => false,
            };
            let filename = part.filename.as_deref().unwrap_or_default();
            let content_type = part.content_type.as_deref().unwrap_or_default();
            content
                || [&part.name, filename, content_type]
                    .iter()
                    .any(|text| held(text.as_bytes()))
        }),
    };
    let in_header = |(name, value): &(String, String)| held(name.as_bytes()) || held(value.as_bytes());
    in_body || held(request.url.as_bytes()) || request.headers.iter().any(in_header)
}
