//! One call into a connector: its fresh instance, its budgets, and how it ended.
//!
//! Invariants: a store serves one call and is dropped with it, however the call ends; CPU is looked at with every
//! epoch and yields to others while it is spent; wall clock is limited from outside, since epochs do not stop host
//! functions. A trap, a time-out or a limit ends as a value of [`CallError`].

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use mantle_model::clock::Clock;
use mantle_model::failure::{Cause, Failure};
use mantle_model::secret::Secret;
use wasmtime::component::ResourceTable;
use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use crate::admission::Place;
use crate::cpu::{Booked, Cpu};
use crate::leaks;
use crate::limits::{self, Limiter};
use crate::line::line;
use crate::plugin::Parts;
use crate::shelf::ShelfFile;
use crate::values::{CallError, ChannelContext, Crowd};

/// What kind of call it is: decides its budgets and whether it may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads, and does nothing else.
    Receive,
    Act,
    /// As `Act`, with credentials that are only tried: nothing of it is kept.
    Prove,
    /// As `Act`, and makes a message: cut short, nobody knows whether there is one.
    Send,
    /// As `Act`, with time for a large file.
    FetchMedia,
}

impl Kind {
    fn time_max(self) -> Duration {
        match self {
            Self::Receive => limits::RECEIVE_TIME_MAX,
            Self::Act | Self::Prove | Self::Send => limits::CALL_TIME_MAX,
            Self::FetchMedia => limits::MEDIA_TIME_MAX,
        }
    }

    fn cpu_max(self) -> Duration {
        match self {
            Self::Receive => limits::RECEIVE_CPU_MAX,
            Self::Act | Self::Prove | Self::Send | Self::FetchMedia => limits::CALL_CPU_MAX,
        }
    }
}

/// In whole milliseconds, for errors.
fn ms(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// What a store holds: everything that host functions need to know of their call.
pub(crate) struct CallState {
    /// Made when the guest first asks for it: most calls never do.
    wasi: Option<Wasi>,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) kind: Kind,
    pub(crate) parts: Arc<Parts>,
    pub(crate) channel: ChannelContext,
    /// Files of this call; a guest's id is the place in here plus one.
    files: Vec<ShelfFile>,
    cpu: Arc<Cpu>,
    host_calls: u32,
    pub(crate) http_calls: u32,
    pub(crate) log_lines: u32,
    /// A request that changes something at the provider may have arrived there.
    pub(crate) may_have_acted: bool,
}

/// The WASI of one call, without any right.
struct Wasi {
    ctx: WasiCtx,
    last_words: MemoryOutputPipe,
}

impl Wasi {
    fn new(clock: &Arc<dyn Clock>) -> Self {
        let last_words = MemoryOutputPipe::new(limits::STDERR_BYTES_MAX);
        let mut wasi = WasiCtx::builder();
        wasi.stderr(last_words.clone())
            .max_random_size(limits::RANDOM_BYTES_MAX)
            .wall_clock(HostClock(Arc::clone(clock)))
            .monotonic_clock(CoarseClock(Instant::now()))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        Self {
            ctx: wasi.build(),
            last_words,
        }
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi.get_or_insert_with(|| Wasi::new(&self.parts.clock));
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut self.table,
        }
    }
}

impl CallState {
    fn new(kind: Kind, parts: Arc<Parts>, channel: ChannelContext) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::RESOURCES_MAX);
        Self {
            wasi: None,
            table,
            limiter: Limiter::new(parts.memory_bytes_max),
            kind,
            parts,
            channel,
            files: Vec::new(),
            cpu: Arc::default(),
            host_calls: 0,
            http_calls: 0,
            log_lines: 0,
            may_have_acted: false,
        }
    }

    /// Counts a call of a host function.
    ///
    /// # Errors
    /// A trap, when the guest has used its calls up.
    pub(crate) fn count_host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > limits::HOST_CALLS_MAX {
            return Err(wasmtime::Error::msg(format!(
                "more than {} calls of host functions",
                limits::HOST_CALLS_MAX
            )));
        }
        Ok(())
    }

    /// The channel's secrets of this name, the one in use first. One that was never renewed is what somebody entered.
    pub(crate) fn secrets(&self, name: &str) -> &[Secret] {
        let held = self.channel.secrets.all(name);
        if !held.is_empty() {
            return held;
        }
        let first = self
            .parts
            .manifest
            .renewed(name)
            .and_then(|renewed| renewed.from.as_deref());
        first.map_or(&[], |field| self.channel.secrets.all(field))
    }

    /// Lends a file to the guest for this call. None when it holds too many.
    pub(crate) fn lend(&mut self, file: ShelfFile) -> Option<u32> {
        if self.files.len() >= limits::FILES_MAX {
            return None;
        }
        self.files.push(file);
        u32::try_from(self.files.len()).ok()
    }

    /// The file behind a guest's id.
    pub(crate) fn file(&self, id: u32) -> Option<&ShelfFile> {
        self.files.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }
}

/// The host's clock, for guests that read the time through WASI.
struct HostClock(Arc<dyn Clock>);

