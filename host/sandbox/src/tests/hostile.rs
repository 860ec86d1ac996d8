//! Guests that misbehave end as values; the host and the other guests go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mantle_model::failure::{Cause, Failure};
use mantle_model::inbound::{Content, EventBody};
use rustix::time::{ClockId, clock_gettime};

use super::stage::{KEY, Log, Provider, Stage, channel, entry, hook, text};
use crate::{CallError, Grants};

/// Enough to take most of two cores, little enough to leave a guest its 200 ms within its 3 s.
const BUSY_THREADS: usize = 6;

fn transient(error: CallError) -> Cause {
    match error {
        CallError::Provider(Failure::Transient(cause)) => cause,
        other => panic!("not a transient failure: {other:?}"),
    }
}

#[tokio::test]
async fn xt_2_an_endless_loop_is_stopped_while_others_go_on() {
    let stage = Stage::new();
    let (loops, echo) = (stage.load("loops").await, stage.load("echo").await);
    let (channel, hook) = (channel(), hook("hello"));
    let begun = Instant::now();
    // One thread for both: only the yield of the loop lets the other one in.
    let looping = async {
        let ended = loops.receive(&channel, &hook).await;
        (ended, begun.elapsed())
    };
    let working = async {
        let mut calls = 0;
        while begun.elapsed() < Duration::from_millis(150) {
            echo.receive(&channel, &hook).await.unwrap();
            calls += 1;
            tokio::task::yield_now().await;
        }
        calls
    };
    let ((ended, took), calls) = tokio::join!(looping, working);
    assert_eq!(ended, Err(CallError::CpuExceeded(200)));
    // Without the yield it would be one at most: the first, before the loop began.
    assert!(calls > 2, "only {calls} other calls got through");
    assert!(took >= Duration::from_millis(190), "stopped after {took:?}");
    // Generous: tests run beside each other on small machines. 200 to 250 ms on an idle one.
    assert!(took < Duration::from_secs(2), "stopped after {took:?}");
}

/// What others use of the machine is not the guest's: it gets its whole budget, however long that takes.
#[test]
fn d2_on_a_busy_machine_a_guest_pays_for_its_own_time_only() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..BUSY_THREADS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let used = runtime.block_on(async {
            let stage = Stage::new();
            let loops = stage.load("loops").await;
            // This thread does nothing else: all calls run on it.
            let before = clock_gettime(ClockId::ThreadCPUTime);
            let ended = loops.receive(&channel(), &hook("")).await;
            let used = clock_gettime(ClockId::ThreadCPUTime) - before;
            assert_eq!(ended, Err(CallError::CpuExceeded(200)));
            Duration::try_from(used).unwrap()
        });
        stop.store(true, Ordering::Relaxed);
        assert!(used >= Duration::from_millis(200), "stopped after {used:?} of CPU");
    });
}

#[tokio::test]
async fn xt_2_a_sleeping_guest_is_stopped_by_the_clock() {
    let stage = Stage::new();
    let loops = stage.load("loops").await;
    let ended = loops.receive(&channel(), &hook("sleep")).await;
    assert_eq!(ended, Err(CallError::TimedOut(3_000)));
}

#[tokio::test]
async fn xt_2_memory_has_an_end() {
    let stage = Stage::new();
    let allocates = stage.load("allocates").await;
    let Err(CallError::Trapped(text)) = allocates.receive(&channel(), &hook("")).await else {
        panic!("it was not stopped")
    };
    assert!(text.starts_with("it wanted more than 8 MiB of memory"), "{text}");
}

#[tokio::test]
async fn xt_2_logs_and_host_calls_have_an_end() {
    let stage = Stage::new();
    let log = Log::capture();
    let allocates = stage.load("allocates").await;
    allocates.receive(&channel(), &hook("log")).await.unwrap();
    let lines = log.text();
    assert!(lines.contains("line 199 "), "the last line is missing");
    assert!(!lines.contains("line 200 "));
    assert!(lines.contains("allocates logs more than 200 lines in one call"));
    assert!(lines.lines().all(|line| line.len() < 5_000));

    let ended = allocates.receive(&channel(), &hook("calls")).await;
    let Err(CallError::Trapped(text)) = ended else {
        panic!("it was not stopped: {ended:?}")
    };
    assert!(text.starts_with("more than 1000 calls of host functions"), "{text}");
}

#[tokio::test]
async fn xt_2_a_panic_names_its_place_and_not_its_words() {
    let stage = Stage::new();
    let traps = stage.load("traps").await;
    let Err(CallError::Trapped(text)) = traps.receive(&channel(), &hook("my address")).await else {
        panic!("it did not trap")
    };
    assert!(text.contains("panicked at traps/src/lib.rs:"), "{text}");
    assert!(!text.contains("my address"), "{text}");
}

