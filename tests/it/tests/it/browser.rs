//! The demo's page in headless Chromium: what a person sees after writing on the phone and answering in the inbox.
//!
//! The demo runs as it is, as a process of its own; the page is driven by its own calls and read as Chromium shows it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use mantle_world::Client;
use mantle_world::needs::leave_out;
use serde_json::{Value, json};

/// The demo builds the host first: minutes on a fresh and busy machine, seconds otherwise.
const READY_WITHIN: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long the page lives before it is read, in its own time: the stream has opened and the state is drawn.
const VIRTUAL_MS: u32 = 4_000;
const QUESTION: &str = "Is the blue one <b>really</b> in stock?";
const ANSWER: &str = "Yes, three of them.";

fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&named)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// The demo as a child; it ends, and its host with it, when this is dropped.
struct Demo {
    child: Child,
    url: String,
}

impl Demo {
    fn start() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.current_dir(mantle_components::workspace_root()).args([
            "build",
            "--quiet",
            "--locked",
            "--bin",
            "mantle-demo",
        ]);
        mantle_components::without_outer_cargo(&mut build);
        ensure!(build.status()?.success(), "the demo could not be built");
        // `target/debug/deps/it-…` → `target/debug/mantle-demo`
        let here = std::env::current_exe()?;
        let folder = here.ancestors().nth(2).context("no folder of the build")?;
        let mut command = Command::new(folder.join("mantle-demo"));
        // Any port that is free.
        command.args(["--port", "0"]).stdin(Stdio::null());
        mantle_components::without_outer_cargo(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (tell, told) = mpsc::channel();
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in outputs.into_iter().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        drop(tell);
        let mut demo = Self {
            child,
            url: String::new(),
        };
        demo.url = address(&told)?;
        Ok(demo)
    }
}

/// What the demo says when its page can be opened.
fn address(told: &mpsc::Receiver<String>) -> Result<String> {
    let deadline = Instant::now() + READY_WITHIN;
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = told.recv_timeout(left) else {
            bail!("the demo did not come up; it said:\n{}", said.join("\n"));
        };
        let plain: String = line.chars().filter(|letter| !letter.is_control()).collect();
        if plain.contains("Ready:")
            && let Some(at) = plain.find("http://")
        {
            let rest = &plain[at..];
            let end = rest.rfind('/').context("no end of the address")?;
            return Ok(rest[..=end].to_owned());
        }
        said.push(line);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Ctrl-C lets it end its own child; what is left after that is killed.
        let interrupted = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        let deadline = Instant::now() + PATIENCE;
        while interrupted.is_ok() && Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(ASK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ask(client: &Client, method: Method, url: &str, body: Option<Value>) -> Result<Value> {
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let reply = client.call(method, url, &headers, bytes).await?;
    ensure!(reply.is_good(), "{url} answered {}: {}", reply.status, reply.text());
    Ok(serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
}

/// Asks the page's state until it shows something.
async fn until<T>(client: &Client, url: &str, look: impl Fn(&Value) -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = ask(client, Method::GET, &format!("{url}state"), None).await?;
        if let Some(seen) = look(&state) {
            return Ok(seen);
        }
        ensure!(Instant::now() < deadline, "the page does not show it: {state}");
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Chromium with nothing but this page; what it prints.
async fn browse(program: &Path, last: &[String], url: &str) -> Result<String> {
    let profile = tempfile::Builder::new().prefix("mantle-it-chromium-").tempdir()?;
    let mut command = tokio::process::Command::new(program);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1400,900",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--virtual-time-budget={VIRTUAL_MS}"))
        .args(last)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = ended.context("Chromium did not end")??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !errors.contains("Page load failed"),
        "Chromium failed: {errors}"
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The page as elements, once it has drawn what it was told: a busy machine may show it a moment too early.
async fn drawn(program: &Path, url: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dom = browse(program, &["--dump-dom".to_owned()], url).await?;
        if bubbles(&dom, "chat").len() > 1 {
            return Ok(dom);
        }
        ensure!(Instant::now() < deadline, "the page does not show the messages: {dom}");
    }
}

/// The elements of a list of bubbles: class and content, in their order.
fn bubbles(dom: &str, list: &str) -> Vec<(String, String)> {
    let Some(from) = dom.find(&format!("id=\"{list}\"")) else {
        return Vec::new();
    };
    let area = &dom[from..];
    let area = &area[..area.find("<form").unwrap_or(area.len())];
    let pieces = area.split("<div class=\"bubble").skip(1);
    let read = |piece: &str| {
        let (class, rest) = piece.split_once('"')?;
        let (_, words) = rest.split_once('>')?;
        Some((class.trim().to_owned(), words.to_owned()))
    };
    pieces.filter_map(read).collect()
}

fn side_of(found: &[(String, String)], words: &str) -> Option<&'static str> {
    let (class, _) = found.iter().find(|(_, content)| content.contains(words))?;
    Some(if class.split(' ').any(|one| one == "mine") {
        "right"
    } else {
        "left"
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demos_page_shows_question_and_answer_on_their_sides() -> Result<()> {
    let Some(program) = chromium() else {
        leave_out("chromium", "the demo's page in a browser", "no chromium is on the PATH");
        return Ok(());
    };
    let demo = tokio::task::spawn_blocking(Demo::start).await??;
    let (client, url) = (Client::default(), demo.url.clone());
    ask(
        &client,
        Method::POST,
        &format!("{url}phone/telegram"),
        Some(json!({"text": QUESTION})),
    )
    .await?;
    let conversation = until(&client, &url, |state| {
        let first = state["conversations"].as_array()?.first()?;
        first["id"].as_str().map(str::to_owned)
    })
    .await?;
    let reply = json!({"text": ANSWER, "act": "reply"});
    ask(
        &client,
        Method::POST,
        &format!("{url}inbox/{conversation}"),
        Some(reply),
    )
    .await?;
    until(&client, &url, |state| {
        let lines = state["channels"][0]["lines"].as_array()?;
        lines
            .iter()
            .any(|line| line["mine"] == false && line["text"] == ANSWER)
            .then_some(())
    })
    .await?;

    let dom = drawn(&program, &url).await?;
    let phone = bubbles(&dom, "chat");
    let shown = QUESTION.replace('<', "&lt;").replace('>', "&gt;");
    assert_eq!(phone.len(), 2, "the phone: {phone:?}");
    assert_eq!(
        side_of(&phone, &shown),
        Some("right"),
        "the customer's words, as text: {phone:?}"
    );
    assert_eq!(side_of(&phone, ANSWER), Some("left"), "the answer: {phone:?}");
    assert!(phone[0].1.contains("webhook answered 200"), "{phone:?}");
    let inbox = bubbles(&dom, "thread");
    assert_eq!(side_of(&inbox, &shown), Some("left"), "the inbox: {inbox:?}");
    assert_eq!(side_of(&inbox, ANSWER), Some("right"), "the inbox: {inbox:?}");
    assert!(
        dom.contains("<p id=\"violations\" role=\"status\"></p>"),
        "violations are shown: {dom}"
    );

    let pictures = tempfile::tempdir()?;
    let picture = pictures.path().join("page.png");
    browse(&program, &[format!("--screenshot={}", picture.display())], &url).await?;
    let bytes = std::fs::read(&picture)?;
    assert!(
        bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000,
        "{} bytes",
        bytes.len()
    );
    tokio::task::spawn_blocking(move || drop(demo)).await?;
    Ok(())
}
