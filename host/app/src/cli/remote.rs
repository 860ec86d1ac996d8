//! A running host, asked through its API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::Method;
use mantle_egress::{
    Body, Credential, Egress, EgressConfig, Holds, Injection, Policy, Request, Response, Rule, collect,
};
use mantle_model::secret::Secret;
use serde_json::Value;
use url::Url;

use super::Common;
use crate::config;

/// Connecting a channel asks a provider several times.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer of the API: a page of messages.
const ANSWER_BYTES_MAX: usize = 8 << 20;
const CREDENTIAL: &str = "key";

pub(super) struct Remote {
    base: Url,
    way: Way,
    key: Secret,
}

impl Remote {
    pub(super) fn new(common: &Common) -> Result<Self> {
        let base = base(common)?;
        let key = std::env::var("MANTLE_ADMIN_TOKEN")
            .ok()
            .filter(|key| !key.is_empty())
            .context("MANTLE_ADMIN_TOKEN is not set. Set it to the value that the host was started with.")?;
        Ok(Self {
            way: Way::to(&base)?,
            base,
            key: Secret::new(key),
        })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if method == Method::POST {
            let key = getrandom::u64().map_err(|error| anyhow!("no random numbers: {error}"))?;
            headers.push(("idempotency-key".to_owned(), format!("cli-{key:016x}")));
        }
        let request = Request {
            method,
            url: String::new(),
            headers,
            body: body.map_or(Body::Empty, |body| Body::Bytes(Bytes::from(body.to_string()))),
            credential: Some(Credential {
                name: CREDENTIAL.to_owned(),
                injections: vec![Injection::Bearer(self.key.clone())],
            }),
            timeout: TIMEOUT,
            redirects_max: 0,
        };
        let response = self.way.send(path, request).await.with_context(|| {
            format!(
                "The host at {} does not answer; start it with `mantle serve`, or name another one with `--url`",
                self.base
            )
        })?;
        let status = response.status;
        let bytes = collect(response.body, ANSWER_BYTES_MAX).await?;
        if bytes.is_empty() && (200..300).contains(&status) {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} answered {status} with something else than JSON", self.base))?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let error = &answer["error"];
        let message = error["message"].as_str().unwrap_or("no reason given");
        let field = error["field"]
            .as_str()
            .map(|field| format!(" Field: `{field}`."))
            .unwrap_or_default();
        let reference = error["reference"].as_str().unwrap_or("none");
        bail!("{message}{field} ({status}, reference {reference})");
    }
}

/// A client that reaches one origin, loopback and private ones too: the operator named it.
pub(super) struct Way {
    /// The origin as the client calls it. Calls leave by https alone unless they are sent elsewhere, so a plain one
    /// is called as if it had TLS and sent to where it really is.
    base: Url,
    egress: Egress,
    policy: Policy,
}

impl Way {
    pub(super) fn to(address: &Url) -> Result<Self> {
        let real = Url::parse(&address.origin().ascii_serialization())?;
        let host = real.host_str().unwrap_or_default().to_owned();
        let port = real.port_or_known_default().unwrap_or(443);
        let base = Url::parse(&format!("https://{host}:{port}"))?;
        let egress = Egress::new(&EgressConfig {
            redirects: vec![(base.clone(), real)],
        })?;
        let rule = Rule {
            scheme: "https".to_owned(),
            host,
            port,
            methods: Vec::new(),
            paths: Vec::new(),
            credentials: vec![CREDENTIAL.to_owned()],
            holds: Holds::Always,
        };
        Ok(Self {
            base,
            egress,
            policy: Policy { rules: vec![rule] },
        })
    }

    /// Sends the request to this path of the origin.
    pub(super) async fn send(&self, path: &str, request: Request) -> Result<Response> {
        let url = self
            .base
            .join(path)
            .with_context(|| format!("`{path}` is not a path"))?
            .to_string();
        Ok(self.egress.send(Request { url, ..request }, &self.policy).await?)
    }
}

fn base(common: &Common) -> Result<Url> {
    if let Some(url) = &common.url {
        let url = Url::parse(url).ok().filter(|url| url.has_host());
        return url.context("`--url` is not an address. Write it as http://127.0.0.1:8080.");
    }
    let listen = listen(&common.config)?;
    Url::parse(&format!("http://{listen}/")).context("The address of `server.listen` cannot be called.")
}

/// Where the host of this configuration listens, as somebody on the same machine calls it. Without a file: the default.
fn listen(file: &Path) -> Result<String> {
    if !file.exists() {
        return Ok(config::DEFAULT_LISTEN.to_owned());
    }
    // Secrets do not matter here, so one that is absent must not stand in the way.
    let any = |_: &str| Some("unread".to_owned());
    let mut listen = config::load(file, &any)?.fixed.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Ok(listen.to_string())
}
