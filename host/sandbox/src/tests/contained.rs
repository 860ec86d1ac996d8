//! D1 to D5, D16 and D20: what a guest does to itself ends its call and nothing else.

use std::process::Command;
use std::time::Duration;

use mantle_model::inbound::{Content, EventBody};
use rustix::time::{ClockId, clock_gettime};

use super::stage::{Stage, channel, hook};
use super::wat::{self, module};
use crate::engine::Resources;
use crate::{CallError, Inbound, Plugin};

/// What the guest says that it got done.
fn said(inbound: &Inbound) -> &str {
    let EventBody::Message(message) = &inbound.events[0].body else {
        panic!("not a message: {inbound:?}")
    };
    let [Content::Text(text)] = message.content.as_slice() else {
        panic!("not a text: {inbound:?}")
    };
    text
}

async fn receive(plugin: &Plugin, words: &str) -> Result<Inbound, CallError> {
    plugin.receive(&channel(), &hook(words)).await
}

/// Runs the body of this test, the last part of its name, in a process of its own: what is measured of a process is
/// everybody's in it. The process's word for it is what it prints.
fn alone(test: &str, body: impl AsyncFnOnce()) {
    const ALONE: &str = "MANTLE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(body());
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::contained::{test}"), "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && words.contains("1 passed"),
        "{words}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// CPU that this thread has used.
fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

#[tokio::test]
async fn d1_whatever_traps_is_a_crash_with_a_reason() {
    let stage = Stage::new();
    let zero = "(i32.const 0)";
    for (items, body, reason) in [
        ("", "unreachable", "unreachable"),
        ("", "(i32.div_u (i32.const 1) (i32.const 0))", "divide by zero"),
        ("", "(i32.div_s (i32.const 0x80000000) (i32.const -1))", "overflow"),
        ("", "(i32.load (i32.const -4))", "out of bounds"),
        (
            "",
            "(i32.store (i32.const 65533) (i32.const 1)) (i32.const 0)",
            "out of bounds",
        ),
        ("", "(i32.trunc_f32_s (f32.const nan))", "conversion to integer"),
        (
            "(table 2 funcref)",
            "(call_indirect (result i32) (i32.const 1))",
            "uninitialized element",
        ),
        (
            "(table 2 funcref)",
            "(call_indirect (result i32) (i32.const 9))",
            "undefined element",
        ),
        (
            "",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (i32.const 0)",
            "out of bounds",
        ),
        (
            "(func $deep (result i32) (i32.add (i32.const 1) (call $deep)))",
            "(call $deep)",
            "call stack exhausted",
        ),
        // The place of the answer.
        ("", "(i32.const -8)", "out of bounds"),
        ("", "(i32.const 65535)", "not aligned"),
    ] {
        let plugin = wat::load(&stage, &module(items, body)).await;
        let ended = receive(&plugin, "hello").await;
        let Err(CallError::Trapped(text)) = &ended else {
            panic!("{body}: {ended:?}")
        };
        assert!(text.contains(reason), "{body}: {text}");
    }
    let good = wat::load(&stage, &module("", zero)).await;
    assert!(
        receive(&good, "hello").await.is_ok(),
        "what all these are made of is good"
    );
}

#[tokio::test]
async fn d2_however_it_spins_it_is_stopped_and_takes_short_turns() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    let spins = wat::load(&stage, &module("", "(loop (br 0)) (i32.const 0)")).await;
    let in_realloc = wat::with_realloc("", "(i32.const 0)", "(loop (br 0)) (i32.const 8)");
    let in_realloc = wat::load(&stage, &in_realloc).await;
    for (plugin, words) in [
        (&spins, "spin"),
        (&in_realloc, "spin where the host asks for memory"),
        (&hostile, "poll"),
        (&hostile, "clock"),
        (&hostile, "log-for-ever"),
    ] {
        let before = used();
        let mut turns = Vec::new();
        let call = receive(plugin, words);
        tokio::pin!(call);
        // One thread for both: what the thread works between two turns of the other is a turn of the guest.
        let ended = loop {
            let begun = used();
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => turns.push(used() - begun),
                ended = &mut call => break ended,
            }
        };
        let used = used() - before;
        assert_eq!(ended, Err(CallError::CpuExceeded(200)), "{words}");
        assert!(
            used < Duration::from_millis(400),
            "{words}: stopped after {used:?} of CPU"
        );
        turns.sort_unstable();
        // Of ten turns nine: the thread that ticks is late as well on a machine that is busy.
        let usual = turns.get(turns.len() * 9 / 10).copied().unwrap_or(Duration::MAX);
        assert!(
            usual < Duration::from_millis(20),
            "{words}: turns of {usual:?}, {} in all",
            turns.len()
        );
    }
}

