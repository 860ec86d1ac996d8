//! Every measurement runs, small: what it prints here means nothing, that it comes to an honest end does.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use mantle_bench::{ack, call, roundtrip};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_are_counted_in_both_loops() -> Result<()> {
    let options = ack::Options {
        connections: 4,
        customers: 10,
        time: Duration::from_millis(300),
        warm_up: Duration::from_millis(100),
        rate: Some(20.0),
        inbox_works: false,
    };
    let measured = ack::run(&folder(), options).await?;
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
    }
    // Due every 50 ms, however long an answer takes.
    assert_eq!(measured[1].figures.acknowledged, 6, "{measured:?}");
    Ok(())
}

#[tokio::test]
async fn a_call_is_compared_with_the_same_code_run_natively() -> Result<()> {
    let measured = call::run(&folder(), call::Options { calls: 40, turn: 20 }).await?;
    let figures = &measured.figures;
    assert_eq!(figures.calls, 40);
    assert!(figures.sandboxed_us > 0.0 && figures.native_us > 0.0, "{figures:?}");
    let line = serde_json::to_value(&measured)?;
    assert!(line["ratio"].is_number() && line["syncs_per_second"].is_number() && line["cores"].is_number());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_round_trip_comes_once() -> Result<()> {
    let options = roundtrip::Options {
        connections: 4,
        customers: 5,
        messages: 15,
        rate: None,
    };
    let measured = roundtrip::run(&folder(), options).await?;
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
