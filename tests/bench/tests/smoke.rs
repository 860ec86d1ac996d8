//! Every measurement runs, small: what it prints here means nothing, that it comes to an honest end does.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use mantle_bench::memory::Line;
use mantle_bench::stage::{Database, Setup};
use mantle_bench::{ack, call, compare, drain, memory, overload, recovery, retention, roundtrip};
use tokio::sync::RwLock;

/// The flood has the machine to itself: beside it the others would come to nothing, and it beside them.
static MACHINE: RwLock<()> = RwLock::const_new(());

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// One host on SQLite: a process of the benchmark's own program.
fn setup() -> Setup {
    Setup::of(Path::new(env!("CARGO_BIN_EXE_mantle-bench")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_are_counted_in_both_loops() -> Result<()> {
    let _shared = MACHINE.read().await;
    let options = ack::Options {
        connections: 4,
        customers: 10,
        time: Duration::from_millis(300),
        warm_up: Duration::from_millis(100),
        rate: Some(20.0),
        inbox_works: false,
    };
    let measured = ack::run(&folder(), &setup(), options).await?;
    let names: Vec<&str> = measured.iter().map(|measurement| measurement.measurement).collect();
    assert_eq!(names, ["ack.closed", "ack.open"]);
    for measurement in &measured {
        let figures = &measurement.figures;
        assert!(figures.acknowledged > 0 && figures.refused == 0, "{figures:?}");
        assert!(
            figures.latency.p50_ms > 0.0 && figures.latency.p50_ms <= figures.latency.max_ms,
            "{figures:?}"
        );
        assert!(measurement.surroundings.syncs_per_second > 0.0);
        let cpu = figures.cpu_us_per_message;
        assert!(cpu.host > 0.0 && cpu.load > 0.0 && cpu.database.is_none(), "{cpu:?}");
    }
    // Due every 50 ms, however long an answer takes.
    assert_eq!(measured[1].figures.acknowledged, 6, "{measured:?}");
    Ok(())
}

#[tokio::test]
async fn a_call_is_compared_with_the_same_code_run_natively() -> Result<()> {
    let _shared = MACHINE.read().await;
    let measured = call::run(&folder(), call::Options { calls: 40, turn: 20 }).await?;
    let figures = &measured.figures;
    assert_eq!(figures.calls, 40);
    assert!(figures.sandboxed_us > 0.0 && figures.native_us > 0.0, "{figures:?}");
    let line = serde_json::to_value(&measured)?;
    assert!(line["ratio"].is_number() && line["syncs_per_second"].is_number() && line["cores"].is_number());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_webhook_is_compared_with_wasmtime_serve() -> Result<()> {
    let _shared = MACHINE.read().await;
    // Built in any case: it must not rot where nobody compares.
    tokio::task::spawn_blocking(mantle_components::build_compared).await??;
    let named = std::env::var_os("MANTLE_WASMTIME").map(PathBuf::from);
    let wasmtime = match compare::find(named.as_deref()) {
        Ok(path) => path,
        Err(missing) => {
            eprintln!("skipped: the comparison with wasmtime serve; {missing}");
            return Ok(());
        }
    };
    let options = compare::Options {
        wasmtime,
        connections: 4,
        customers: 8,
        turns: 2,
        turn: Duration::from_millis(300),
    };
    let measured = compare::run(&folder(), &setup(), &options).await?;
    let figures = &measured.figures;
    assert_eq!(
        (
            figures.mantle.turns_per_second.len(),
            figures.wasmtime_serve.turns_per_second.len()
        ),
        (2, 2)
    );
    assert!(
        figures.ratio > 0.0 && figures.wasmtime_serve.per_second > 0.0,
        "{figures:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_round_trip_comes_once() -> Result<()> {
    let _shared = MACHINE.read().await;
    let options = roundtrip::Options {
        connections: 4,
        customers: 5,
        messages: 15,
        rate: None,
    };
    let measured = roundtrip::run(&folder(), &setup(), options).await?;
    let calls: Vec<f64> = measured
        .iter()
        .map(|measurement| measurement.figures.inbox_calls_per_message)
        .collect();
    assert_eq!(measured.len(), 2);
    // The first message makes a contact and a conversation; those that follow are one call each.
    assert!(calls[0] >= 3.0 && calls[1] < 2.0, "{calls:?}");
    assert!(measured[1].figures.latency.p50_ms > 0.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hosts_on_postgres_carry_each_message_once_and_in_order() -> Result<()> {
    let _shared = MACHINE.read().await;
    let setup = setup().on(Database::Postgres, 3);
    let options = roundtrip::Options {
        connections: 6,
        customers: 6,
        messages: 60,
        rate: None,
    };
    let measured = roundtrip::run(&folder(), &setup, options).await?;
    // Nothing where there is no PostgreSQL; a line says so.
    if let [_, known] = measured.as_slice() {
        assert_eq!((known.figures.hosts, known.figures.messages), (3, 60));
        let cpu = known.figures.cpu_us_per_message;
        assert!(cpu.database.is_some_and(|database| database > 0.0), "{cpu:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_a_backlog_comes_whole_and_in_order_when_the_inbox_is_back() -> Result<()> {
    let _shared = MACHINE.read().await;
    let options = drain::Options {
        connections: 4,
        customers: 8,
        backlog: 40,
        rate: 20.0,
        other_connections: 2,
    };
    let measured = drain::run(&folder(), &setup(), options).await?;
    let figures = &measured[0].figures;
    assert_eq!(figures.backlog, 40);
    assert!(figures.others.messages > 0 && figures.per_second > 0.0, "{figures:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_a_killed_host_is_back_with_everything_in_order() -> Result<()> {
    let _shared = MACHINE.read().await;
    let options = recovery::Options {
        connections: 4,
        customers: 8,
        stored: 500,
        kills: 2,
        work: Duration::from_millis(500),
    };
    let measured = recovery::run(&folder(), &setup(), options).await?;
    let figures = &measured[0].figures;
    assert_eq!((figures.kills, figures.stored_messages), (2, 500));
    assert!(
        figures.kill_to_effect_ms >= figures.start_to_effect_ms && figures.start_to_effect_ms > 0.0,
        "{figures:?}"
    );
    assert!(figures.acknowledged > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_b5_lanes_of_a_killed_host_are_taken_over() -> Result<()> {
    let _shared = MACHINE.read().await;
    let options = recovery::TakenOverOptions {
        connections: 4,
        customers: 8,
        rate: 40.0,
        work: Duration::from_millis(500),
    };
    let measured = recovery::taken_over(&folder(), &setup(), options).await?;
    for measurement in &measured {
        let figures = &measurement.figures;
        assert!(figures.held_lanes > 0, "{figures:?}");
        // Not before the lease has ended: two hosts at one lane would be worse than a wait.
        assert!(figures.kill_to_effect_seconds > 5.0, "{figures:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_memory_is_told_idle_under_load_and_over_time() -> Result<()> {
    let _shared = MACHINE.read().await;
    let options = memory::Options {
        connections: 4,
        customers: 8,
        settle: Duration::from_millis(200),
        burst: Duration::from_millis(500),
        rate: 20.0,
        steps: 3,
        step: Duration::from_millis(300),
    };
    let names = Mutex::new(Vec::new());
    let tell = |line: &Line| {
        let (name, rss_kib) = match line {
            Line::Idle(line) => (line.measurement, line.figures.footprint.rss_kib),
            Line::Burst(line) => (line.measurement, line.figures.rss_max_kib),
            Line::Step(line) => (line.measurement, line.figures.footprint.rss_kib),
            Line::Soak(line) => (line.measurement, line.figures.rss_max_kib),
        };
        assert!(rss_kib > 0, "{line:?}");
        names.lock().ok().context("a poisoned lock")?.push(name);
        Ok(())
    };
    memory::run(&folder(), &setup(), options, tell).await?;
    let minute = "memory.minute";
    assert_eq!(
        names.into_inner()?,
        ["memory.idle", "memory.burst", minute, minute, minute, "memory.soak"]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_a_flood_is_refused_in_order_and_loses_nothing_acknowledged() -> Result<()> {
    let _alone = MACHINE.write().await;
    let options = overload::Options {
        // More than the 614 hooks of WhatsApp that the host takes at once.
        connections: 640,
        sms_connections: 40,
        customers: 64,
        factor: 40.0,
        sms_rate: 60.0,
        measure: Duration::from_millis(500),
        flood: Duration::from_millis(1500),
        after: Duration::from_secs(20),
        // In a debug build, on any machine.
        calm: Duration::from_secs(10),
    };
    let measured = overload::run(&folder(), &setup(), options).await?;
    let figures = &measured[0].figures;
    assert!(
        figures.whatsapp.acknowledged > 0 && figures.rss_max_kib > 0,
        "{figures:?}"
    );
    assert!(figures.recovered_after_seconds < 20.0, "{figures:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_acks_are_measured_while_old_rows_go() -> Result<()> {
    let _shared = MACHINE.read().await;
    let options = retention::Options {
        stored: 2_000,
        connections: 4,
        customers: 10,
        rate: 20.0,
        time: Duration::from_millis(500),
    };
    let measured = retention::run(&folder(), options).await?;
    let rows: Vec<u64> = measured
        .iter()
        .map(|measurement| measurement.figures.rows_gone)
        .collect();
    assert!(rows[0] == 0 && rows[1] > 0, "{rows:?}");
    Ok(())
}
