//! Calls through the front door, against a listener on this machine that answers what a test writes down.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test itself")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mantle_egress::{
    Body, Credential, Egress, EgressConfig, EgressError, ErrorKind, Holds, Injection, Part, PartContent, Policy,
    Request, Response, Rule, collect,
};
use mantle_model::failure::Evidence;
use mantle_model::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const API: &str = "https://api.example";

enum Answer {
    /// Written as it is, then the connection is closed.
    Raw(String),
    /// Written, then the connection stays open and silent.
    Hang(String),
    /// Closed without a word, after the whole request was read.
    Drop,
    /// Closed without reading the body.
    DropAtHead,
}

fn ok(body: &str) -> Answer {
    Answer::Raw(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn redirect(status: u16, location: &str) -> Answer {
    Answer::Raw(format!(
        "HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    ))
}

struct Stand {
    origin: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Stand {
    async fn answering(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, list) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(exchange(stream, Arc::clone(&answer), Arc::clone(&list)));
            }
        });
        Self { origin, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn egress(&self) -> Egress {
        egress(&[(API, &self.origin)])
    }
}

async fn exchange(mut stream: TcpStream, answer: Arc<impl Fn(&str) -> Answer>, seen: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let mut buffer = [0_u8; 4096];
    let head_end = loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        request.extend_from_slice(&buffer[..read]);
        if let Some(place) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break place + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..head_end]).into_owned();
    let reply = answer(&head);
    if matches!(reply, Answer::DropAtHead) {
        return;
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse::<usize>().unwrap());
    while request.len() < head_end + length {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        request.extend_from_slice(&buffer[..read]);
    }
    seen.lock()
        .unwrap()
        .push(String::from_utf8_lossy(&request).into_owned());
    match reply {
        Answer::Raw(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Answer::Hang(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            // Until the client goes away.
            let _ = stream.read(&mut buffer).await;
        }
        Answer::Drop | Answer::DropAtHead => {}
    }
}

fn egress(redirects: &[(&str, &str)]) -> Egress {
    let redirects = redirects
        .iter()
        .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()))
        .collect();
    Egress::new(&EgressConfig { redirects }).unwrap()
}

fn policy(hosts: &[&str]) -> Policy {
    let rule = |host: &&str| Rule {
        scheme: "https".into(),
        host: (*host).into(),
        port: 443,
        methods: vec![],
        paths: vec![],
        credentials: vec!["key".into()],
        holds: Holds::Always,
    };
    Policy {
        rules: hosts.iter().map(rule).collect(),
    }
}

fn get(url: &str) -> Request {
    Request {
        method: http::Method::GET,
        url: url.into(),
        headers: vec![],
        body: Body::Empty,
        credential: None,
        timeout: Duration::from_secs(20),
        redirects_max: 0,
    }
}

fn post(url: &str, body: Body) -> Request {
    Request {
        method: http::Method::POST,
        body,
        ..get(url)
    }
}

fn key(injections: Vec<Injection>) -> Option<Credential> {
    Some(Credential {
        name: "key".into(),
        injections,
    })
}

fn secret(value: &str) -> Secret {
    Secret::new(value.into())
}

fn failed(result: Result<Response, EgressError>) -> EgressError {
    match result {
        Ok(response) => panic!("an answer came: {}", response.status),
        Err(error) => error,
    }
}

