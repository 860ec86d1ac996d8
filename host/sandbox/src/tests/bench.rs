//! What a fresh call costs. Not a test: `cargo test -p mantle-sandbox --release -- --ignored fresh_call --nocapture`.

use std::time::Instant;

use super::stage::{Stage, channel, hook};

#[tokio::test]
#[ignore = "a measurement"]
async fn fresh_call() {
    const CALLS: u32 = 5_000;
    let stage = Stage::new();
    let echo = stage.load("echo").await;
    let (channel, hook) = (channel(), hook("hello"));
    for _ in 0..500 {
        echo.receive(&channel, &hook).await.unwrap();
    }
    let begun = Instant::now();
    for _ in 0..CALLS {
        echo.receive(&channel, &hook).await.unwrap();
    }
    println!("{:?} a call", begun.elapsed() / CALLS);
}
