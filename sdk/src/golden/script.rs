//! A host that plays from a script and writes down what it was asked.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use super::case::Out;
use super::record;
use crate::host::Host;
use crate::http::{DownloadBody, DownloadResponse, Error, ErrorKind, Request, Response};
use crate::values::{MediaId, TimeMs};
use crate::{crypto, kv, log, media};

/// 2026-11-18T11:06:40Z, the present of a case that names none.
const NOW: TimeMs = 1_795_000_000_000;
const HOOK_URL: &str = "https://bridge.example.com/hooks/connector/chn_1";
/// Files that the connector downloads are numbered from here, clear of those that a case gives.
const FIRST_DOWNLOAD: MediaId = 1001;
/// As the interface says of `media.read`.
const READ_BYTES_MAX: u32 = 65_536;

/// The host of a golden test.
pub struct Script {
    fields: BTreeMap<String, String>,
    hook_url: String,
    now: TimeMs,
    media: BTreeMap<MediaId, File>,
    /// `receive` makes no calls: the sandbox refuses them, and so does the script.
    pure: bool,
    played: RefCell<Played>,
}

#[derive(Default)]
struct Played {
    exchanges: VecDeque<Exchange>,
    requests: Vec<Value>,
    downloads: MediaId,
    kv: BTreeMap<String, Vec<u8>>,
    kv_before: BTreeMap<String, Vec<u8>>,
    logs: Vec<Value>,
    problems: Vec<String>,
}

pub struct Surroundings {
    pub fields: BTreeMap<String, String>,
    pub hook_url: Option<String>,
    pub now: Option<TimeMs>,
    pub kv: BTreeMap<String, String>,
    pub media: BTreeMap<MediaId, Value>,
    pub exchanges: Vec<Value>,
    pub pure: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bytes: u64,
    content_type: String,
    name: Option<String>,
    /// What `media_read` gives; without it, zeros.
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
    file: Option<File>,
    error: Option<Broken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Broken {
    kind: ErrorKind,
    #[serde(default)]
    request_sent: bool,
    message: Option<String>,
}

impl Script {
    pub(super) fn new(surroundings: Surroundings) -> Result<Self, String> {
        let exchanges = surroundings
            .exchanges
            .into_iter()
            .enumerate()
            .map(|(index, value)| serde_json::from_value(value).map_err(|error| format!("exchanges[{index}]: {error}")))
            .collect::<Result<_, String>>()?;
        let media = surroundings
            .media
            .into_iter()
            .map(|(id, value)| match serde_json::from_value(value) {
                Ok(file) => Ok((id, file)),
                Err(error) => Err(format!("media {id}: {error}")),
            })
            .collect::<Result<_, String>>()?;
        let kv: BTreeMap<String, Vec<u8>> = surroundings
            .kv
            .into_iter()
            .map(|(key, value)| (key, value.into_bytes()))
            .collect();
        Ok(Self {
            fields: surroundings.fields,
            hook_url: surroundings.hook_url.unwrap_or_else(|| HOOK_URL.to_owned()),
            now: surroundings.now.unwrap_or(NOW),
            media,
            pure: surroundings.pure,
            played: RefCell::new(Played {
                exchanges,
                kv_before: kv.clone(),
                kv,
                downloads: FIRST_DOWNLOAD,
                ..Played::default()
            }),
        })
    }

    /// What was asked; a call that the script does not know of, or an answer that nobody asked for, is a failure.
    pub(super) fn finish(self) -> Result<Out, String> {
        let played = self.played.into_inner();
        let mut problems = played.problems;
        if !played.exchanges.is_empty() {
            problems.push(format!(
                "{} of the exchanges were not asked for",
                played.exchanges.len()
            ));
        }
        if !problems.is_empty() {
            let requests = serde_json::to_string_pretty(&played.requests).unwrap_or_default();
            return Err(format!("{}; requests made: {requests}", problems.join("; ")));
        }
        let mut out = Out::new();
        if !played.requests.is_empty() {
            out.insert("requests".to_owned(), played.requests.into());
        }
        let changed: Out = played
            .kv
            .iter()
            .filter(|(key, value)| played.kv_before.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into()))
            .chain(
                played
                    .kv_before
                    .keys()
                    .filter(|key| !played.kv.contains_key(*key))
                    .map(|key| (key.clone(), Value::Null)),
            )
            .collect();
        if !changed.is_empty() {
            out.insert("kv".to_owned(), changed.into());
        }
        if !played.logs.is_empty() {
            out.insert("log".to_owned(), played.logs.into());
        }
        Ok(out)
    }

    fn exchange(&self, request: &Request, download: bool) -> Result<Exchange, Error> {
        let mut played = self.played.borrow_mut();
        if self.pure {
            played.problems.push("`receive` made a call".to_owned());
            return Err(refusal("`receive` makes no calls"));
        }
        played.requests.push(record::request(request, download));
        let Some(exchange) = played.exchanges.pop_front() else {
            played.problems.push(format!("no exchange is left for {}", request.url));
            return Err(refusal("the script ends here"));
        };
        match exchange.error {
            Some(broken) => Err(Error {
                kind: broken.kind,
                message: broken.message.unwrap_or_else(|| "The exchange broke off.".to_owned()),
                request_sent: broken.request_sent,
            }),
            None => Ok(exchange),
        }
    }

    fn kv_refused(&self) -> Result<(), kv::Error> {
        if !self.pure {
            return Ok(());
        }
        self.played.borrow_mut().problems.push("`receive` used kv".to_owned());
        Err(kv::Error::Unavailable)
    }
}

