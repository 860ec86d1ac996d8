//! Versions of one connector while messages flow: where they come from, what they may, what takes them back.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_components::variants::variant;
use mantle_it::{Bridge, Channel, text};
use mantle_supply::{generate_key, public_key, sign};
use mantle_world::registry::{Push, REGISTRY};
use serde_json::{Value, json};

use crate::sandboxed::{guests, hook, kept, plugin, plugins, state};

/// Longer than a version is on trial when nobody calls.
const TRIAL: Duration = Duration::from_secs(11 * 60);

async fn component(guest: &str) -> Result<Vec<u8>> {
    let file = guests().await?.join(format!("{guest}.wasm"));
    std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
}

/// `fragile` as version 2, with these other words in its manifest.
async fn second(words: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut all = vec![("version = \"1.0.0\"", "version = \"2.0.0\"")];
    all.extend_from_slice(words);
    variant(&component("fragile").await?, &all)
}

/// A host with the plugin `guest`, at first `steady`, and a channel of it.
struct Stage {
    bridge: Bridge,
    channel: Channel,
    /// What `plugins.toml` has without the guest.
    before: String,
    file: PathBuf,
}

impl Stage {
    /// The component is this file; `extra` are more lines of the plugin's table.
    async fn with_file(extra: &str) -> Result<Self> {
        let bridge = Bridge::start().await?;
        std::fs::write(bridge.folder().join("guest.wasm"), component("steady").await?)?;
        Self::with(bridge, &format!("component = \"guest.wasm\"\n{extra}")).await
    }

    async fn with(bridge: Bridge, lines: &str) -> Result<Self> {
        let before = std::fs::read_to_string(bridge.folder().join("plugins.toml"))?;
        let mut stage = Self {
            file: bridge.folder().join("guest.wasm"),
            channel: Channel {
                id: String::new(),
                body: Value::Null,
            },
            before,
            bridge,
        };
        stage.configure(lines)?;
        stage.until("ready").await?;
        let workspace = stage.bridge.connect_workspace().await?;
        stage.channel = stage.connect(&workspace).await?;
        Ok(stage)
    }

    async fn connect(&self, workspace: &str) -> Result<Channel> {
        let fields = json!({"key": format!("guest-key-0123456789abcdef")});
        self.bridge.connect(workspace, "guest", fields).await
    }

    fn configure(&self, lines: &str) -> Result<()> {
        let text = format!("{}[plugins.guest]\ngrants = \"asked\"\n{lines}", self.before);
        put(&self.bridge.folder().join("plugins.toml"), text.as_bytes())
    }

    /// The plugin once it is in this state.
    async fn until(&self, wanted: &str) -> Result<Value> {
        self.until_it(|guest| guest["state"] == wanted).await
    }

    async fn until_it(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let answer = plugins(&self.bridge, |answer| plugin(answer, "guest").is_some_and(&wanted)).await?;
        plugin(&answer, "guest").cloned().context("no guest")
    }

    async fn says(&self, words: &str) -> Result<()> {
        let status = hook(&self.bridge, &self.channel, words).await?;
        ensure!(status == 200, "`{words}` was answered {status}");
        Ok(())
    }

    /// What the inbox has of the customer, in order.
    async fn heard(&self) -> Result<Vec<String>> {
        self.bridge.quiet().await?;
        let parts = self.bridge.only_conversation()?.from_customer();
        Ok(parts.iter().map(|part| part.body.clone()).collect())
    }

    async fn post(&self, what: &str, body: &Value) -> Result<(u16, Value)> {
        let path = format!("/api/v1/plugins/guest/{what}");
        self.bridge.api(Method::POST, &path, Some(body)).await
    }

    fn lock(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.bridge.folder().join("plugins.lock"))?)
    }
}

