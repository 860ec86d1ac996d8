//! What each command does: it measures, prints its lines as they come and answers with them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use mantle_bench::memory::Line;
use mantle_bench::stage::Setup;
use mantle_bench::{ack, call, compare, drain, figures, memory, overload, recovery, retention, roundtrip};
use serde_json::Value;

use crate::all;
use crate::options::{
    AckOptions, Cli, CompareOptions, DrainOptions, Kept, MemoryOptions, OverloadOptions, RecoveryOptions,
    RetentionOptions, RoundtripOptions, What,
};

/// Calls of one kind before the other kind has its turn: long beside a clock's grain, short beside a machine's moods.
const TURN: u32 = 200;
/// After its start a host is left alone for so long before it counts as idle.
const SETTLE: Duration = Duration::from_secs(10);
/// Many times what an answer takes when a host is not overloaded.
const CALM: Duration = Duration::from_millis(250);
const MINUTE: Duration = Duration::from_secs(60);

pub fn run() -> Result<()> {
    let cli = Cli::parse();
    let program = match cli.mantle {
        Some(path) => path.canonicalize().with_context(|| format!("{}", path.display()))?,
        None => std::env::current_exe()?,
    };
    let bench = Bench {
        folder: cli.folder,
        setup: Setup::of(&program),
    };
    match cli.what {
        What::All(options) => all::run(&bench, &options),
        what => bench.measure(&what).map(drop),
    }
}

/// Where it is measured, and what. Each measurement prints its lines and answers with them.
pub struct Bench {
    folder: PathBuf,
    setup: Setup,
}

pub type Printed = Result<Vec<Value>>;

impl Bench {
    /// One measurement; none of [`What::All`], which is made of them.
    pub fn measure(&self, what: &What) -> Printed {
        match what {
            What::Ack(options) => self.ack(options),
            What::Call(options) => self.call(options.calls),
            What::ServeCompare(options) => self.compare(options),
            What::Roundtrip(options) => self.roundtrip(options),
            What::Drain(options) => self.drain(options),
            What::Recovery(options) => self.recovery(options),
            What::Memory(options) => self.memory(options),
            What::Overload(options) => self.overload(options),
            What::Retention(options) => self.retention(options),
            What::All(_) => Ok(Vec::new()),
        }
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn ack(&self, options: &AckOptions) -> Printed {
        let setup = options.on.setup(self.setup.clone())?;
        let time = Duration::from_secs_f64(options.seconds);
        let options = ack::Options {
            connections: options.connections,
            customers: options.customers.max(1),
            time,
            warm_up: time / 5,
            rate: options.rate,
            inbox_works: !options.inbox_down,
        };
        figures::print(&every_core()?.block_on(ack::run(self.folder(), &setup, options))?)
    }

    fn call(&self, calls: u32) -> Printed {
        let options = call::Options { calls, turn: TURN };
        let one = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        figures::print([&one.block_on(call::run(self.folder(), options))?])
    }

    fn compare(&self, options: &CompareOptions) -> Printed {
        let options = compare::Options {
            wasmtime: compare::find(options.wasmtime.as_deref())?,
            connections: options.connections,
            customers: options.customers.max(1),
            turns: options.turns.max(1),
            turn: Duration::from_secs_f64(options.seconds),
        };
        figures::print([&every_core()?.block_on(compare::run(self.folder(), &self.setup, &options))?])
    }

    fn roundtrip(&self, options: &RoundtripOptions) -> Printed {
        let setup = options.on.setup(self.setup.clone())?;
        let options = roundtrip::Options {
            connections: options.connections,
            customers: options.customers,
            messages: options.messages,
            rate: options.rate,
        };
        figures::print(&every_core()?.block_on(roundtrip::run(self.folder(), &setup, options))?)
    }

    fn drain(&self, options: &DrainOptions) -> Printed {
        let setup = options.on.setup(self.setup.clone())?;
        let options = drain::Options {
            connections: options.connections,
            customers: options.customers,
            backlog: options.messages,
            rate: options.rate,
            other_connections: (options.connections / 4).max(1),
        };
        figures::print(&every_core()?.block_on(drain::run(self.folder(), &setup, options))?)
    }

    fn recovery(&self, options: &RecoveryOptions) -> Printed {
        let work = Duration::from_secs_f64(options.seconds);
        if options.database == Kept::Postgres {
            let options = recovery::TakenOverOptions {
                connections: options.connections,
                customers: options.customers,
                rate: options.rate,
                work,
            };
            let measured = recovery::taken_over(self.folder(), &self.setup, options);
            return figures::print(&every_core()?.block_on(measured)?);
        }
        let options = recovery::Options {
            connections: options.connections,
            customers: options.customers,
            stored: options.stored,
            kills: options.kills.max(1),
            work,
        };
        figures::print(&every_core()?.block_on(recovery::run(self.folder(), &self.setup, options))?)
    }

    fn memory(&self, options: &MemoryOptions) -> Printed {
        let options = memory::Options {
            connections: options.connections,
            customers: options.customers,
            settle: SETTLE,
            burst: Duration::from_secs_f64(options.burst_seconds),
            rate: options.rate,
            steps: options.minutes.max(1),
            step: MINUTE,
        };
        // Lines are printed as they come: the last one comes minutes later.
        let printed = RefCell::new(Vec::new());
        let tell = |line: &Line| {
            let mut line = match line {
                Line::Idle(line) => figures::print([line])?,
                Line::Burst(line) => figures::print([line])?,
                Line::Step(line) => figures::print([line])?,
                Line::Soak(line) => figures::print([line])?,
            };
            printed.borrow_mut().append(&mut line);
            Ok(())
        };
        every_core()?.block_on(memory::run(self.folder(), &self.setup, options, tell))?;
        Ok(printed.into_inner())
    }

    fn overload(&self, options: &OverloadOptions) -> Printed {
        let options = overload::Options {
            connections: options.connections,
            sms_connections: (options.connections / 12).max(1),
            customers: options.customers,
            factor: options.factor,
            sms_rate: 100.0,
            measure: Duration::from_secs(3),
            flood: Duration::from_secs_f64(options.seconds),
            after: Duration::from_secs(15),
            calm: CALM,
        };
        figures::print(&every_core()?.block_on(overload::run(self.folder(), &self.setup, options))?)
    }

    fn retention(&self, options: &RetentionOptions) -> Printed {
        let options = retention::Options {
            stored: options.stored,
            connections: 64,
            customers: 1000,
            rate: options.rate,
            time: Duration::from_secs_f64(options.seconds),
        };
        figures::print(&every_core()?.block_on(retention::run(self.folder(), options))?)
    }
}

/// As `mantle serve` has it.
fn every_core() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