async fn text(response: Response) -> String {
    String::from_utf8(collect(response.body, 1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn d8_d9_what_no_rule_names_or_nobody_may_reach_is_denied_unsent() {
    let egress = egress(&[]);
    let all = policy(&["*"]);
    for url in [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://localhost/",
        "https://localhost./",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::169.254.169.254]/",
        "https://[2002:a9fe:a9fe::]/",
        "https://[2001:0:a9fe:a9fe::]/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/",
        "https://0xa9.0xfe.0xa9.0xfe/",
        "https://10.0.0.1/",
        "https://100.64.1.1/",
        "https://192.168.1.1/",
        "https://user@8.8.8.8/",
        "http://8.8.8.8/",
        "https://8.8.8.8:444/",
    ] {
        let error = failed(egress.send(get(url), &all).await);
        assert_eq!(
            (error.kind, error.evidence),
            (ErrorKind::Denied, Evidence::NotSent),
            "{url}: {error}"
        );
    }
    let error = failed(
        egress
            .send(get("https://other.example/secret?token=t"), &policy(&["api.example"]))
            .await,
    );
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(
        !error.message.contains("secret") && !error.message.contains("token"),
        "{error}"
    );
}

#[tokio::test]
async fn secrets_arrive_where_the_credential_says() {
    let stand = Stand::answering(|_| ok("{}")).await;
    let request = Request {
        headers: vec![("Content-Type".into(), "application/json".into())],
        credential: key(vec![
            Injection::Path {
                placeholder: "bot".into(),
                value: secret("12:ab/c"),
            },
            Injection::Query {
                name: "q".into(),
                value: secret("x y"),
            },
            Injection::Basic {
                user: "u".into(),
                password: secret("p"),
            },
            Injection::Header {
                name: "X-Key".into(),
                value: secret("k"),
            },
            Injection::Json {
                pointer: "/token".into(),
                value: secret("j"),
            },
        ]),
        ..post(
            &format!("{API}/bot{{bot}}/go?a=1"),
            Body::Bytes(Bytes::from_static(b"{\"a\":1}")),
        )
    };
    let mut policy = policy(&["api.example"]);
    policy.rules[0].paths = vec!["/bot{bot}/".into()];
    let response = stand.egress().send(request, &policy).await.unwrap();
    assert_eq!(response.status, 200);
    let seen = stand.seen().remove(0);
    assert!(
        seen.starts_with("POST /bot12:ab%2Fc/go?a=1&q=x+y HTTP/1.1\r\n"),
        "{seen}"
    );
    for line in [
        "authorization: Basic dTpw",
        "x-key: k",
        "content-type: application/json",
        "content-length: 19",
    ] {
        assert!(seen.contains(&format!("{line}\r\n")), "{line} in {seen}");
    }
    assert!(seen.ends_with("\r\n\r\n{\"a\":1,\"token\":\"j\"}"), "{seen}");
}

#[tokio::test]
async fn d8_a_credential_stays_where_its_rule_is() {
    let stand = Stand::answering(|_| ok("")).await;
    let mut policy = policy(&["api.example"]);
    policy.rules[0].credentials.clear();
    let request = Request {
        credential: key(vec![Injection::Bearer(secret("s3cret"))]),
        ..get(API)
    };
    let error = failed(stand.egress().send(request, &policy).await);
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(!error.to_string().contains("s3cret"));
    assert_eq!(stand.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stand_in_may_name_its_own_address() {
    let stand = Stand::answering(|_| ok("file")).await;
    let own = format!("{}/file/1", stand.origin);
    let response = stand.egress().send(get(&own), &policy(&["api.example"])).await.unwrap();
    assert_eq!(text(response).await, "file");
    let error = failed(stand.egress().send(get(&own), &policy(&["other.example"])).await);
    assert_eq!(error.kind, ErrorKind::Denied);
}

#[tokio::test]
async fn a_stand_in_may_spell_loopback_the_other_way() {
    let stand = Stand::answering(|head| match head.split(' ').nth(1).unwrap() {
        "/moved" => redirect(302, "/file/1"),
        _ => ok("file"),
    })
    .await;
    let port = stand.origin.rsplit_once(':').unwrap().1.to_owned();
    let (number, name) = (format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}"));
    for (target, named) in [(&number, &name), (&name, &number)] {
        let egress = egress(&[(API, target)]);
        let response = egress
            .send(get(&format!("{named}/file/1")), &policy(&["api.example"]))
            .await;
        assert_eq!(text(response.unwrap()).await, "file", "{named} for {target}");
    }
    // Nothing else is opened: no other port, scheme or spelling, and no plugin without a rule for the source.
    let egress = egress(&[(API, &number)]);
    for other in [
        format!("http://localhost:{}/file/1", port.parse::<u16>().unwrap() ^ 1),
        format!("https://localhost:{port}/file/1"),
        format!("http://localhost.:{port}/file/1"),
        format!("http://x.localhost:{port}/file/1"),
        format!("http://127.0.0.2:{port}/file/1"),
        format!("http://[::1]:{port}/file/1"),
        format!("http://0.0.0.0:{port}/file/1"),
    ] {
        let error = failed(egress.send(get(&other), &policy(&["api.example", "localhost"])).await);
        assert_eq!(error.kind, ErrorKind::Denied, "{other}");
    }
    let error = failed(
        egress
            .send(get(&format!("{name}/file/1")), &policy(&["other.example"]))
            .await,
    );
    assert_eq!(error.kind, ErrorKind::Denied);
    assert_eq!(stand.seen().len(), 2);
}

#[tokio::test]
async fn c9_redirects_are_followed_only_when_asked_and_judged_anew() {
    let stand = Stand::answering(|head| match head.split(' ').nth(1).unwrap() {
        "/ok" => redirect(302, "/end"),
        "/loop" => redirect(302, "/loop"),
        "/metadata" => redirect(302, "http://169.254.169.254/latest"),
        "/metadata-tls" => redirect(302, "https://169.254.169.254/latest"),
        "/file" => redirect(302, "file:///etc/passwd"),
        "/private" => redirect(302, "http://127.0.0.1:1/"),
        _ => ok("end"),
    })
    .await;
    let egress = stand.egress();
    let all = policy(&["*"]);
    let ask = |path: &str, redirects_max| Request {
        redirects_max,
        ..get(&format!("{API}{path}"))
    };

    let response = egress.send(ask("/ok", 0), &all).await.unwrap();
    assert_eq!((response.status, response.header("location")), (302, Some("/end")));
    assert_eq!(text(egress.send(ask("/ok", 1), &all).await.unwrap()).await, "end");
    for path in ["/loop", "/metadata", "/metadata-tls", "/private", "/file"] {
        let error = failed(egress.send(ask(path, 3), &all).await);
        assert_eq!(
            (error.kind, error.evidence),
            (ErrorKind::Denied, Evidence::Sent),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn c9_a_token_does_not_follow_to_another_host() {
    let far = Stand::answering(|_| ok("far")).await;
    let near = Stand::answering(|head| match head.split(' ').nth(1).unwrap() {
        "/near" => redirect(307, "/here"),
        "/far" => redirect(307, "https://cdn.example/there"),
        _ => ok("near"),
    })
    .await;
    let egress = egress(&[(API, &near.origin), ("https://cdn.example", &far.origin)]);
    let ask = |path: &str| Request {
        redirects_max: 3,
        credential: key(vec![Injection::Bearer(secret("t0ken"))]),
        ..post(&format!("{API}{path}"), Body::Bytes(Bytes::from_static(b"again")))
    };
    let all = policy(&["api.example", "cdn.example"]);
    assert_eq!(text(egress.send(ask("/near"), &all).await.unwrap()).await, "near");
    assert_eq!(text(egress.send(ask("/far"), &all).await.unwrap()).await, "far");
    let with_token = |seen: &[String]| seen.iter().filter(|request| request.contains("Bearer t0ken")).count();
    assert_eq!((near.seen().len(), with_token(&near.seen())), (3, 3));
    assert_eq!((far.seen().len(), with_token(&far.seen())), (1, 0));
    assert!(far.seen()[0].ends_with("again"));
}

#[tokio::test]
async fn evidence_tells_whether_the_request_may_have_arrived() {
    let stand = Stand::answering(|head| {
        if head.starts_with("POST /head") {
            Answer::DropAtHead
        } else {
            Answer::Drop
        }
    })
    .await;
    let egress = stand.egress();
    let all = policy(&["*"]);
    let body = || Body::Bytes(Bytes::from_static(b"hello"));

    let error = failed(egress.send(post(&format!("{API}/after"), body()), &all).await);
    assert_eq!(
        (error.kind, error.evidence),
        (ErrorKind::Broken, Evidence::Sent),
        "{error}"
    );
    let error = failed(egress.send(get(&format!("{API}/after")), &all).await);
    assert_eq!(
        (error.kind, error.evidence),
        (ErrorKind::Broken, Evidence::Sent),
        "{error}"
    );

    // A body that never ends: the other side hangs up while we are still writing.
    let endless = futures_util::stream::once(async { Ok(Bytes::from_static(b"x")) })
        .chain(futures_util::stream::pending())
        .boxed();
    let request = post(
        &format!("{API}/head"),
        Body::Stream {
            bytes: 1 << 30,
            stream: endless,
        },
    );
    let error = failed(egress.send(request, &all).await);
    assert_eq!(error.evidence, Evidence::NotSent, "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = failed(self::egress(&[(API, &origin)]).send(post(API, body()), &all).await);
    assert_eq!(
        (error.kind, error.evidence),
        (ErrorKind::Connect, Evidence::NotSent),
        "{error}"
    );
}

#[tokio::test]
async fn c10_what_does_not_speak_tls_is_refused_as_such() {
    // The listener answers the handshake with what no TLS record looks like.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = failed(egress(&[(API, &plain)]).send(get(API), &policy(&["*"])).await);
    assert_eq!(
        (error.kind, error.evidence),
        (ErrorKind::Tls, Evidence::NotSent),
        "{error}"
    );
}

#[tokio::test]
async fn c5_a_slow_answer_ends_at_the_deadline() {
    let stand = Stand::answering(|head| {
        Answer::Hang(if head.starts_with("GET /headers") {
            "HTTP/1.1 200 OK\r\nx-slow: ".into()
        } else {
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin".into()
        })
    })
    .await;
    let egress = stand.egress();
    let ask = |path: &str| Request {
        timeout: Duration::from_millis(300),
        ..get(&format!("{API}{path}"))
    };
    let error = failed(egress.send(ask("/headers"), &policy(&["*"])).await);
    assert_eq!(
        (error.kind, error.evidence),
        (ErrorKind::Timeout, Evidence::Sent),
        "{error}"
    );

    let mut response = egress.send(ask("/body"), &policy(&["*"])).await.unwrap();
    assert_eq!(response.body.next().await.unwrap().unwrap(), "begin");
    let error = response.body.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(response.body.next().await.is_none());
}

#[tokio::test]
async fn c6_a_large_or_lying_answer_is_cut_off() {
    let stand = Stand::answering(|head| match head.split(' ').nth(1).unwrap() {
        "/large" => ok(&"x".repeat(1000)),
        "/short" => Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this".into()),
        _ => Answer::Raw(format!(
            "HTTP/1.1 200 OK\r\nx-fat: {}\r\ncontent-length: 0\r\n\r\n",
            "y".repeat(40_000)
        )),
    })
    .await;
    let egress = stand.egress();
    let ask = async |path: &str| egress.send(get(&format!("{API}{path}")), &policy(&["*"])).await;
    assert_eq!(
        collect(ask("/large").await.unwrap().body, 999).await.unwrap_err().kind,
        ErrorKind::TooLarge
    );
    assert_eq!(
        collect(ask("/large").await.unwrap().body, 1000).await.unwrap().len(),
        1000
    );
    assert_eq!(
        collect(ask("/short").await.unwrap().body, 1000).await.unwrap_err().kind,
        ErrorKind::Broken
    );
    assert_eq!(failed(ask("/headers").await).kind, ErrorKind::TooLarge);
}

#[tokio::test]
async fn c7_answers_are_not_decompressed() {
    let stand = Stand::answering(|head| {
        assert!(!head.contains("accept-encoding"));
        Answer::Raw("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nzzzz".into())
    })
    .await;
    let response = stand.egress().send(get(API), &policy(&["*"])).await.unwrap();
    assert_eq!(text(response).await, "zzzz");
}

#[tokio::test]
async fn files_are_streamed_as_parts_of_known_length() {
    let stand = Stand::answering(|_| ok("")).await;
    let parts = vec![
        Part {
            name: "chat_id".into(),
            filename: None,
            content_type: None,
            content: PartContent::Bytes(Bytes::from_static(b"7")),
        },
        Part {
            name: "document".into(),
            filename: Some("grüße \"1\".txt".into()),
            content_type: Some("text/plain".into()),
            content: PartContent::Stream {
                bytes: 5,
                stream: futures_util::stream::iter([Ok(Bytes::from_static(b"he")), Ok(Bytes::from_static(b"llo"))])
                    .boxed(),
            },
        },
    ];
    let request = Request {
        headers: vec![("content-type".into(), "text/plain".into())],
        ..post(API, Body::Multipart(parts))
    };
    stand.egress().send(request, &policy(&["*"])).await.unwrap();
    let seen = stand.seen().remove(0);
    assert!(seen.contains("content-type: multipart/form-data; boundary="), "{seen}");
    assert!(!seen.contains("transfer-encoding"), "{seen}");
    assert!(seen.contains("name=\"chat_id\"\r\n\r\n7\r\n"), "{seen}");
    assert!(
        seen.contains("filename=\"grüße \\\"1\\\".txt\"") || seen.contains("filename=\"grüße %221%22.txt\""),
        "{seen}"
    );
    assert!(seen.contains("\r\n\r\nhello\r\n"), "{seen}");
}

#[tokio::test]
async fn d11_places_are_limited_and_come_back() {
    let stand = Stand::answering(|_| Answer::Hang("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".into())).await;
    let egress = Arc::new(stand.egress());
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(egress.send(get(API), &policy(&["*"])).await.unwrap());
    }
    let late = || Request {
        timeout: Duration::from_millis(100),
        ..get(API)
    };
    let error = failed(egress.send(late(), &policy(&["*"])).await);
    assert_eq!(
        (error.kind, error.evidence),
        (ErrorKind::Timeout, Evidence::NotSent),
        "{error}"
    );
    held.pop();
    assert!(egress.send(get(API), &policy(&["*"])).await.is_ok());
}
