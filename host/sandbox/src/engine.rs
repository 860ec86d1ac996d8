//! The engine: settings, pool, ticking epochs, and the linker that every connector shares.

use std::sync::Arc;

use mantle_egress::EgressConfig;
use mantle_model::clock::Clock;
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy, WasmFeatures};

use crate::bindings::Minimal;
use crate::cache::Cache;
use crate::call::CallState;
use crate::compile::Compiler;
use crate::limits;
use crate::load::LoadError;
use crate::plugin::Plugin;
use crate::shelf::Shelf;

/// The engine: has components compiled, caches, ticks the epochs. One per process.
pub struct Sandbox {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Compiled components are kept here, 0700.
    pub cache_dir: std::path::PathBuf,
    pub compiler: Compiler,
    pub egress: EgressConfig,
}

/// What all plugins have in common.
pub(crate) struct Shared {
    pub engine: Engine,
    pub linker: Linker<CallState>,
    pub cache: Cache,
    pub compiler: Compiler,
    pub shelf: Arc<dyn Shelf>,
    pub clock: Arc<dyn Clock>,
    pub egress: EgressConfig,
    /// Places for calls of all plugins.
    pub calls: Arc<Semaphore>,
    /// Places for calls of all plugins to providers.
    pub http_calls: Arc<Semaphore>,
}

/// What a machine gives the engine; tests take less.
pub(crate) struct Resources {
    /// Slots of the pool, in the order in which they are tried; none: memory on demand.
    pub pools: Vec<Option<u32>>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            pools: limits::POOL_SLOTS.into_iter().map(Some).chain([None]).collect(),
        }
    }
}

impl Sandbox {
    /// # Errors
    /// The engine cannot be built on this machine.
    pub fn new(config: SandboxConfig, shelf: Arc<dyn Shelf>, clock: Arc<dyn Clock>) -> Result<Self, LoadError> {
        Self::with(config, shelf, clock, &Resources::default())
    }

    pub(crate) fn with(
        config: SandboxConfig,
        shelf: Arc<dyn Shelf>,
        clock: Arc<dyn Clock>,
        resources: &Resources,
    ) -> Result<Self, LoadError> {
        let (engine, slots) = build(&resources.pools).map_err(LoadError)?;
        let calls_max = slots.unwrap_or(limits::CALLS_WITHOUT_POOL);
        let linker = link(&engine)
            .map_err(|error| LoadError(format!("the imports of connectors cannot be linked: {error:#}")))?;
        let cache = Cache::open(&config.cache_dir, &engine).map_err(LoadError)?;
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                linker,
                cache,
                compiler: config.compiler,
                shelf,
                clock,
                egress: config.egress,
                calls: Arc::new(Semaphore::new(calls_max as usize)),
                http_calls: Arc::new(Semaphore::new(limits::HTTP_CALLS_AT_ONCE)),
            }),
        })
    }

    /// Reads the manifest, decides the grants, compiles off the request path (or takes the cache) and type-checks.
    ///
    /// # Errors
    /// See [`LoadError`]. Nothing else stops.
    pub async fn load(&self, entry: crate::load::PluginEntry) -> Result<Arc<Plugin>, LoadError> {
        crate::load::load(&self.shared, entry).await.map(Arc::new)
    }
}

/// The engine with as large a pool as the machine can reserve, or without one, and its ticking thread. Answers with the
/// slots of the pool too.
pub(crate) fn build(pools: &[Option<u32>]) -> Result<(Engine, Option<u32>), String> {
    let mut problem = String::new();
    for slots in pools.iter().copied() {
        match Engine::new(&config(slots)) {
            Ok(engine) => {
                if Some(&slots) != pools.first() {
                    tracing::info!(
                        slots = slots.unwrap_or(0),
                        "The sandbox runs with a smaller pool: {problem}"
                    );
                }
                tick(&engine)?;
                return Ok((engine, slots));
            }
            Err(error) => problem = format!("{error:#}"),
        }
    }
    Err(format!("the sandbox cannot be set up on this machine: {problem}"))
}

/// An engine that runs nothing: without a pool, whose addresses a limited process does not get, and which makes no
/// difference to compiled code.
pub(crate) fn for_compiling() -> wasmtime::Result<Engine> {
    Engine::new(&config(None))
}

fn config(slots: Option<u32>) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .wasm_component_model(true)
        // Everything that compilers do not use by default is surface for attacks and nothing else. Threads, garbage
        // collection, exceptions and asynchronous components are not even compiled into this program.
        .wasm_shared_everything_threads(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false)
        // Without garbage collection what is left of these is types that nobody makes use of.
        .wasm_features(WasmFeatures::GC | WasmFeatures::FUNCTION_REFERENCES, false)
        .shared_memory(false)
        // A call has one task: without the book-keeping for more, a fresh instance costs half.
        .concurrency_support(false)
        .consume_fuel(false)
        .epoch_interruption(true)
        .max_wasm_stack(limits::WASM_STACK_BYTES_MAX)
        .async_stack_size(limits::CALL_STACK_BYTES)
        .native_unwind_info(false);
    if let Some(slots) = slots {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    }
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots * 4)
        .total_memories(slots)
        .total_tables(slots * 2)
        .total_stacks(slots)
        .max_memories_per_component(u32::try_from(limits::MEMORIES_MAX).unwrap_or(u32::MAX))
        .max_tables_per_component(u32::try_from(limits::TABLES_MAX).unwrap_or(u32::MAX))
        .max_core_instances_per_component(u32::try_from(limits::INSTANCES_MAX).unwrap_or(u32::MAX))
        .table_elements(limits::TABLE_ELEMENTS_MAX)
        .max_memory_size((limits::MEMORY_MIB_MAX as usize) << 20)
        .linear_memory_keep_resident(limits::KEEP_RESIDENT_BYTES)
        .table_keep_resident(limits::TABLE_KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(limits::WARM_SLOTS_MAX)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// A thread of its own: a task would starve exactly when guests keep all threads busy.
fn tick(engine: &Engine) -> Result<(), String> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("mantle-epochs".to_owned())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(limits::TICK);
            }
        })
        .map(drop)
        .map_err(|error| format!("the thread that limits the CPU of connectors cannot be started: {error}"))
}

fn link(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Minimal::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    Ok(linker)
}