#[tokio::test]
async fn d3_deep_recursion_and_what_is_too_much_for_the_host_are_crashes() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    assert_eq!(said(&receive(&hostile, "recurse 100").await.unwrap()), "100");
    let deep = receive(&hostile, "recurse 1000000000").await;
    assert!(matches!(deep, Err(CallError::Trapped(_))), "{deep:?}");

    // Half a million empty items fit into 8 MiB of the guest, and would be 24 MiB of the host.
    let answer = |place: u32, count: u32| {
        format!(
            "(drop (memory.grow (i32.const 120)))
             (i32.store offset=12 (i32.const 64) (i32.const {place}))
             (i32.store offset=16 (i32.const 64) (i32.const {count}))
             (i32.const 64)"
        )
    };
    let few = wat::load(&stage, &module("", &answer(131_072, 3))).await;
    assert_eq!(receive(&few, "").await.unwrap().malformed.len(), 3);
    for (count, reason) in [
        (480_000, "fuel"),
        (10_000_000, "out of bounds"),
        (u32::MAX, "out of bounds"),
    ] {
        let many = wat::load(&stage, &module("", &answer(131_072, count))).await;
        let Err(CallError::Trapped(text)) = receive(&many, "").await else {
            panic!("{count} items were taken")
        };
        assert!(text.contains(reason), "{count}: {text}");
    }

    // 5 MiB in one string.
    let long = receive(&hostile, "log-long 5000000").await;
    let Err(CallError::Trapped(text)) = long else {
        panic!("{long:?}")
    };
    assert!(text.contains("fuel"), "{text}");
    assert!(receive(&hostile, "log-long 1000000").await.is_ok());
}

#[tokio::test]
async fn d4_memory_and_tables_grow_to_their_limit_and_no_further() {
    // Once with the pool, whose slots are a limit of their own, and once without.
    for pools in [vec![Some(4)], vec![None]] {
        let stage = Stage::on(&Resources { pools });
        // The guest crashes by itself when it has got more than it may have, or refused what it may have.
        let memory = "
            (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))
            (if (i32.ne (memory.grow (i32.const 65000)) (i32.const -1)) (then unreachable))
            (block $full (loop
                (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
                (br 0)))
            (if (i32.ne (memory.size) (i32.const 128)) (then unreachable))
            (i32.const 0)";
        let ended = receive(&*wat::load(&stage, &module("", memory)).await, "").await;
        assert!(ended.is_ok(), "{ended:?}");

        let table = "
            (if (i32.eq (table.grow (ref.null func) (i32.const 10000)) (i32.const -1)) (then unreachable))
            (if (i32.ne (table.grow (ref.null func) (i32.const -1)) (i32.const -1)) (then unreachable))
            (block $full (loop
                (br_if $full (i32.eq (table.grow (ref.null func) (i32.const 1)) (i32.const -1)))
                (br 0)))
            (if (i32.ne (table.size) (i32.const 20000)) (then unreachable))
            (i32.const 0)";
        let ended = receive(&*wat::load(&stage, &module("(table 0 funcref)", table)).await, "").await;
        assert!(ended.is_ok(), "{ended:?}");
    }
}