/// In one step, as a build does it.
fn put(file: &std::path::Path, bytes: &[u8]) -> Result<()> {
    let temporary = file.with_extension("new");
    std::fs::write(&temporary, bytes)?;
    Ok(std::fs::rename(&temporary, file)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_version_that_fails_at_some_hooks_is_taken_back_and_no_hook_is_lost() -> Result<()> {
    let stage = Stage::with_file("canary_percent = 99\n").await?;
    let first = text(&stage.until("ready").await?, "digest")?;
    put(&stage.file, &second(&[]).await?)?;
    let trial = stage.until_it(|guest| guest["trial"].is_object()).await?["trial"].clone();
    assert_eq!((&trial["version"], &trial["percent"]), (&json!("2.0.0"), &json!(99)));

    // One hook of twenty makes it panic.
    let words: Vec<String> = (0..100)
        .map(|number| {
            if number % 20 == 7 {
                format!("boom {number}")
            } else {
                format!("hello {number}")
            }
        })
        .collect();
    for words in &words {
        stage.says(words).await?;
    }
    let guest = stage.until("refused").await?;
    assert_eq!(text(&guest, "digest")?, first, "the version before goes on");
    let reason = text(&guest, "reason")?;
    assert!(
        reason.contains("it was taken back: 3 hooks that it failed at"),
        "{reason}"
    );

    let heard = stage.heard().await?;
    let heard: Vec<&str> = heard.iter().map(|words| words.trim_end_matches(" (2)")).collect();
    assert_eq!(heard, words, "every one arrived once and in order");
    assert!(kept(&stage.bridge).await?.is_empty(), "and none had to wait");

    // The same bytes are not tried again, until somebody says so.
    let lock = stage.lock()?;
    assert!(
        lock.contains(&format!("sha256 = \"{first}\"")) && lock.contains("rolled_back = "),
        "{lock}"
    );
    put(&stage.file, &second(&[]).await?)?;
    stage.bridge.host().reload().await;
    assert_eq!(stage.until("refused").await?["trial"], Value::Null);
    let (status, guest) = stage.post("approve", &json!({})).await?;
    assert_eq!((status, &guest["trial"]["version"]), (200, &json!("2.0.0")), "{guest}");
    stage.bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_version_that_fails_at_everything_never_gets_a_hook() -> Result<()> {
    let stage = Stage::with_file("canary_percent = 100\n").await?;
    stage.says("one").await?;
    put(&stage.file, &component("traps").await?)?;
    let reason = text(&stage.until("refused").await?, "reason")?;
    assert!(
        reason.contains("its self-test failed: the connector crashed"),
        "{reason}"
    );
    stage.says("two").await?;
    assert_eq!(stage.heard().await?, ["one", "two"]);
    stage.bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_swaps_deleted_and_half_written_files_are_no_error_to_senders() -> Result<()> {
    const SWAPS: usize = 8;
    let stage = Stage::with_file("canary_percent = 100\n").await?;
    let (one, two) = (component("steady").await?, second(&[]).await?);
    let swapping = async {
        for round in 0..SWAPS {
            let (next, version) = if round % 2 == 0 {
                (&two, "2.0.0")
            } else {
                (&one, "1.0.0")
            };
            match round % 4 {
                // Gone, and cut in half: what runs goes on.
                1 => std::fs::remove_file(&stage.file)?,
                3 => std::fs::write(&stage.file, &two[..two.len() / 2])?,
                _ => {}
            }
            stage.bridge.host().reload().await;
            put(&stage.file, next)?;
            stage
                .until_it(|guest| guest["state"] == "ready" && guest["version"] == version)
                .await?;
        }
        anyhow::Ok(())
    };
    tokio::pin!(swapping);
    let mut sent = 0;
    loop {
        let words = format!("hello {sent}");
        let says = stage.says(&words);
        tokio::select! {
            ended = &mut swapping => { ended?; break }
            said = says => { said?; sent += 1 }
        }
    }
    // The one that was under way when the last swap ended may have come in or not.
    stage.says(&format!("hello {sent}")).await?;
    let heard = stage.heard().await?;
    let heard: Vec<&str> = heard.iter().map(|words| words.trim_end_matches(" (2)")).collect();
    let expected: Vec<String> = (0..=sent).map(|number| format!("hello {number}")).collect();
    assert_eq!(heard, expected);
    assert!(sent > SWAPS, "only {sent} hooks came while versions changed");
    stage.bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_a_digest_or_signature_that_does_not_fit_leaves_the_old_version_running() -> Result<()> {
    let stage = Stage::with_file("").await?;
    let first = text(&stage.until("ready").await?, "digest")?;
    let check = async |words: &str| -> Result<()> {
        let guest = stage
            .until_it(|guest| guest["reason"].as_str().is_some_and(|why| why.contains(words)))
            .await?;
        assert_eq!(
            (&guest["state"], text(&guest, "digest")?),
            (&json!("refused"), first.clone())
        );
        stage.says(words).await
    };
    stage.configure(&format!(
        "component = \"guest.wasm\"\nsha256 = \"{}\"\n",
        "00".repeat(32)
    ))?;
    check("but [plugins.guest] pins 0000").await?;

    let (ours, other) = (generate_key()?, generate_key()?);
    let trust = format!(
        "component = \"guest.wasm\"\n[trust]\nkeys = {{ ours = \"{}\" }}\nrequire = false\n",
        public_key(&ours)?
    );
    let signature = stage.bridge.folder().join("guest.wasm.sig");
    put(&signature, sign(&component("steady").await?, &other)?.as_bytes())?;
    stage.configure(&trust)?;
    check("was made by none of the keys of [trust] (ours)").await?;

    put(&signature, sign(&component("steady").await?, &ours)?.as_bytes())?;
    let guest = stage.until("ready").await?;
    assert_eq!(guest["signer"], "ours");
    assert!(stage.lock()?.contains("signer = \"ours\"") || guest["digest"] == first);
    assert_eq!(stage.heard().await?.len(), 2);
    stage.bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d19_a_version_that_asks_for_more_waits_for_consent() -> Result<()> {
    let stage = Stage::with_file("canary_percent = 50\n").await?;
    let more = [("methods = [\"GET\", \"POST\"]", "methods = [\"PUT\", \"POST\"]")];
    put(&stage.file, &second(&more).await?)?;
    let guest = stage.until("pending").await?;
    assert_eq!(
        (&guest["version"], &guest["pending"]["version"]),
        (&json!("1.0.0"), &json!("2.0.0"))
    );
    let right = "call PUT https://api.granted.example/v1/";
    assert_eq!(guest["pending"]["difference"], json!([right]));
    let reason = text(&guest, "reason")?;
    assert!(
        reason.contains(right) && reason.contains("`mantle plugin approve guest`"),
        "{reason}"
    );
    for number in 0..10 {
        stage.says(&format!("hello {number}")).await?;
    }
    assert!(stage.heard().await?.iter().all(|words| !words.ends_with(" (2)")));
    assert!(!stage.lock()?.contains(right));

    let wrong = json!({"digest": "00".repeat(32)});
    assert_eq!(stage.post("approve", &wrong).await?.0, 409);
    let (status, guest) = stage
        .post("approve", &json!({"digest": guest["pending"]["digest"]}))
        .await?;
    assert_eq!((status, &guest["trial"]["percent"]), (200, &json!(50)), "{guest}");
    assert!(stage.lock()?.contains(right), "what was consented to is written down");
    assert_eq!(
        stage.post("approve", &json!({})).await?.0,
        409,
        "nothing waits any more"
    );
    stage.bridge.advance(TRIAL);
    stage
        .until_it(|guest| guest["version"] == "2.0.0" && guest["state"] == "ready")
        .await?;
    stage.says("after").await?;
    assert_eq!(stage.heard().await?.pop().context("nothing")?, "after (2)");
    stage.bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_3_one_word_leads_back_and_a_pinned_channel_stays() -> Result<()> {
    let mut stage = Stage::with_file("canary_percent = 100\n").await?;
    let first = text(&stage.until("ready").await?, "digest")?;
    let path = format!("/api/v1/channels/{}", stage.channel.id);
    let pin = async |stage: &Stage, version: &str| {
        let body = json!({"settings": {"version": version}});
        stage.bridge.api(Method::PATCH, &path, Some(&body)).await
    };
    let (status, answer) = pin(&stage, "000000000000").await?;
    assert_eq!(
        (status, &answer["error"]["field"]),
        (422, &json!("settings.version")),
        "{answer}"
    );
    let (status, answer) = pin(&stage, &first[..12]).await?;
    assert_eq!(
        (status, &answer["settings"]["version"]),
        (200, &json!(first)),
        "{answer}"
    );

    put(&stage.file, &second(&[]).await?)?;
    let guest = stage.until_it(|guest| guest["version"] == "2.0.0").await?;
    assert_eq!(
        (&guest["previous"]["digest"], &guest["pinned"][0]["digest"]),
        (&json!(first), &json!(first))
    );
    stage.says("pinned").await?;
    // It holds over a restart, when the file has long been another.
    stage.bridge.stop().await;
    let lines = std::fs::read_to_string(stage.bridge.folder().join("plugins.toml"))?;
    stage.bridge.restart().await?;
    std::fs::write(stage.bridge.folder().join("plugins.toml"), lines)?;
    stage
        .until_it(|guest| guest["pinned"][0]["digest"] == first.as_str())
        .await?;
    stage.says("still").await?;
    assert_eq!(pin(&stage, "current").await?.0, 200);
    stage.says("free").await?;
    assert_eq!(stage.heard().await?, ["pinned", "still", "free (2)"]);

    let (status, guest) = stage.post("rollback", &json!({})).await?;
    assert_eq!((status, &guest["digest"]), (200, &json!(first)), "{guest}");
    stage.says("back").await?;
    assert_eq!(stage.heard().await?.pop().context("nothing")?, "back");
    assert_eq!(stage.post("rollback", &json!({})).await?.0, 409, "one step and no more");
    stage.bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xt_1_a_connector_of_a_registry_is_locked_and_a_moved_tag_changes_nothing() -> Result<()> {
    let bridge = Bridge::start().await?;
    let registry = bridge.world.registry.clone();
    registry.want_token();
    let manifest = registry.push("owner/guest", "1", &component("steady").await?, &Push::default());
    let lines = format!("component = \"oci://{REGISTRY}/owner/guest:1\"\n");
    let mut stage = Stage::with(bridge, &lines).await?;
    let guest = stage.until("ready").await?;
    assert_eq!(guest["source"], format!("oci://{REGISTRY}/owner/guest:1"));
    stage.says("one").await?;
    let lock = stage.lock()?;
    let digest = text(&guest, "digest")?;
    for part in [
        format!("source = \"oci://{REGISTRY}/owner/guest:1\""),
        format!("sha256 = \"{digest}\""),
        format!("manifest = \"{manifest}\""),
        "interface = \"1.0.0\"".to_owned(),
        "call GET https://api.granted.example/v1/".to_owned(),
    ] {
        assert!(lock.contains(&part), "{lock}\n does not hold\n{part}");
    }

    // The tag is moved. A host that starts anew takes what is locked, without asking anybody.
    registry.push("owner/guest", "1", &second(&[]).await?, &Push::default());
    let _ = registry.take_calls();
    stage.bridge.stop().await;
    stage.bridge.restart().await?;
    stage.configure(&lines)?;
    stage.until_it(|guest| guest["digest"] == digest.as_str()).await?;
    assert!(registry.take_calls().is_empty());

    // One that has lost its data asks for what is locked; that is gone, and the refusal says what to do.
    registry.clean_up();
    stage.bridge.stop().await;
    std::fs::remove_dir_all(stage.bridge.folder().join("data/components"))?;
    stage.bridge.restart().await?;
    stage.configure(&lines)?;
    let reason = text(&stage.until("refused").await?, "reason")?;
    assert!(
        reason.contains(&format!(
            "has no manifest of oci://{REGISTRY}/owner/guest@sha256:{manifest}"
        )),
        "{reason}"
    );
    assert_eq!(stage.lock()?, lock, "nothing was taken");
    stage.bridge.assert_lawful()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_6_each_malformed_file_names_its_line_and_stops_nothing() -> Result<()> {
    let stage = Stage::with_file("").await?;
    let file = stage.bridge.folder().join("plugins.toml");
    let good = std::fs::read_to_string(&file)?;
    let line = good.lines().count() + 1;
    let metric = async || -> Result<bool> {
        let page = stage.bridge.world.scene().client();
        let url = format!("http://{}/metrics", stage.bridge.host().addr);
        let key = [("authorization".to_owned(), format!("Bearer {}", mantle_it::ADMIN_TOKEN))];
        let reply = page.call(Method::GET, &url, &key, bytes::Bytes::new()).await?;
        let text = reply.text();
        let figure = text
            .lines()
            .find(|line| line.starts_with("mantle_config_reload_success"));
        Ok(figure
            .with_context(|| format!("no such figure in {text}"))?
            .ends_with(" 1"))
    };
    let beyond = [
        ("[plugins.other\n", "This is not TOML", 0),
        (
            "[plugins.other]\ncomponnent = \"guest.wasm\"\n",
            "Did you mean `component`?",
            1,
        ),
        (
            "[plugins.guest]\ncomponent = \"guest.wasm\"\n",
            "It stands here a second time",
            0,
        ),
        ("[plugins.other]\ncomponent = 7\n", "This is a number", 1),
        (
            "[plugins.other]\ncomponent = \"guest.wasm\"\nsha256 = \"abc\"\n",
            "A digest has 64",
            2,
        ),
        (
            "[plugins.other]\ncomponent = \"oci://nowhere\"\n",
            "names no component",
            1,
        ),
        ("include = [\"plugins.toml\"]\n", "There is no such key", 0),
    ];
    for (number, (text, words, below)) in beyond.into_iter().enumerate() {
        put(&file, format!("{good}{text}").as_bytes())?;
        let told = |answer: &Value| {
            let problems = answer["configuration"]["problems"].as_array()?.iter();
            let mut problems = problems.filter_map(Value::as_str);
            problems.find(|problem| problem.contains(words)).map(str::to_owned)
        };
        let answer = plugins(&stage.bridge, |answer| told(answer).is_some())
            .await
            .with_context(|| words.to_owned())?;
        let problem = told(&answer).unwrap_or_default();
        assert!(problem.contains(&format!("plugins.toml:{}", line + below)), "{problem}");
        assert_eq!(
            (&answer["configuration"]["state"], state(&answer, "guest")),
            (&json!("refused"), "ready")
        );
        assert!(!metric().await?, "{words}");
        stage.says(&format!("hello {number}")).await?;
    }
    // Deleted, emptied, and cut off in the middle of a key.
    std::fs::remove_file(&file)?;
    plugins(&stage.bridge, |answer| answer.to_string().contains("cannot be read")).await?;
    std::fs::write(&file, "")?;
    plugins(&stage.bridge, |answer| answer.to_string().contains("The file is empty")).await?;
    put(&file, &good.as_bytes()[..good.len() - 5])?;
    plugins(&stage.bridge, |answer| answer.to_string().contains("not TOML")).await?;
    stage.says("meanwhile").await?;
    // A hundred edits in a moment, the last of which is good.
    for edit in 0..100 {
        std::fs::write(
            &file,
            format!("{good}# {edit}\n{}", "[".repeat(1 - usize::from(edit == 99))),
        )?;
    }
    plugins(&stage.bridge, |answer| answer["configuration"]["state"] == "applied").await?;
    assert!(metric().await?);
    stage.says("after").await?;
    assert_eq!(stage.heard().await?.len(), 9);
    stage.bridge.assert_lawful()
}
