//! One connection to a host, opened again when it was closed.

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Door;
use crate::hooks::SignedHook;

pub struct Connection {
    door: Door,
    path: String,
    /// None: it was closed in an orderly way, or broke.
    open: Option<Open>,
}

struct Open {
    requests: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub async fn open(door: Door, path: String) -> Result<Self> {
        let open = Some(Open::to(&door).await?);
        Ok(Self { door, path, open })
    }

    /// The status that the hook is answered with.
    pub async fn post(&mut self, hook: &SignedHook) -> Result<u16> {
        let mut open = match self.open.take() {
            // An idle one is closed by the host after some seconds.
            Some(open) if !open.requests.is_closed() => open,
            _ => Open::to(&self.door).await?,
        };
        let (status, stays) = open.post(&self.path, hook).await?;
        self.open = stays.then_some(open);
        Ok(status)
    }
}

impl Open {
    async fn to(door: &Door) -> Result<Self> {
        let addr = door.addr();
        let stream = TcpStream::connect(addr).await.context("calling the host")?;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        // How it ends is told to the request that it ends.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            requests,
            host: addr.to_string(),
        })
    }

    /// The status, and whether the connection stays.
    async fn post(&mut self, path: &str, hook: &SignedHook) -> Result<(u16, bool)> {
        let (name, proof) = &hook.proof;
        let request = Request::post(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, hook.content_type)
            .header(header::USER_AGENT, "facebookexternalua")
            .header(*name, proof)
            .body(Full::new(hook.body.clone()))?;
        self.requests.ready().await?;
        let answer = self.requests.send_request(request).await?;
        let status = answer.status().as_u16();
        let closes = answer
            .headers()
            .get(header::CONNECTION)
            .is_some_and(|told| told.as_bytes().eq_ignore_ascii_case(b"close"));
        let body = answer.into_body().collect().await;
        body.map_err(|error| anyhow!("the answer broke off: {error}"))?;
        Ok((status, !closes))
    }
}
