//! A running host follows its configuration.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mantle_app::config;
use mantle_app::host::{Host, Running, Surroundings};
use mantle_model::secret::Secret;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A change is noticed at once where the kernel tells, by a poll otherwise; this is far more than either.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(folder: &Path, text: &str) -> Running {
    let file = folder.join("plugins.toml");
    std::fs::write(&file, text).unwrap();
    let config = config::load(&file, &|_| None).unwrap();
    let surroundings = Surroundings {
        environment: Arc::new(|_| None),
        admin_token: Some(Secret::new("key".to_owned())),
        ..Surroundings::default()
    };
    Host::start(config, surroundings).await.unwrap()
}

async fn plugins(host: &Running) -> Value {
    let mut stream = TcpStream::connect(host.addr).await.unwrap();
    let request = "GET /api/v1/plugins HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Asks until the answer is as wanted; the asking is paced by the host's own answers.
async fn until(host: &Running, wanted: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let answer = plugins(host).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("the change was not taken on")
}

#[tokio::test(flavor = "multi_thread")]
async fn f_6_a_saved_file_is_taken_on_and_a_bad_one_leaves_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = "[server]\nlisten = \"127.0.0.1:0\"\n";
    let host = start(folder.path(), server).await;
    let file = folder.path().join("plugins.toml");
    assert_eq!(plugins(&host).await["plugins"], serde_json::json!([]));

    let one = format!("{server}[plugins.telegram]\ncomponent = \"absent.wasm\"\n");
    std::fs::write(&file, &one).unwrap();
    let answer = until(&host, |answer| !answer["plugins"].as_array().unwrap().is_empty()).await;
    assert_eq!(answer["plugins"][0]["state"], "refused");
    assert_eq!(answer["configuration"]["state"], "applied");

    std::fs::write(&file, format!("{one}oops = 1\n")).unwrap();
    let answer = until(&host, |answer| answer["configuration"]["state"] == "refused").await;
    let problem = answer["configuration"]["problems"][0].as_str().unwrap().to_owned();
    assert!(
        problem.contains("plugins.toml:5: `plugins.telegram.oops`: There is no such key."),
        "{problem}"
    );
    assert_eq!(
        answer["plugins"][0]["name"], "telegram",
        "the configuration before stays in use"
    );

    // A file that a plugin names is watched as well as the configuration.
    std::fs::write(&file, &one).unwrap();
    until(&host, |answer| answer["configuration"]["state"] == "applied").await;
    std::fs::write(folder.path().join("absent.wasm"), "no component").unwrap();
    let absent = |answer: &Value| {
        answer["plugins"][0]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("There is no file"))
    };
    let answer = until(&host, |answer| !absent(answer)).await;
    assert_eq!(answer["plugins"][0]["state"], "refused");

    std::fs::remove_file(&file).unwrap();
    until(&host, |answer| answer["configuration"]["state"] == "refused").await;
    tokio::time::timeout(PATIENCE, host.stop())
        .await
        .expect("the host did not end");
}
