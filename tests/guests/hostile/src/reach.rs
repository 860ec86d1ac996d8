//! Reaches for what is not its own: the machine, secrets, hosts.

use std::net::{TcpStream, ToSocketAddrs, UdpSocket};

use kit::mantle::connector::{config, crypto, http, log};
use kit::{Body, CallError, Kept, Method, Request, Sent};

/// What there is of the machine, one word each.
pub fn surroundings() -> String {
    let files = [
        "/",
        ".",
        "/etc/passwd",
        "/proc/self/environ",
        "/work",
        "plugins.toml",
        "data/secret.key",
    ];
    let opened = files.iter().filter(|file| std::fs::metadata(file).is_ok()).count();
    let listed = ["/", "."]
        .iter()
        .filter(|folder| std::fs::read_dir(folder).is_ok())
        .count();
    let written = std::fs::write("/tmp/hostile", "x").is_ok();
    let connected = ["127.0.0.1:80", "169.254.169.254:80"]
        .iter()
        .filter(|to| TcpStream::connect(to).is_ok())
        .count();
    let bound = UdpSocket::bind("127.0.0.1:0").is_ok();
    let resolved = "localhost:80".to_socket_addrs().is_ok();
    let mut typed = String::new();
    let read = std::io::stdin().read_line(&mut typed).unwrap_or(0);
    format!(
        "env {} args {} opened {opened} listed {listed} written {written} connected {connected} bound {bound} resolved {resolved} stdin {read}",
        std::env::vars().count(),
        std::env::args().skip(1).count(),
    )
}

/// What is answered for names: of one that there is, of one of another plugin, of one that nobody has.
pub fn secrets() -> String {
    let names = ["key", "bot_token", "nobody-has-it", "", "../key", "KEY"];
    let hmac = |name: &&str| {
        crypto::hmac(name, crypto::Algorithm::Sha256, b"")
            .map(|code| code.len())
            .map_err(|error| error.name().to_owned())
    };
    let hmacs = names.iter().map(hmac).map(|told| format!("{told:?}"));
    let fields = names.iter().map(|name| format!("{:?}", config::get(name)));
    hmacs.chain(fields).collect::<Vec<_>>().join(" ")
}

/// `<verb> <rest>`; the answer is the id of the message.
pub fn send(words: &str) -> Result<Sent, CallError> {
    let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
    match verb {
        "each" => Ok(kit::sent(each(rest))),
        "headers" => told(&with_headers(rest.parse().unwrap_or(0))),
        "header" => told(&with_header(rest)),
        "say" => {
            let (credential, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let (url, body) = rest.split_once(' ').unwrap_or((rest, ""));
            told(&with_credential(credential, url, body))
        }
        "renew" => Ok(kit::sent(renew(rest))),
        "greedy" => Ok(kit::sent(greedy(rest.parse().unwrap_or(0)))),
        "log" => {
            log::write(log::Level::Error, rest);
            Ok(kit::sent("logged".to_owned()))
        }
        "fail" => panic!("{rest}"),
        other => Ok(kit::sent(format!("what is {other}?"))),
    }
}

/// Tries every address, and tells how each was refused.
fn each(urls: &str) -> String {
    let tried = |url: &str| match http::fetch(&kit::request(Method::Get, url, "")) {
        Ok(answer) => answer.status.to_string(),
        Err(error) if error.request_sent => "sent".to_owned(),
        Err(error) => format!("{:?}", error.kind).trim_start_matches("ErrorKind::").to_owned(),
    };
    urls.split(' ').map(tried).collect::<Vec<_>>().join(" ")
}

fn with_headers(count: usize) -> Request {
    Request {
        headers: (0..count).map(|line| (format!("x-{line}"), String::new())).collect(),
        ..kit::request(Method::Get, "https://api.granted.example/v1/", "")
    }
}

fn with_header(line: &str) -> Request {
    let (name, value) = line.split_once('=').unwrap_or((line, ""));
    Request {
        headers: vec![(name.to_owned(), value.to_owned())],
        credential: Some("key".to_owned()),
        ..kit::request(Method::Post, "https://api.granted.example/v1/", "x")
    }
}

fn with_credential(name: &str, url: &str, body: &str) -> Request {
    Request {
        credential: (name != "-").then(|| name.to_owned()),
        body: Body::Bytes(body.as_bytes().to_vec()),
        ..kit::request(Method::Post, url, "")
    }
}

/// `<secret> <pointer>`: asks for a new token by the one in use, and asks again by whichever is in use then.
fn renew(words: &str) -> String {
    let (secret, pointer) = words.split_once(' ').unwrap_or((words, ""));
    let asked = Request {
        keep: vec![Kept {
            secret: secret.to_owned(),
            pointer: pointer.to_owned(),
        }],
        ..with_credential("token", "https://api.granted.example/v1/renew", "x")
    };
    let told = |request: &Request| match http::fetch(request) {
        Ok(answer) => format!(
            "{} {:?} {}",
            answer.status,
            answer.headers,
            String::from_utf8_lossy(&answer.body)
        ),
        Err(error) => format!("{:?} {} (sent: {})", error.kind, error.message, error.request_sent),
    };
    let first = told(&asked);
    let again = told(&with_credential("token", "https://api.granted.example/v1/again", "x"));
    format!("{first} | {again}")
}

/// More calls than one call has.
fn greedy(calls: u32) -> String {
    let request = kit::request(Method::Get, "https://api.granted.example/v1/", "");
    let good = (0..calls).take_while(|_| http::fetch(&request).is_ok()).count();
    good.to_string()
}

fn told(request: &Request) -> Result<Sent, CallError> {
    match http::fetch(request) {
        Ok(answer) => Ok(kit::sent(format!(
            "{} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        ))),
        Err(error) => Err(kit::told(&error)),
    }
}