#[tokio::test]
async fn d4_so_many_memories_tables_and_instances_are_refused() {
    let good = wat::component(&module("", "(i32.const 0)"));
    let modules = wasmparser::Parser::new(0)
        .parse_all(&good)
        .filter(|part| matches!(part, Ok(wasmparser::Payload::ModuleSection { .. })))
        .count();
    // Another module, made into so many instances, behind a connector that is good.
    let with = |text: &str, instances: usize| {
        let mut component = good.clone();
        wat::push_section(&mut component, 1, &wat::parse(text));
        let one = [&[0], &*wat::length(modules), &[0]].concat();
        let all = [&*wat::length(instances), &one.repeat(instances)].concat();
        wat::push_section(&mut component, 2, &all);
        component
    };
    for pools in [vec![Some(8)], vec![None]] {
        let stage = Stage::on(&Resources { pools });
        for (text, few, many) in [
            ("(module (memory 1))", 3, 1_000),
            ("(module (memory 1))", 3, 4),
            ("(module (table 1 funcref))", 6, 9),
            ("(module)", 20, 30),
        ] {
            let loaded = wat::try_load(&stage, &with(text, few)).await.unwrap();
            let ended = receive(&loaded, "").await;
            assert!(ended.is_ok(), "{few} of {text}: {ended:?}");
            // The pool refuses to load it, the limiter to run it.
            let refused = match wat::try_load(&stage, &with(text, many)).await {
                Err(_) => true,
                Ok(loaded) => matches!(receive(&loaded, "").await, Err(CallError::Trapped(_))),
            };
            assert!(refused, "{many} of {text}");
        }
    }
}

#[tokio::test]
async fn d5_handles_have_an_end() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    let leaked = receive(&hostile, "pollables").await;
    let Err(CallError::Trapped(text)) = leaked else {
        panic!("{leaked:?}")
    };
    assert!(text.contains("resource table"), "{text}");
}

#[test]
fn d4_d5_memory_and_files_of_the_host_stay_as_they_are() {
    alone("d4_d5_memory_and_files_of_the_host_stay_as_they_are", async || {
        let stage = Stage::new();
        let (hostile, traps) = (stage.load("hostile").await, stage.load("traps").await);
        let round = async || {
            for words in [
                "memory",
                "pollables",
                "recurse 1000000000",
                "random 60000",
                "log-long 5000000",
            ] {
                let _ = receive(&hostile, words).await;
            }
            let _ = receive(&traps, "boom").await;
        };
        for _ in 0..10 {
            round().await;
        }
        let (memory_kib, files) = (memory_kib(), open_files());
        // What every round takes would be 8 MiB and more each, were it kept.
        for _ in 0..50 {
            round().await;
        }
        let more_kib = self::memory_kib().saturating_sub(memory_kib);
        assert!(more_kib < 16 << 10, "{more_kib} KiB more than before");
        assert_eq!(open_files(), files);
    });
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn d16_nothing_survives_a_call() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    for _ in 0..5 {
        assert_eq!(said(&receive(&hostile, "remember").await.unwrap()), "1");
    }
    // Nor what stood in memory: the slot of the pool is another's next.
    let stage = Stage::on(&Resources { pools: vec![Some(1)] });
    let looks = "
        (if (i32.load (i32.const 512)) (then unreachable))
        (drop (memory.grow (i32.const 100)))
        (if (i32.load (i32.const 6000000)) (then unreachable))
        (i32.store (i32.const 512) (i32.const 1))
        (i32.store (i32.const 6000000) (i32.const 1))
        (i32.const 0)";
    let looks = wat::load(&stage, &module("", looks)).await;
    for _ in 0..5 {
        assert!(receive(&looks, "").await.is_ok());
    }
}

