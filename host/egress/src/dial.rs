//! The two dialers over reqwest: the guarded one resolves names and judges every address, the open one is for
//! targets of `[egress.redirect]` alone. They share no connection.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use crate::address::is_public;
use crate::{EgressError, ErrorKind};

/// From the first packet to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Below the 60 s after which common load balancers drop idle connections, so that they are not met half closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Idle connections kept for one host. As many as calls to an inbox are under way at once when it answers within 25 ms
/// and takes 5,000 a second: with fewer, busy hosts shake hands anew all the time.
const IDLE_MAX: usize = 128;
/// Bytes of header list that an HTTP/2 peer may send.
const HTTP2_HEADER_BYTES_MAX: u32 = 32 * 1024;
/// Header lines of an HTTP/1 answer.
const HTTP1_HEADERS_MAX: usize = 128;

#[derive(Debug)]
pub struct Dialers {
    guarded: reqwest::Client,
    open: Option<reqwest::Client>,
}

/// Which dialer a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// An address out of rules, guests or answers: judged.
    Judged,
    /// A target that the operator wrote down.
    Operator,
}

impl Dialers {
    pub fn new(with_open: bool) -> Result<Self, EgressError> {
        // Another part of the process may have installed one already: any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            guarded: build(builder().dns_resolver(JudgingResolver {
                look_up: by_system,
                allowed: is_public,
            }))?,
            open: with_open.then(|| build(builder())).transpose()?,
        })
    }

    /// # Errors
    /// `Denied` for an address literal that is not public: literals never reach the resolver.
    pub fn client(&self, trust: Trust, host: &Host) -> Result<&reqwest::Client, EgressError> {
        if let (Trust::Operator, Some(open)) = (trust, &self.open) {
            return Ok(open);
        }
        let literal = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
        };
        match literal {
            Some(address) if !is_public(address) => Err(EgressError::denied(format!("{host} is not a public address"))),
            _ => Ok(&self.guarded),
        }
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("mantle/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        // A proxy of the environment would resolve names itself, out of reach of the address filter.
        .no_proxy()
        // Repeating is decided where it is known whether a call may be repeated.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_MAX)
        .http1_max_headers(HTTP1_HEADERS_MAX)
        .http2_max_header_list_size(HTTP2_HEADER_BYTES_MAX)
        .tcp_nodelay(true)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, EgressError> {
    builder.build().map_err(|_| {
        EgressError::not_sent(
            ErrorKind::Tls,
            "TLS cannot be set up: no certificate authorities were found; install `ca-certificates` or set SSL_CERT_FILE",
        )
    })
}

/// Resolves a name for every connection that is made, and lets allowed addresses through only. What it returns is what
/// is dialled, so a second answer of the name server is never asked for.
struct JudgingResolver<L> {
    look_up: L,
    allowed: fn(IpAddr) -> bool,
}

type LookUp = BoxFuture<'static, std::io::Result<Vec<SocketAddr>>>;

impl<L: Fn(String) -> LookUp + Send + Sync> Resolve for JudgingResolver<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allowed) = ((self.look_up)(name.as_str().to_owned()), self.allowed);
        Box::pin(async move {
            let judged = only(found.await?, allowed)?;
            Ok(Box::new(judged.into_iter()) as Addrs)
        })
    }
}

fn by_system(name: String) -> LookUp {
    async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }.boxed()
}

fn only(found: Vec<SocketAddr>, allowed: fn(IpAddr) -> bool) -> Result<Vec<SocketAddr>, NotPublic> {
    let had_any = !found.is_empty();
    let judged: Vec<_> = found.into_iter().filter(|address| allowed(address.ip())).collect();
    if judged.is_empty() && had_any {
        return Err(NotPublic);
    }
    Ok(judged)
}

#[derive(Debug)]
struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to addresses that are not public")
    }
}

impl Error for NotPublic {}

