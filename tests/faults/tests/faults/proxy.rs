//! A road between the host and a stand-in that can be cut, slowed and lied on: TCP below, as little HTTP as finding a
//! call needs. Used as the target of `[egress.redirect]`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// More than any head here.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What happens to one call.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Only so many bytes of the request arrive; then the connection is reset on both sides.
    CutRequest(usize),
    /// The request arrives; only so many bytes of the answer do. Then a reset.
    CutAnswer(usize),
    /// The request arrives, or is thrown away; something else than its answer is told.
    Says { applied: bool, answer: Answer },
}

#[derive(Debug, Clone)]
pub enum Answer {
    /// These bytes, then the end.
    Whole(Vec<u8>),
    /// These bytes, one by one, each after this.
    Drip(Vec<u8>, Duration),
    /// The first, and then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
}

impl Answer {
    /// Status 200 with a body of this type.
    pub fn ok(content_type: &str, body: &str) -> Self {
        let length = body.len();
        Self::Whole(
            format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}").into(),
        )
    }

    pub fn redirect(to: &str) -> Self {
        Self::Whole(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into())
    }
}

/// Stands before one listener.
pub struct Proxy {
    pub origin: String,
    rules: Rules,
}

/// (what the request contains, what happens to it); each is for one call.
type Rules = Arc<Mutex<VecDeque<(String, Manner)>>>;

impl Proxy {
    /// Leads to this address from a port of its own.
    pub async fn before(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let rules = Rules::default();
        let known = Arc::clone(&rules);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let rules = Arc::clone(&known);
                // An error here is one side hanging up, which is what this is for.
                tokio::spawn(async move { carry(stream, target, &rules).await });
            }
        });
        Ok(Self { origin, rules })
    }

    /// The next call whose request contains this text.
    pub fn next(&self, text: &str, manner: Manner) {
        self.rules.lock().unwrap().push_back((text.to_owned(), manner));
    }

    /// Rules that nobody has met.
    pub fn left(&self) -> usize {
        self.rules.lock().unwrap().len()
    }
}

async fn carry(mut host: TcpStream, target: SocketAddr, rules: &Rules) -> Result<()> {
    let request = read_request(&mut host).await?;
    let manner = {
        let mut rules = rules.lock().unwrap();
        let text = String::from_utf8_lossy(&request);
        let place = rules.iter().position(|(wanted, _)| text.contains(wanted.as_str()));
        place.and_then(|place| rules.remove(place)).map(|(_, manner)| manner)
    };
    match manner {
        None => {
            let answer = exchanged(target, &request).await?;
            host.write_all(&answer).await?;
        }
        Some(Manner::CutRequest(bytes)) => {
            let mut stand = TcpStream::connect(target).await?;
            stand.write_all(&request[..bytes.min(request.len() - 1)]).await?;
            reset(&stand)?;
            reset(&host)?;
        }
        Some(Manner::CutAnswer(bytes)) => {
            let answer = exchanged(target, &request).await?;
            host.write_all(&answer[..bytes.min(answer.len() - 1)]).await?;
            host.flush().await?;
            reset(&host)?;
        }
        Some(Manner::Says { applied, answer }) => {
            if applied {
                exchanged(target, &request).await?;
            }
            say(&mut host, answer).await?;
        }
    }
    Ok(())
}

async fn say(host: &mut TcpStream, answer: Answer) -> Result<()> {
    match answer {
        Answer::Whole(bytes) => host.write_all(&bytes).await?,
        Answer::Drip(bytes, pause) => {
            for byte in bytes {
                host.write_all(&[byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Answer::Endless(head, again) => {
            host.write_all(&head).await?;
            loop {
                host.write_all(&again).await?;
            }
        }
    }
    Ok(())
}

/// A reset instead of an end: what was not read is thrown away.
pub fn reset(stream: &TcpStream) -> Result<()> {
    Ok(stream.set_zero_linger()?)
}

/// Head and body, as long as the head says.
pub async fn read_request(host: &mut TcpStream) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    let head = loop {
        ensure!(request.len() < HEAD_BYTES_MAX, "the head does not end");
        if host.read_buf(&mut request).await? == 0 {
            anyhow::bail!("hung up");
        }
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
    while request.len() < head + length {
        if host.read_buf(&mut request).await? == 0 {
            anyhow::bail!("hung up");
        }
    }
    Ok(request)
}

/// The answer; who gives it closes after it, so that the end is seen.
pub async fn exchanged(target: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let mut stand = TcpStream::connect(target).await?;
    stand.write_all(&closing(request)?).await?;
    let mut answer = Vec::new();
    stand.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The same request, as the only one of its connection.
pub fn closing(request: &[u8]) -> Result<Vec<u8>> {
    let line = request
        .windows(2)
        .position(|window| window == b"\r\n")
        .context("no line")?
        + 2;
    Ok([&request[..line], b"connection: close\r\n", &request[line..]].concat())
}
