//! The world tried from outside: a small ear stands where the host would, calls go to the stand-ins' ports.

mod at_intercom;
mod at_telegram;
mod at_twilio;
mod at_whatsapp;
mod habits;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use crate::scene::lock;
use crate::telegram::TOKEN;
use crate::wire::{Call, Stand, serve};
use crate::*;

const PUBLIC: &str = "https://bridge.test";

/// Hears every webhook, repeats challenges, answers 200.
struct Ear {
    heard: Mutex<Vec<Call>>,
    faults: Faults,
}

impl Stand for Arc<Ear> {
    fn operation(&self, _: &Call) -> String {
        String::new()
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn refusal(&self, status: u16, _: Option<&str>) -> Reply {
        Reply::empty(status)
    }

    async fn answer(&self, call: Call) -> Reply {
        if call.path.starts_with("/file") {
            return Reply::typed(200, "image/png", samples::picture().bytes);
        }
        let challenge = call.parameter("hub.challenge");
        lock(&self.heard).push(call);
        challenge.map_or_else(
            || Reply::empty(200),
            |challenge| Reply::typed(200, "text/plain", challenge),
        )
    }
}

struct Trial {
    world: World,
    ear: Arc<Ear>,
    _stop: DropGuard,
}

impl Trial {
    async fn start() -> Self {
        let world = World::start().await.unwrap();
        let ear = Arc::new(Ear {
            heard: Mutex::default(),
            faults: Faults::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, Arc::new(ear.clone()), stop.clone()));
        world.deliver_to(PUBLIC, address);
        Self {
            world,
            ear,
            _stop: stop.drop_guard(),
        }
    }

    fn heard(&self) -> Vec<Call> {
        lock(&self.ear.heard).clone()
    }

    /// Calls a provider's public address as the host would after `[egress.redirect]`.
    async fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Reply> {
        let (origin, local) = self
            .world
            .redirects()
            .iter()
            .find(|(origin, _)| url.starts_with(origin.as_str()))
            .unwrap();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let local = format!("{local}{}", &url[origin.len()..]);
        self.world
            .scene()
            .client()
            .call(method, &local, &headers, body.into())
            .await
    }

    async fn telegram(&self, method: &str, body: Value) -> Value {
        let url = format!("https://api.telegram.org/bot{TOKEN}/{method}");
        let reply = self
            .call(
                Method::POST,
                &url,
                &[("content-type", "application/json")],
                body.to_string(),
            )
            .await
            .unwrap();
        serde_json::from_slice(&reply.body).unwrap()
    }

    async fn graph(&self, method: Method, path: &str, body: Value) -> Value {
        let token = format!("Bearer {}", whatsapp::Setup::default().access_token);
        let headers = [("content-type", "application/json"), ("authorization", token.as_str())];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let reply = self
            .call(
                method,
                &format!("https://graph.facebook.com/v26.0/{path}"),
                &headers,
                body,
            )
            .await
            .unwrap();
        serde_json::from_slice(&reply.body).unwrap()
    }

    async fn intercom(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let token = format!("Bearer {}", self.world.intercom.workspace(intercom::WORKSPACE).token());
        let headers = [
            ("content-type", "application/json"),
            ("authorization", token.as_str()),
            ("intercom-version", "2.16"),
        ];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let reply = self
            .call(method, &format!("https://api.intercom.io{path}"), &headers, body)
            .await
            .unwrap();
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }
}

fn hook(name: &str) -> String {
    format!("{PUBLIC}/hooks/{name}/chn_1")
}
