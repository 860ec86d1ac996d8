//! What stands before several hosts: each call goes to the next of them, and to another one if the first is not there.
//! It can hang up in the middle of calls, and keep them for itself.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::proxy::{closing, exchanged, read_request, reset};
use crate::stage::ADMIN_TOKEN;

/// As long as a patient provider waits for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Where a caller hangs up.
#[derive(Debug, Clone, Copy)]
pub enum HangUp {
    /// After so many bytes of the request.
    Sending(usize),
    /// After the whole request and this pause, before the answer is read.
    Waiting(Duration),
}

pub struct Street {
    pub addr: SocketAddr,
    traffic: Arc<Mutex<Traffic>>,
}

struct Traffic {
    hosts: Vec<Option<SocketAddr>>,
    /// Hosts to which nobody is sent.
    closed: HashSet<usize>,
    next: usize,
    /// How many calls are still hung up on, of how many each time one is let through.
    hang_ups: usize,
    one_of: usize,
    calls: usize,
    /// Calls that are kept instead of being passed on.
    kept: Option<Vec<Vec<u8>>>,
    /// What each call at a host came to: its answer's status, and how long it took.
    tries: Vec<(Option<u16>, Duration)>,
}

impl Street {
    pub async fn open(hosts: usize) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let traffic = Arc::new(Mutex::new(Traffic {
            hosts: vec![None; hosts],
            closed: HashSet::new(),
            next: 0,
            hang_ups: 0,
            one_of: 1,
            calls: 0,
            kept: None,
            tries: Vec::new(),
        }));
        let known = Arc::clone(&traffic);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let traffic = Arc::clone(&known);
                // An error here is one side hanging up.
                tokio::spawn(async move { carry(stream, &traffic).await });
            }
        });
        Ok(Self { addr, traffic })
    }

    /// From now on this host is there.
    pub fn leads(&self, host: usize, to: SocketAddr) {
        self.traffic.lock().unwrap().hosts[host] = Some(to);
    }

    /// Whether nobody is sent to this host.
    pub fn closes(&self, host: usize, closed: bool) {
        let mut traffic = self.traffic.lock().unwrap();
        if closed {
            traffic.closed.insert(host);
        } else {
            traffic.closed.remove(&host);
        }
    }

    /// Of the next calls, so many end with the caller hanging up; one of `one_of` is let through meanwhile.
    pub fn hangs_up(&self, times: usize, one_of: usize) {
        let mut traffic = self.traffic.lock().unwrap();
        (traffic.hang_ups, traffic.one_of, traffic.calls) = (times, one_of, 0);
    }

    pub fn hang_ups_left(&self) -> usize {
        self.traffic.lock().unwrap().hang_ups
    }

    /// Calls are answered with 200 and kept.
    pub fn keeps(&self) {
        self.traffic.lock().unwrap().kept = Some(Vec::new());
    }

    /// What was kept; from now on calls are passed on again.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        self.traffic.lock().unwrap().kept.take().unwrap_or_default()
    }

    pub fn forgets_tries(&self) {
        self.traffic.lock().unwrap().tries.clear();
    }

    pub fn tries(&self) -> Vec<(Option<u16>, Duration)> {
        self.traffic.lock().unwrap().tries.clone()
    }

    /// Somebody asks a host and does not stay for the answer.
    pub async fn snubs(&self, host: usize, path: &str) -> Result<()> {
        let to = self.traffic.lock().unwrap().hosts[host].context("there is no such host")?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bridge\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\r\n");
        hung_up(to, request.as_bytes(), HangUp::Waiting(Duration::from_millis(2))).await
    }

    /// One call at one host, as it was kept: the status of the answer.
    pub async fn hands(&self, host: usize, request: &[u8]) -> Result<u16> {
        let to = self.traffic.lock().unwrap().hosts[host].context("there is no such host")?;
        status(&exchanged(to, request).await?).context("no answer")
    }
}

impl Traffic {
    /// All hosts in rotation, the one whose turn it is first.
    fn turn(&mut self) -> Vec<SocketAddr> {
        let open = self.hosts.iter().enumerate();
        let mut open: Vec<SocketAddr> = open
            .filter(|(number, _)| !self.closed.contains(number))
            .filter_map(|(_, host)| *host)
            .collect();
        if !open.is_empty() {
            self.next = (self.next + 1) % open.len();
            open.rotate_left(self.next);
        }
        open
    }

    /// None: the call is kept.
    fn way(&mut self, request: &[u8]) -> Option<(Vec<SocketAddr>, Option<HangUp>)> {
        if let Some(kept) = &mut self.kept {
            kept.push(request.to_vec());
            return None;
        }
        Some((self.turn(), self.hang_up(request.len())))
    }

    fn hang_up(&mut self, bytes: usize) -> Option<HangUp> {
        self.calls += 1;
        if self.hang_ups == 0 || self.calls.is_multiple_of(self.one_of) {
            return None;
        }
        self.hang_ups -= 1;
        // In the head, in the body, in front of the last byte, at once and a few moments after it.
        Some(match self.calls % 7 {
            0 => HangUp::Sending(20),
            1 => HangUp::Sending(bytes / 2),
            2 => HangUp::Sending(bytes - 1),
            3 => HangUp::Waiting(Duration::ZERO),
            4 => HangUp::Waiting(Duration::from_millis(1)),
            5 => HangUp::Waiting(Duration::from_millis(3)),
            _ => HangUp::Waiting(Duration::from_millis(8)),
        })
    }
}

async fn carry(mut caller: TcpStream, traffic: &Mutex<Traffic>) -> Result<()> {
    let request = read_request(&mut caller).await?;
    let way = traffic.lock().unwrap().way(&request);
    let Some((hosts, hang_up)) = way else {
        caller.write_all(TAKEN).await?;
        return Ok(());
    };
    if let Some(hang_up) = hang_up {
        if let Some(host) = hosts.first() {
            hung_up(*host, &request, hang_up).await?;
        }
        return reset(&caller);
    }
    for host in hosts {
        let asked = Instant::now();
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, exchanged(host, &request)).await;
        let told = answer.as_ref().ok().and_then(|answer| status(answer.as_ref().ok()?));
        traffic.lock().unwrap().tries.push((told, asked.elapsed()));
        // Without a whole answer the call may be made again: who takes hooks knows those it has seen.
        if let Ok(Ok(answer)) = answer
            && told.is_some_and(|status| status != 503)
        {
            caller.write_all(&answer).await?;
            return Ok(());
        }
    }
    caller.write_all(UNAVAILABLE).await?;
    Ok(())
}

async fn hung_up(host: SocketAddr, request: &[u8], hang_up: HangUp) -> Result<()> {
    let mut stream = TcpStream::connect(host).await?;
    let request = closing(request)?;
    match hang_up {
        HangUp::Sending(bytes) => stream.write_all(&request[..bytes.min(request.len())]).await?,
        HangUp::Waiting(pause) => {
            stream.write_all(&request).await?;
            // Whoever answers in time is not listened to.
            let _ = tokio::time::timeout(pause, stream.read_u8()).await;
        }
    }
    reset(&stream)
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(answer.get(..12)?).into_owned();
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}