/// Shapes of what was published against the engine in 2025 and 2026: each is a crash, a refusal or an answer.
#[tokio::test]
async fn d20_what_was_published_is_refused_or_ends_its_call() {
    let stage = Stage::new();
    let hostile = stage.load("hostile").await;
    // Guest-sized allocations of WASI (CVE-2026-27204): 64 KiB of random bytes, no more.
    assert_eq!(said(&receive(&hostile, "random 65536").await.unwrap()), "65536");
    for words in ["random 65537", "insecure 65537", "random 1000000000000", "print 200000"] {
        let ended = receive(&hostile, words).await;
        let is_small = ended.as_ref().is_ok_and(|inbound| said(inbound) == "printed");
        assert!(
            is_small || matches!(ended, Err(CallError::Trapped(_))),
            "{words}: {ended:?}"
        );
    }
    // Strings and lists that do not lie in memory, memory that is given where there is none, texts that are no text.
    let string = |place: &str, bytes: &str| {
        format!(
            "(i32.store8 (i32.const 64) (i32.const 1))
             (i32.store offset=8 (i32.const 64) (i32.const {place}))
             (i32.store offset=12 (i32.const 64) (i32.const {bytes}))
             (i32.store8 (i32.const 512) (i32.const 0xff))
             (i32.const 64)"
        )
    };
    let table = "(table $a 20 funcref)";
    for (module, reason) in [
        (module("", &string("-16", "32")), "out of bounds"),
        (module("", &string("512", "2")), "utf-8"),
        (
            module("", "(i32.store8 (i32.const 64) (i32.const 7)) (i32.const 64)"),
            "discriminant",
        ),
        (wat::with_realloc("", "(i32.const 0)", "(i32.const -1)"), "realloc"),
        (wat::with_realloc("", "(i32.const 0)", "(i32.const 65530)"), "realloc"),
        // Tables that are filled, copied and read past their ends (CVE-2026-34946, CVE-2026-44216).
        (
            module(
                table,
                "(table.fill $a (i32.const 15) (ref.null func) (i32.const 10)) (i32.const 0)",
            ),
            "out of bounds",
        ),
        (
            module(
                table,
                "(table.copy $a $a (i32.const 5) (i32.const 0) (i32.const 16)) (i32.const 0)",
            ),
            "out of bounds",
        ),
        (
            module(table, "(drop (table.get $a (i32.const 20))) (i32.const 0)"),
            "out of bounds",
        ),
        (
            module(
                table,
                "(drop (table.grow $a (ref.null func) (i32.const 0x7fffffff))) unreachable",
            ),
            "unreachable",
        ),
        (
            module(
                "",
                "(v128.store (i32.const 65528) (f64x2.splat (f64.const 1))) (i32.const 0)",
            ),
            "out of bounds",
        ),
    ] {
        let plugin = wat::load(&stage, &module).await;
        let ended = receive(&plugin, "hello").await;
        let Err(CallError::Trapped(text)) = &ended else {
            panic!("{module}: {ended:?}")
        };
        assert!(text.to_lowercase().contains(reason), "{module}: {text}");
    }
    // A call whose future is dropped in its midst (GHSA-xjhv-v822-pf94).
    let spins = wat::load(&stage, &module("", "(loop (br 0)) (i32.const 0)")).await;
    let cut = tokio::time::timeout(Duration::from_millis(20), receive(&spins, "")).await;
    assert!(cut.is_err(), "{cut:?}");
    assert!(receive(&hostile, "remember").await.is_ok());
}

/// Every proposal that is off is refused before anything of it runs.
#[tokio::test]
async fn d20_proposals_that_are_off_are_refused() {
    let stage = Stage::new();
    let zero = "(i32.const 0)";
    let good = wat::component(&module("", zero));
    for text in [
        "(module (memory 1) (memory 1))",
        "(module (memory i64 1))",
        "(module (memory 1 1 shared))",
        "(module (memory 1 (pagesize 1)))",
        "(module (func $f (return_call $f)))",
        "(module (tag))",
        "(module (table 1 externref))",
        "(module (type (struct)))",
        "(module (type (array i8)))",
        "(module (type $f (func)) (func (param (ref $f))))",
        "(module (func (param i64 i64 i64 i64) (drop (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))) (drop)))",
        "(module (func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))))",
    ] {
        let mut component = good.clone();
        wat::push_section(&mut component, 1, &wat::parse(text));
        let problem = wat::try_load(&stage, &component).await.unwrap_err();
        assert!(problem.contains("cannot be compiled"), "{text}: {problem}");
    }
    let mut component = good;
    wat::push_section(&mut component, 1, &wat::parse("(module (func (param v128)))"));
    assert!(
        wat::try_load(&stage, &component).await.is_ok(),
        "what all these are added to is good"
    );
}