#[tokio::test]
async fn xt_2_a_crash_after_the_request_left_leaves_the_outcome_unknown() {
    let provider = Provider::answering("{}").await;
    let stage = Stage::with_provider(&provider);
    let traps = stage.load("traps").await;
    let before = traps.send(&channel(), &text("before")).await;
    assert!(matches!(before, Err(CallError::Trapped(_))), "{before:?}");
    assert!(provider.requests().is_empty());
    let after = traps.send(&channel(), &text("after")).await;
    assert!(
        matches!(after, Err(CallError::Provider(Failure::Unknown(_)))),
        "{after:?}"
    );
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn xt_2_a_host_that_was_not_granted_is_denied_and_told() {
    let provider = Provider::answering("{}").await;
    let stage = Stage::with_provider(&provider);
    let log = Log::capture();
    let denied = stage.load("denied").await;
    for address in [
        "https://evil.example/v1/",
        "https://api.granted.example/other",
        "http://api.granted.example/v1/",
        "https://api.granted.example.evil.example/v1/",
        "https://api.granted.example/v1/../other",
    ] {
        let cause = transient(denied.send(&channel(), &text(address)).await.unwrap_err());
        assert!(
            cause.code == "denied" || cause.code == "invalid",
            "{address}: {cause:?}"
        );
        assert!(cause.message.ends_with("(sent: false)"), "{address}: {cause:?}");
    }
    assert!(provider.requests().is_empty());
    let lines = log.text();
    let audit = lines.lines().find(|line| line.contains("evil.example")).unwrap();
    assert!(
        audit.contains("mantle::audit: Denied the connector denied a call to evil.example"),
        "{audit}"
    );
    assert!(audit.contains("plugin=denied"), "{audit}");
}

#[tokio::test]
async fn xt_2_what_the_operator_did_not_grant_is_denied() {
    let provider = Provider::answering("{}").await;
    let stage = Stage::with_provider(&provider);
    let nothing = crate::PluginEntry {
        grants: Some(Grants::Egress(Vec::new())),
        ..entry("denied")
    };
    let denied = stage.sandbox.load(nothing).await.unwrap();
    let ended = denied.send(&channel(), &text("https://api.granted.example/v1/")).await;
    assert_eq!(transient(ended.unwrap_err()).code, "denied");
    assert!(provider.requests().is_empty());
}

#[tokio::test]
async fn xt_2_a_secret_in_plain_sight_does_not_leave() {
    let provider = Provider::answering("{}").await;
    let stage = Stage::with_provider(&provider);
    let denied = stage.load("denied").await;
    for words in [
        format!("https://api.granted.example/v1/?key={KEY}"),
        format!("https://api.granted.example/v1/ {{\"note\":\"{KEY}\"}}"),
    ] {
        let cause = transient(denied.send(&channel(), &text(&words)).await.unwrap_err());
        assert_eq!(cause.code, "denied");
        assert!(!cause.message.contains(KEY), "{cause:?}");
    }
    assert!(provider.requests().is_empty());
}

#[tokio::test]
async fn xt_2_receive_can_do_nothing() {
    let stage = Stage::new();
    let denied = stage.load("denied").await;
    let inbound = denied.receive(&channel(), &hook("")).await.unwrap();
    let EventBody::Message(message) = &inbound.events[0].body else {
        panic!("not a message")
    };
    let Content::Text(tried) = &message.content[0] else {
        panic!("not a text")
    };
    assert_eq!(tried, r#"Err(ErrorKind::Denied) Err("unknown") Err("unavailable")"#);
}

#[tokio::test]
async fn xt_2_garbage_is_rejected() {
    let stage = Stage::new();
    let log = Log::capture();
    let garbage = stage.load("garbage").await;
    for (words, expected) in [
        ("", "events[1].key: two events of one hook have the same key"),
        (
            "nobody",
            "events[0].message.person.aliases: no alias but a handle, which can change hands",
        ),
        ("huge", "events[0].message.content[0].text: longer than 65536 bytes"),
    ] {
        let ended = garbage.receive(&channel(), &hook(words)).await;
        assert_eq!(ended, Err(CallError::Garbage(expected.to_owned())));
    }
    assert_eq!(
        garbage.send(&channel(), &text("a")).await,
        Err(CallError::Garbage("sent.id: is empty".to_owned()))
    );
    assert!(
        log.text()
            .contains("mantle::audit: An answer of the connector garbage was rejected")
    );
}
