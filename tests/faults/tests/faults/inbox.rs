//! C13 and C14: what the inbox shows lags behind, or looks alike.

use std::time::Duration;

use anyhow::Result;
use mantle_world::{Fault, intercom};

use crate::stage::{Setup, Stage};

/// What a search finds is as old as this.
const LAG: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c13_an_opening_without_an_answer_is_found_though_the_index_lags() -> Result<()> {
    let mut stage = Stage::telegram(Setup::default()).await?;
    stage.world.intercom.workspace(intercom::WORKSPACE).index_lag(LAG);
    stage.world.intercom.faults().next_on("create", Fault::ResetAfter);
    stage.all_say(1..2, &["opens".to_owned(), "follows".to_owned()]).await?;
    stage.assert_promises().await?;
    assert_eq!(stage.world.intercom.faults().waiting(), 0, "the fault was met");
    assert_eq!(
        stage
            .world
            .intercom
            .workspace(intercom::WORKSPACE)
            .conversations()
            .len(),
        1
    );
    Ok(())
}

/// Two honest "ok" in one second stay two, though the answer to the first was lost and one of them is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c14_two_equal_messages_of_one_second_both_arrive() -> Result<()> {
    for fault in [Fault::ResetAfter, Fault::Reset] {
        let mut stage = Stage::telegram(Setup::default()).await?;
        stage.all_say(1..2, &["before".to_owned()]).await?;
        stage.quiet().await?;
        // The customer's clock stands still, so both have the same second.
        let now = stage.world.scene().now_ms();
        stage.world.scene().set_clock(Some(now));
        stage.world.intercom.faults().next_on("reply", fault.clone());
        for _ in 0..2 {
            assert_eq!(stage.knock(1, "ok").await, Some(200));
        }
        stage.quiet().await?;
        assert_eq!(stage.world.intercom.faults().waiting(), 0, "the fault was met");
        let conversations = stage.world.intercom.workspace(intercom::WORKSPACE).conversations();
        let bodies: Vec<_> = conversations[0]
            .from_customer()
            .into_iter()
            .map(|part| part.body)
            .collect();
        assert_eq!(bodies, ["1 before", "ok", "ok"], "after {fault:?}");
    }
    Ok(())
}
