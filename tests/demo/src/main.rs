//! `cargo demo`: the whole product on this machine, with stand-ins for the providers and Intercom.
//!
//! Builds connectors and host, starts the world and `mantle serve` as a child, connects a workspace and three channels
//! through the API, and shows one page: the customer's phone on the left, the inbox on the right. `--once` plays the
//! round trip as a script instead. Knows the host only from outside: its configuration file, its API, its hooks.

mod host;
mod page;
mod script;
mod stage;
mod tell;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use mantle_world::World;
use tokio::signal::unix::{SignalKind, signal};

use crate::host::Host;
use crate::stage::Stage;

/// Mantle on this machine: a customer's phone, an inbox, and everything between them.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", version)]
struct Arguments {
    /// Play the round trip as a script; exit code 0 only if every message arrived exactly once.
    #[arg(long)]
    once: bool,
    /// Open the page in a browser.
    #[arg(long)]
    open: bool,
    /// Port of the page.
    #[arg(long, default_value_t = 4600)]
    port: u16,
    /// Start the stand-ins and the page alone; the redirects printed point a host of your own at them.
    #[arg(long)]
    without_host: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell::failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    tell::title("Mantle demo");
    let world = World::start().await.context("starting the stand-ins")?;
    for line in world.unchecked() {
        tell::note(&line);
    }
    let stage = Stage::new(world);
    if arguments.without_host {
        for line in stage.world().redirects_toml().lines() {
            tell::note(line);
        }
        page::serve(stage, arguments.port, arguments.open).await?;
        return Ok(true);
    }
    let binary = host::build().await?;
    let mut host = Host::start(&binary, stage.world()).await?;
    let played = tokio::select! {
        biased;
        told = told_to_end() => told.map(|()| !arguments.once),
        played = play(&arguments, stage, &host) => played,
    };
    host.stop().await;
    if played.is_err() {
        host.show_log();
    }
    played
}

/// Ctrl-C, or a polite kill: the host is a child of its own and must not outlive the demo.
async fn told_to_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("Ctrl-C cannot be listened for"),
        _ = terminate.recv() => Ok(()),
    }
}

async fn play(arguments: &Arguments, stage: Stage, host: &Host) -> anyhow::Result<bool> {
    stage.connect(host).await?;
    if !arguments.once {
        page::serve(stage, arguments.port, arguments.open).await?;
        return Ok(true);
    }
    let complete = script::play(&stage).await?;
    if !complete {
        host.show_log();
    }
    Ok(complete)
}