/// What the caller is told of a failed exchange. `body_left`: whether the whole request may be out.
pub fn classify(error: &reqwest::Error, host: &Host, body_left: bool) -> EgressError {
    if finds::<NotPublic>(error) {
        return EgressError::denied(format!("{host} leads to an address that is not public"));
    }
    if error.is_builder() {
        return EgressError::invalid(format!("the request for {host} cannot be built"));
    }
    if error.is_connect() {
        return if let Some(tls) = find::<rustls::Error>(error) {
            EgressError::not_sent(ErrorKind::Tls, format!("TLS with {host} failed: {}", tls_problem(tls)))
        } else if error.is_dns() {
            EgressError::not_sent(ErrorKind::Dns, format!("the name {host} cannot be resolved"))
        } else if error.is_timeout() {
            EgressError::not_sent(
                ErrorKind::Timeout,
                format!("{host} did not take the connection in time"),
            )
        } else {
            EgressError::not_sent(ErrorKind::Connect, format!("{host} does not take connections"))
        };
    }
    let (kind, message) = if error.is_timeout() {
        (ErrorKind::Timeout, format!("{host} did not answer in time"))
    } else {
        (
            ErrorKind::Broken,
            format!("the connection to {host} broke before an answer came"),
        )
    };
    if body_left {
        EgressError::sent(kind, message)
    } else {
        EgressError::not_sent(kind, message)
    }
}

fn tls_problem(error: &rustls::Error) -> Cow<'static, str> {
    use rustls::CertificateError as Bad;
    let known = match error {
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "its certificate has expired",
        rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate is not valid yet"
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name"
        }
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => "its certificate is not signed by a known authority",
        rustls::Error::InvalidCertificate(other) => return format!("its certificate is not valid: {other}").into(),
        _ => "no common secure protocol",
    };
    known.into()
}

fn finds<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    find::<E>(error).is_some()
}

/// Looks through the causes, into I/O errors too: these hide what they wrap from `source`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .map(|wrapped| wrapped as &(dyn Error + 'static));
        next = wrapped.or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn d10_of_mixed_answers_only_public_addresses_are_kept() {
        let all = |list: &[&str]| {
            list.iter()
                .map(|address| address.parse().unwrap())
                .collect::<Vec<SocketAddr>>()
        };
        let mixed = all(&["127.0.0.1:0", "8.8.8.8:0", "[::1]:0", "[64:ff9b::808:808]:0"]);
        assert_eq!(only(mixed, is_public).unwrap(), all(&["8.8.8.8:0"]));
        assert!(only(all(&["169.254.169.254:0", "[fd00::1]:0"]), is_public).is_err());
        assert_eq!(only(vec![], is_public).unwrap(), vec![]);
    }

    /// One address of this machine in the place of a public one, since nothing else may be dialled in a test.
    const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));

    /// Answers every request at this address and counts the connections.
    async fn listening(address: IpAddr, port: u16) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let (port, taken) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        });
        (port, taken)
    }

    #[tokio::test]
    async fn d10_a_name_that_is_bound_anew_is_judged_anew_and_dialled_as_judged() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (port, good) = listening(PUBLIC, 0).await;
        let (_, inside) = listening(PRIVATE, port).await;
        // The name server's answers, one after the other: public, private, public beside private, private.
        let answers = [vec![PUBLIC], vec![PRIVATE], vec![PRIVATE, PUBLIC], vec![PRIVATE]];
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let look_up = move |_: String| -> LookUp {
            let answer = &answers[count.fetch_add(1, Ordering::SeqCst)];
            let found = answer.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            async move { Ok(found) }.boxed()
        };
        let allowed = |address| address == PUBLIC;
        let client = build(builder().dns_resolver(JudgingResolver { look_up, allowed })).unwrap();
        let url = format!("http://rebound.example:{port}/");
        for (place, expected) in [true, false, true, false].into_iter().enumerate() {
            let answer = client.get(&url).send().await;
            assert_eq!(answer.is_ok(), expected, "{place}: {answer:?}");
            if let Err(error) = answer {
                let told = classify(&error, &Host::Domain("rebound.example".to_owned()), false);
                assert_eq!(told.kind, ErrorKind::Denied, "{told}");
            }
        }
        assert_eq!(asked.load(Ordering::SeqCst), 4, "one answer for one connection");
        assert_eq!((good.load(Ordering::SeqCst), inside.load(Ordering::SeqCst)), (2, 0));
    }
}
