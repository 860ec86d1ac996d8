//! C10 and C15: certificates and HTTP/2 that are not what they should be.

use anyhow::Result;

use crate::stage::{Setup, Stage};
use crate::tls::{Manner, TlsRoad};

const API: &str = "https://api.intercom.io";

/// Messages that meet each manner wait, for the reason given, and arrive once when the road is good again.
async fn waits_behind(manners: &[(Manner, &str)]) -> Result<()> {
    let world = mantle_world::World::start().await?;
    let target = world.redirects().iter().find(|(origin, _)| origin == API);
    let address = target
        .map(|(_, to)| to.trim_start_matches("http://").parse())
        .unwrap()?;
    let mut road = TlsRoad::before(address).await?;
    let mut stage = Stage::telegram(Setup {
        detours: vec![(API.to_owned(), road.origin.clone())],
        world: Some(world),
        variables: vec![("SSL_CERT_FILE".to_owned(), road.authority.display().to_string())],
        ..Setup::default()
    })
    .await?;
    stage.all_say(1..2, &["before".to_owned()]).await?;
    stage.quiet().await?;
    for (manner, reason) in manners {
        road.turns(*manner);
        stage.all_say(1..2, &[format!("during {manner:?}")]).await?;
        stage.waits_because(reason).await?;
        road.turns(Manner::Honest);
        stage.quiet().await?;
    }
    road.turns(manners[0].0);
    stage.all_say(1..2, &["the last".to_owned()]).await?;
    road.met_again().await?;
    road.turns(Manner::Honest);
    stage.assert_promises().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_bad_certificates_are_refused_and_told_apart() -> Result<()> {
    waits_behind(&[
        (Manner::Expired, "its certificate has expired"),
        (Manner::SelfSigned, "not signed by a known authority"),
        (Manner::WrongName, "its certificate is for another name"),
        (Manner::Old, "no common secure protocol"),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c15_a_server_that_goes_away_resets_or_says_nothing_without_end_costs_no_message() -> Result<()> {
    waits_behind(&[
        (Manner::GoAway, "Intercom gave no answer"),
        (Manner::Resets, "Intercom gave no answer"),
        (Manner::Empties, "Intercom gave no answer"),
    ])
    .await
}