impl Exchange {
    fn body(&self) -> Vec<u8> {
        match &self.body {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            value => value.to_string().into_bytes(),
        }
    }

    /// As the host does with what it keeps.
    fn take_out(&mut self, pointer: &str) {
        if let Some(Value::String(place)) = self.body.pointer_mut(pointer)
            && !place.is_empty()
        {
            *place = "[secret]".to_owned();
        }
    }

    fn status(&self) -> u16 {
        self.status.unwrap_or(200)
    }
}

impl Host for Script {
    fn fetch(&self, request: Request) -> Result<Response, Error> {
        let mut exchange = self.exchange(&request, false)?;
        if (200..300).contains(&exchange.status()) {
            request.keep.iter().for_each(|kept| exchange.take_out(&kept.pointer));
        }
        Ok(Response {
            status: exchange.status(),
            body: exchange.body(),
            headers: exchange.headers.into_iter().collect(),
        })
    }

    fn download(&self, request: Request) -> Result<DownloadResponse, Error> {
        let exchange = self.exchange(&request, true)?;
        let body = match (&exchange.file, exchange.status()) {
            (Some(_), 200..=299) => {
                let mut played = self.played.borrow_mut();
                let file = played.downloads;
                played.downloads += 1;
                DownloadBody::Media(file)
            }
            _ => DownloadBody::Bytes(exchange.body()),
        };
        Ok(DownloadResponse {
            status: exchange.status(),
            body,
            headers: exchange.headers.into_iter().collect(),
        })
    }

    fn media_stat(&self, file: MediaId) -> Result<media::FileInfo, media::Error> {
        let file = self.media.get(&file).ok_or(media::Error::Unknown)?;
        Ok(media::FileInfo {
            bytes: file.bytes,
            content_type: file.content_type.clone(),
            name: file.name.clone(),
        })
    }

    fn media_read(&self, file: MediaId, offset: u64, length: u32) -> Result<Vec<u8>, media::Error> {
        let file = self.media.get(&file).ok_or(media::Error::Unknown)?;
        if offset > file.bytes {
            return Err(media::Error::OutOfRange);
        }
        let length = u64::from(length.min(READ_BYTES_MAX)).min(file.bytes - offset);
        let content = file.text.as_deref().unwrap_or_default().as_bytes();
        Ok((offset..offset + length)
            .map(|index| {
                usize::try_from(index)
                    .ok()
                    .and_then(|index| content.get(index).copied())
                    .unwrap_or(0)
            })
            .collect())
    }

    fn media_link(&self, file: MediaId) -> Result<String, media::Error> {
        match self.media.contains_key(&file) {
            true => Ok(format!("https://bridge.example.com/media/{file}")),
            false => Err(media::Error::Unknown),
        }
    }

    /// Not a true HMAC: readable in the out file, and different for different input.
    fn hmac(&self, secret: &str, algorithm: crypto::Algorithm, data: &[u8]) -> Result<Vec<u8>, crypto::Error> {
        Ok(format!("{algorithm:?}:{secret}:{}", String::from_utf8_lossy(data)).into_bytes())
    }

    /// By the readable code of [`Host::hmac`].
    fn verify(
        &self,
        secret: &str,
        algorithm: crypto::Algorithm,
        data: &[u8],
        code: &[u8],
    ) -> Result<bool, crypto::Error> {
        Ok(self.hmac(secret, algorithm, data)? == code)
    }

    /// As readable: the name of the secret stands for it.
    fn verify_sorted(
        &self,
        secret: &str,
        algorithm: crypto::Algorithm,
        parts: &[Vec<u8>],
        digest: &[u8],
    ) -> Result<bool, crypto::Error> {
        let mut all = parts.to_vec();
        all.push(secret.as_bytes().to_vec());
        all.sort();
        Ok([format!("{algorithm:?}:").into_bytes(), all.concat()].concat() == digest)
    }

    /// Nothing is encrypted here: the text stands for itself.
    fn decrypt_aes256_cbc(
        &self,
        _secret: &str,
        _start: &crypto::InitialVector,
        data: &[u8],
    ) -> Result<Vec<u8>, crypto::DecryptError> {
        Ok(data.to_vec())
    }

    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, kv::Error> {
        self.kv_refused()?;
        Ok(self.played.borrow().kv.get(key).cloned())
    }

    fn kv_set(&self, key: &str, value: &[u8], _ttl_ms: Option<u64>) -> Result<(), kv::Error> {
        self.kv_refused()?;
        self.played.borrow_mut().kv.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn kv_compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<bool, kv::Error> {
        let same = self.kv_get(key)?.as_deref() == expected;
        if same {
            self.kv_set(key, value, ttl_ms)?;
        }
        Ok(same)
    }

    fn kv_delete(&self, key: &str) -> Result<(), kv::Error> {
        self.kv_refused()?;
        self.played.borrow_mut().kv.remove(key);
        Ok(())
    }

    fn config(&self, field: &str) -> Option<String> {
        self.fields.get(field).cloned()
    }

    fn hook_url(&self) -> String {
        self.hook_url.clone()
    }

    fn now(&self) -> TimeMs {
        self.now
    }

    fn log(&self, level: log::Level, message: &str) {
        self.played.borrow_mut().logs.push(json!([level, message]));
    }
}

fn refusal(message: &str) -> Error {
    Error {
        kind: ErrorKind::Denied,
        message: message.to_owned(),
        request_sent: false,
    }
}
