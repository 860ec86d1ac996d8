//! Places, slots, values: what is used up ends as a value that says so.

use futures_util::future::join_all;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Content, EventBody};

use super::stage::{KEY, Log, POISON, Stage, VALUES_MAX, channel, hook, text};
use crate::engine::Resources;
use crate::limits::{CALLS_PER_PLUGIN, KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX};
use crate::{CallError, ChannelContext, Crowd, Plugin};

/// Of a call that never ends by itself and uses no CPU.
const SLEPT: Result<crate::Inbound, CallError> = Err(CallError::TimedOut(3_000));

#[tokio::test]
async fn xt_2_a_plugin_has_so_many_places_and_the_others_have_theirs() {
    let stage = Stage::new();
    let (loops, echo) = (stage.load("loops").await, stage.load("echo").await);
    let (channel, sleep, hello) = (channel(), hook("sleep"), hook("hello"));
    let all = join_all((0..CALLS_PER_PLUGIN).map(|_| loops.receive(&channel, &sleep)));
    let late = async {
        // Behind all of them: they are polled first.
        tokio::task::yield_now().await;
        (
            loops.receive(&channel, &sleep).await,
            echo.receive(&channel, &hello).await,
        )
    };
    let (all, (one_more, other)) = tokio::join!(all, late);
    assert_eq!(one_more, Err(CallError::Busy(Crowd::Plugin)));
    assert!(other.is_ok(), "{other:?}");
    assert!(all.iter().all(|ended| *ended == SLEPT), "{all:?}");
    let after = loops.receive(&channel, &sleep).await;
    assert_eq!(after, SLEPT, "the places are free again");
}

#[tokio::test]
async fn xt_2_without_a_free_slot_of_the_pool_a_call_is_told_to_come_again() {
    let stage = Stage::on(&Resources { pools: vec![Some(2)] });
    let (loops, echo) = (stage.load("loops").await, stage.load("echo").await);
    let (channel, sleep, hello) = (channel(), hook("sleep"), hook("hello"));
    let both = async { tokio::join!(loops.receive(&channel, &sleep), loops.receive(&channel, &sleep)) };
    let late = async {
        tokio::task::yield_now().await;
        echo.receive(&channel, &hello).await
    };
    let ((one, two), third) = tokio::join!(both, late);
    assert_eq!((one, two), (SLEPT, SLEPT));
    assert_eq!(third, Err(CallError::Busy(Crowd::Host)));
    assert!(echo.receive(&channel, &hello).await.is_ok(), "the slots are free again");
}

/// A machine without room for the pool: more addresses than a process has.
#[tokio::test]
async fn a_machine_without_room_for_the_pool_goes_without() {
    let log = Log::capture();
    let stage = Stage::on(&Resources {
        pools: vec![Some(u32::MAX / 8), None],
    });
    assert!(
        log.text().contains("The sandbox runs with a smaller pool"),
        "{}",
        log.text()
    );
    let echo = stage.load("echo").await;
    assert!(echo.receive(&channel(), &hook("hello")).await.is_ok());
    let allocates = stage.load("allocates").await;
    let ended = allocates.receive(&channel(), &hook("")).await;
    assert!(
        matches!(ended, Err(CallError::Trapped(_))),
        "the limits hold as well: {ended:?}"
    );
}

async fn asked(plugin: &Plugin, channel: &ChannelContext, words: &str) -> String {
    plugin.send(channel, &text(words)).await.unwrap().id
}

#[tokio::test]
async fn d12_values_are_bounded_and_of_one_channel() {
    let stage = Stage::new();
    let keeps = stage.load("keeps").await;
    let (ours, theirs) = (
        channel(),
        ChannelContext {
            channel: ChannelId(8),
            ..channel()
        },
    );
    assert_eq!(asked(&keeps, &ours, "set a 3").await, "kept");
    assert_eq!(asked(&keeps, &ours, "get a").await, "3");
    // Not even whether there is one.
    for key in ["a", "../chn_7/a", "chn_7/a", "/a"] {
        assert_eq!(asked(&keeps, &theirs, &format!("get {key}")).await, "nothing", "{key}");
    }
    let key = "k".repeat(KV_KEY_BYTES_MAX);
    for (words, expected) in [
        (format!("set b {KV_VALUE_BYTES_MAX}"), "kept"),
        (format!("set b {}", KV_VALUE_BYTES_MAX + 1), "too-large"),
        (format!("set {key} 1"), "kept"),
        (format!("set {key}k 1"), "too-large"),
        (format!("get {key}k"), "too-large"),
        (format!("fill {VALUES_MAX}"), "full"),
        ("set a 4".to_owned(), "kept"),
        ("get a".to_owned(), "4"),
    ] {
        assert_eq!(asked(&keeps, &ours, &words).await, expected, "{words}");
    }
}

#[tokio::test]
async fn xt_2_a_fault_of_a_host_function_ends_its_call_and_nothing_else() {
    let stage = Stage::new();
    let keeps = stage.load("keeps").await;
    let ended = keeps.send(&channel(), &text(&format!("get {POISON}"))).await;
    let Err(CallError::Trapped(problem)) = ended else {
        panic!("{ended:?}")
    };
    assert!(problem.starts_with("a function of the host failed"), "{problem}");
    assert_eq!(asked(&keeps, &channel(), "get a").await, "nothing");
}

#[tokio::test]
async fn e17_a_guest_is_given_no_secret_so_that_it_can_tell_none() {
    let stage = Stage::new();
    let log = Log::capture();
    let keeps = stage.load("keeps").await;
    let mut hook = hook(&format!("the key is {KEY}, is it not"));
    hook.path_and_query = format!("/hooks/guest/chn_1?key={KEY}&a=b");
    hook.headers = vec![("x-key".to_owned(), KEY.to_owned())];
    let inbound = keeps.receive(&channel(), &hook).await.unwrap();
    let EventBody::Message(message) = &inbound.events[0].body else {
        panic!("not a message")
    };
    let told = r#"[("key", "[secret]"), ("a", "b")] [("x-key", "[secret]")] the key is [secret], is it not"#;
    assert_eq!(message.content, [Content::Text(told.to_owned())]);
    let lines = log.text();
    assert!(lines.contains("the key is [secret]") && !lines.contains(KEY), "{lines}");
}

#[tokio::test]
async fn abilities_that_a_guest_has_not_are_told_without_a_call() {
    let stage = Stage::new();
    let echo = stage.load("echo").await;
    let channel = channel();
    let missing = |what| Some(CallError::Unsupported(what));
    assert_eq!(echo.connect(&channel).await.err(), missing("lifecycle"));
    assert_eq!(echo.disconnect(&channel).await.err(), missing("lifecycle"));
    assert_eq!(echo.check(&channel).await.err(), missing("lifecycle"));
    assert_eq!(echo.look_up(&channel, &[]).await.err(), missing("profile"));
    assert_eq!(echo.templates(&channel).await.err(), missing("templates"));
}