impl HostWallClock for HostClock {
    fn resolution(&self) -> Duration {
        limits::CLOCK_STEP
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.now().unix_ms()).unwrap_or(0))
    }
}

/// Time since the guest first asked for it, in steps of [`limits::CLOCK_STEP`].
struct CoarseClock(Instant);

impl HostMonotonicClock for CoarseClock {
    fn resolution(&self) -> u64 {
        u64::try_from(limits::CLOCK_STEP.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        let passed = u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        passed - passed % self.resolution()
    }
}

/// A call under way.
pub(crate) struct Call {
    pub(crate) store: Store<CallState>,
    _place: Place,
}

impl Call {
    pub(crate) fn new(kind: Kind, parts: Arc<Parts>, channel: ChannelContext, place: Place) -> Self {
        let engine = parts.engine.clone();
        let mut store = Store::new(&engine, CallState::new(kind, parts, channel));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(limits::HANDLES_MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            if state.cpu.used() >= state.kind.cpu_max() {
                return Ok(UpdateDeadline::Interrupt);
            }
            // Tokio's own yield puts the task behind the others; wasmtime's would have it polled again at once.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        Self { store, _place: place }
    }

    /// Lends a file for an argument of the call.
    ///
    /// # Errors
    /// The host handed in more files than a call may hold.
    pub(crate) fn lend(&mut self, file: ShelfFile) -> Result<u32, CallError> {
        let id = self.store.data_mut().lend(file);
        id.ok_or_else(|| CallError::Garbage(format!("a message with more than {} files", limits::FILES_MAX)))
    }

    /// Runs the guest within the budgets of its kind. Anything but the guest's own answer is logged here, once.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn run<T>(
        &mut self,
        guest: impl AsyncFnOnce(&mut Store<CallState>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let state = self.store.data();
        let (time_max, cpu) = (state.kind.time_max(), Arc::clone(&state.cpu));
        // A panic can only be one of a host function: the store that it happened in serves nobody else.
        let guest = AssertUnwindSafe(guest(&mut self.store)).catch_unwind();
        let ended = tokio::time::timeout(time_max, Booked::new(cpu, guest)).await;
        let error = match ended {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(error))) => self.classify(&error),
            Ok(Err(_)) => CallError::Trapped("a function of the host failed; its log says where".to_owned()),
            Err(_) => CallError::TimedOut(ms(time_max)),
        };
        let state = self.store.data();
        tracing::warn!(
            target: "mantle::audit",
            plugin = %state.parts.name,
            channel = %state.channel.channel,
            "A call of the connector {} was stopped: {error}",
            state.parts.name
        );
        Err(self.cut_short(error))
    }

    /// An error of a `send` that was cut short. Once a request may have reached the provider, nobody knows whether the
    /// message was made there, whatever the connector died of afterwards.
    pub(crate) fn cut_short(&self, error: CallError) -> CallError {
        let state = self.store.data();
        let is_cut = matches!(
            error,
            CallError::Trapped(_) | CallError::CpuExceeded(_) | CallError::TimedOut(_) | CallError::Garbage(_)
        );
        if is_cut && state.kind == Kind::Send && state.may_have_acted {
            return CallError::Provider(Failure::Unknown(Cause::new(
                "connector",
                format!("The connector was stopped after its request had left: {error}."),
            )));
        }
        error
    }

    fn classify(&self, error: &wasmtime::Error) -> CallError {
        let state = self.store.data();
        if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() {
            return CallError::Busy(Crowd::Host);
        }
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return CallError::CpuExceeded(ms(state.kind.cpu_max()));
        }
        let mut text = error.root_cause().to_string();
        if state.limiter.refused {
            text = format!(
                "it wanted more than {} MiB of memory ({text})",
                state.parts.memory_bytes_max >> 20
            );
        }
        if let Some(place) = self.panic_place() {
            text = format!("{text}, {place}");
        }
        if let Some(function) = error.downcast_ref::<WasmBacktrace>().and_then(innermost) {
            text = format!("{text}, in {function}");
        }
        // Names of functions are the guest's own words.
        let text = line(&text, limits::CRASH_BYTES_MAX);
        CallError::Trapped(leaks::scrub_text(&state.channel.secrets, &text))
    }

    /// Where a Rust guest panicked. Its words are left out: they may quote a customer.
    fn panic_place(&self) -> Option<String> {
        let words = self.store.data().wasi.as_ref()?.last_words.contents();
        let words = String::from_utf8_lossy(&words);
        let line = words.lines().find(|line| line.contains("panicked at "))?;
        let place = line.split_once("panicked at ")?.1.trim_end_matches(':');
        let place = place.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        Some(format!("panicked at {place}"))
    }
}

/// The innermost function with a name that is the connector's own.
fn innermost(backtrace: &WasmBacktrace) -> Option<String> {
    let own = |name: &&str| {
        !["panic", "abort", "rust_", "__rust", "core::", "std::", "alloc::"]
            .iter()
            .any(|part| name.contains(part))
    };
    let names = backtrace.frames().iter().filter_map(wasmtime::FrameInfo::func_name);
    names.filter(own).map(|name| name.chars().take(200).collect()).next()
}
