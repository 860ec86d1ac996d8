//! HTTP on loopback: a server that can misbehave and a client that finds the host behind its public address.
//!
//! The client keeps no connections, so many deliveries at once arrive over many connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fault::{self, Fault, Faults};
use crate::scene::lock;

/// More than any provider takes in one request, in bytes.
const REQUEST_BYTES_MAX: usize = 160 << 20;
/// More than the host should ever answer to a webhook or offer as a file, in bytes.
const ANSWER_BYTES_MAX: usize = 160 << 20;
/// As long as the most patient provider waits for a webhook's answer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A request that has come in whole.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    /// As sent, percent-encoded.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// The value of a header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// The first value of a query parameter, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The form body, decoded, in order.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the body is not JSON: {error}"))
    }

    /// The pieces of the path, decoded.
    pub(crate) fn pieces(&self) -> Vec<String> {
        let decode = |piece: &str| {
            percent_encoding::percent_decode_str(piece)
                .decode_utf8_lossy()
                .into_owned()
        };
        self.path
            .split('/')
            .filter(|piece| !piece.is_empty())
            .map(decode)
            .collect()
    }
}

/// An answer, on either side.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::typed(status, "application/json; charset=utf-8", body.to_string())
    }

    pub(crate) fn typed(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The value of a header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    #[must_use]
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One listener's manners.
pub(crate) trait Stand: Send + Sync + 'static {
    /// The name by which faults find this call.
    fn operation(&self, call: &Call) -> String;
    fn faults(&self) -> &Faults;
    /// How the provider words an error of this status. The header `Retry-After` is added to it.
    fn refusal(&self, status: u16, retry_after: Option<&str>) -> Reply;
    fn answer(&self, call: Call) -> impl Future<Output = Reply> + Send;
}

/// Serves until stopped; connections still open are dropped then.
pub(crate) async fn serve<S: Stand>(listener: TcpListener, stand: Arc<S>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        while connections.try_join_next().is_some() {}
        let stand = stand.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| play(stand.clone(), request));
            // An error here is the caller hanging up, or a fault that we were told to play.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type AnswerBody = BoxBody<Bytes, Infallible>;

async fn play<S: Stand>(stand: Arc<S>, request: Request<Incoming>) -> io::Result<Response<AnswerBody>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, REQUEST_BYTES_MAX)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or("").to_owned(),
        headers: head.headers,
        body,
    };
    let gone = || io::Error::new(io::ErrorKind::ConnectionAborted, "a fault was asked for");
    let Some(fault) = stand.faults().take(&stand.operation(&call)) else {
        return respond(stand.answer(call).await);
    };
    match fault {
        Fault::Refuse(status) => respond(stand.refusal(status, None)),
        Fault::RefuseAfter(status) => {
            stand.answer(call).await;
            respond(stand.refusal(status, None))
        }
        Fault::Gateway(status) => respond(gateway(status)),
        Fault::GatewayAfter(status) => {
            stand.answer(call).await;
            respond(gateway(status))
        }
        Fault::Limit(after) => respond(fault::limited(stand.refusal(429, after.as_deref()), after.as_deref())),
        Fault::Hold(pause) => {
            tokio::time::sleep(pause).await;
            Err(gone())
        }
        Fault::HoldAfter(pause) => {
            stand.answer(call).await;
            tokio::time::sleep(pause).await;
            Err(gone())
        }
        Fault::Reset => Err(gone()),
        Fault::ResetAfter => {
            stand.answer(call).await;
            Err(gone())
        }
        Fault::Garbage => {
            stand.answer(call).await;
            respond(Reply::typed(
                200,
                "text/html",
                "<html><body><h1>It works!</h1></body></html>",
            ))
        }
        Fault::Slow(pause) => {
            let reply = stand.answer(call).await;
            let bytes = reply.body.clone();
            head_of(&reply).body(drip(bytes, pause)).map_err(io::Error::other)
        }
        Fault::Endless => {
            let chunk = Bytes::from(vec![b' '; 16 << 10]);
            let chunks = stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(chunk.clone())));
            let reply = Reply::typed(200, "application/json", "");
            head_of(&reply)
                .body(BodyExt::boxed(StreamBody::new(chunks)))
                .map_err(io::Error::other)
        }
        Fault::Late(pause) => {
            tokio::time::sleep(pause).await;
            respond(stand.answer(call).await)
        }
        Fault::Redirect(to) => respond(Reply::empty(302).with("location", to)),
    }
}

/// What a proxy says when it has no answer of the provider's.
fn gateway(status: u16) -> Reply {
    let page = format!("<html><head><title>{status}</title></head><body><h1>{status}</h1><hr>gateway</body></html>");
    Reply::typed(status, "text/html", page)
}

/// One byte at a time.
fn drip(bytes: Bytes, pause: Duration) -> AnswerBody {
    let drops = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(Frame::data(rest.split_to(1))), rest))
    });
    BodyExt::boxed(StreamBody::new(drops))
}

fn head_of(reply: &Reply) -> http::response::Builder {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = Response::builder().status(status);
    for (name, value) in &reply.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    builder
}

fn respond(reply: Reply) -> io::Result<Response<AnswerBody>> {
    let head = head_of(&reply);
    head.body(Full::new(reply.body).boxed()).map_err(io::Error::other)
}

/// Calls public addresses that stand for a local listener, and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// (public origin, where it is served)
    roads: Arc<Mutex<Vec<(String, SocketAddr)>>>,
}

impl Client {
    /// Calls for `origin` (`https://bridge.test`) go to this address. The newest word counts.
    pub fn map(&self, origin: &str, to: SocketAddr) {
        let origin = origin.trim_end_matches('/').to_owned();
        let mut roads = lock(&self.roads);
        roads.retain(|(known, _)| *known != origin);
        roads.push((origin, to));
    }

    /// Where an address leads: the local listener and the name of its host.
    fn road(&self, url: &url::Url) -> anyhow::Result<SocketAddr> {
        let origin = url.origin().ascii_serialization();
        if let Some((_, to)) = lock(&self.roads).iter().find(|(known, _)| *known == origin) {
            return Ok(*to);
        }
        if url.scheme() == "http" && url.host_str() == Some("127.0.0.1") {
            return Ok(SocketAddr::from(([127, 0, 0, 1], url.port().unwrap_or(80))));
        }
        bail!("nobody answers at {origin}: the world was not told where it is served (`deliver_to`)")
    }

    /// One call over a connection of its own.
    ///
    /// # Errors
    /// The address leads nowhere, the connection breaks, or no whole answer comes within 30 s.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let url = url::Url::parse(url).with_context(|| format!("the address `{url}` cannot be read"))?;
        let address = self.road(&url)?;
        let exchange = exchange(address, method, &url, headers, body);
        match tokio::time::timeout(DELIVERY_TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => bail!(
                "no answer from {} within {} s",
                url.origin().ascii_serialization(),
                DELIVERY_TIMEOUT.as_secs()
            ),
        }
    }
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    url: &url::Url,
    headers: &[(String, String)],
    body: Bytes,
) -> anyhow::Result<Reply> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("connecting to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut host = url.host_str().unwrap_or("localhost").to_owned();
    if let Some(port) = url.port() {
        host = format!("{host}:{port}");
    }
    let target = url
        .query()
        .map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::builder().method(method).uri(target).header("host", host);
    for (name, value) in headers {
        request = request.header(name.as_str(), value.as_str());
    }
    let request = request.body(Full::new(body))?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let readable = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        anyhow::Ok(Reply {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), readable(value)))
                .collect(),
            body: body.to_bytes(),
        })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => { ended?; answer.await }
    }
}
