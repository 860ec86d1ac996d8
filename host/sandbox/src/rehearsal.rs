//! A component outside its channel: called by name, with values as JSON, and its imports answered by whoever rehearses.
//! For the tests of connector authors, in any language; no channel, no network, no store.
//!
//! Values are spelled as in `wit/`, with underscores: a record is an object, a case without a payload its name, one with
//! a payload `{"name": payload}`, an absent option null, a result `{"ok": …}` or `{"error": …}`.

mod json;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, ResourceTable, Val};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::engine::{Sandbox, Shared};
use crate::limits::{self, Limiter};
use crate::load::{self, LoadError};
use crate::manifest::Manifest;

/// Who answers what a component imports from `mantle:connector`.
pub trait Stage: Send {
    /// The interface and the function by their names in `wit/`, and what the function is given, by position. The answer
    /// is spelled as the function's result.
    ///
    /// # Errors
    /// The function is not played; the component's call ends with these words.
    fn asked(&mut self, interface: &str, function: &str, given: Vec<Value>) -> Result<Value, String>;
}

/// How a call ended that ended by itself.
#[derive(Debug)]
pub struct Played {
    pub value: Value,
    /// The most memory that the component had, in bytes.
    pub memory_bytes: usize,
    pub took: Duration,
}

/// How a call ended that the component or its limits cut off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CutOff(pub String);

/// By interface and function, with the interface's name in the component.
type Functions = BTreeMap<(String, String), (String, ComponentFunc)>;

/// One component, ready to be called.
pub struct Rehearsal {
    engine: Engine,
    component: Component,
    linker: Linker<State>,
    functions: Functions,
    memory_bytes_max: usize,
}

impl fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehearsal")
            .field("functions", &self.functions.keys())
            .finish_non_exhaustive()
    }
}

/// What a store of a rehearsal holds. The stage is lent to one call.
struct State {
    wasi: WasiCtx,
    last_words: MemoryOutputPipe,
    table: ResourceTable,
    limiter: Limiter,
    stage: Box<dyn Stage>,
    until: Instant,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Interfaces of ours are named with this in front and a version behind.
const PACKAGE: &str = "mantle:connector/";

impl Sandbox {
    /// Compiles the component, or takes it from the cache, for calls that are played.
    ///
    /// # Errors
    /// As [`Sandbox::load`], for what does not depend on an operator's entry.
    pub async fn rehearse(&self, component: &Path) -> Result<Rehearsal, LoadError> {
        let file = component.display().to_string();
        prepare(&self.shared, component)
            .await
            .map_err(|problem| LoadError(format!("{file}: {problem}")))
    }
}

async fn prepare(shared: &Arc<Shared>, path: &Path) -> Result<Rehearsal, String> {
    let bytes = load::read(path).await?;
    let manifest = Manifest::of_component(&bytes)?;
    let component = compiled(shared, bytes).await?;
    let linker =
        link(&shared.engine, &component).map_err(|error| format!("its imports cannot be played: {error:#}"))?;
    Ok(Rehearsal {
        engine: shared.engine.clone(),
        functions: exported(&shared.engine, &component),
        linker,
        component,
        memory_bytes_max: (manifest.memory_mib as usize) << 20,
    })
}

/// From the cache, or compiled.
async fn compiled(shared: &Arc<Shared>, bytes: Vec<u8>) -> Result<Component, String> {
    let digest = hex::encode(Sha256::digest(&bytes));
    if let Some(component) = shared.cache.find(&shared.engine, &digest) {
        return Ok(component);
    }
    let code = shared.compiler.compile(&shared.engine, bytes).await?;
    let kept = shared.cache.keep(&shared.engine, &digest, &code);
    kept.map_err(|error| format!("what the compiler made of it does not fit: {error}"))
}

/// `mantle:connector/http@1.0.0` → `http`
fn short(name: &str) -> Option<&str> {
    name.strip_prefix(PACKAGE)?.split('@').next()
}

fn exported(engine: &Engine, component: &Component) -> Functions {
    let mut functions = BTreeMap::new();
    for (name, item) in component.component_type().exports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) = (short(name), item.ty) else {
            continue;
        };
        for (function, item) in instance.exports(engine) {
            if let ComponentItem::ComponentFunc(ty) = item.ty {
                functions.insert((interface.to_owned(), function.to_owned()), (name.to_owned(), ty));
            }
        }
    }
    functions
}

fn link(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<State>> {
    let mut linker: Linker<State> = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    for (name, item) in component.component_type().imports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) = (short(name), item.ty) else {
            continue;
        };
        let mut played = linker.instance(name)?;
        for (function, item) in instance.exports(engine) {
            if let ComponentItem::ComponentFunc(_) = item.ty {
                let names = (interface.to_owned(), function.to_owned());
                played.func_new(function, move |mut store, ty, given, results| {
                    let given = given.iter().map(json::of).collect();
                    let stage = &mut store.data_mut().stage;
                    let answer = stage.asked(&names.0, &names.1, given).map_err(wasmtime::Error::msg)?;
                    answered(&ty, &answer, results).map_err(|problem| {
                        wasmtime::Error::msg(format!("the answer of {}.{}: {problem}", names.0, names.1))
                    })
                })?;
            }
        }
    }
    Ok(linker)
}

fn answered(ty: &ComponentFunc, answer: &Value, results: &mut [Val]) -> Result<(), String> {
    if let (Some(ty), Some(result)) = (ty.results().next(), results.first_mut()) {
        *result = json::to(&ty, answer)?;
    }
    Ok(())
}

impl Rehearsal {
    /// Whether the component exports the interface, by its name in `wit/`.
    #[must_use]
    pub fn exports(&self, interface: &str) -> bool {
        self.functions.keys().any(|(name, _)| name == interface)
    }

    /// Memory that a call may take, by the manifest, in bytes.
    #[must_use]
    pub fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }

    /// Calls the function in a fresh instance: 2 s of processor time.
    ///
    /// # Errors
    /// [`CutOff`]: a trap, a limit, a value that does not fit, a function that is not there.
    pub async fn call(
        &self,
        interface: &str,
        function: &str,
        given: &[Value],
        stage: Box<dyn Stage>,
    ) -> Result<Played, CutOff> {
        let key = (interface.to_owned(), function.to_owned());
        let Some((exported, ty)) = self.functions.get(&key) else {
            return Err(CutOff(format!("the component exports no {interface}.{function}")));
        };
        let values = ty
            .params()
            .zip(given)
            .map(|((name, ty), value)| json::to(&ty, value).map_err(|problem| CutOff(format!("{name}: {problem}"))))
            .collect::<Result<Vec<_>, _>>()?;
        let mut store = self.store(stage);
        let begun = Instant::now();
        let called = self.run(&mut store, (exported, function), &values).await;
        let took = begun.elapsed();
        match called {
            Ok(value) => Ok(Played {
                value,
                memory_bytes: store.data().limiter.memory_bytes(),
                took,
            }),
            Err(error) => Err(CutOff(words(store.data(), &error))),
        }
    }

    fn store(&self, stage: Box<dyn Stage>) -> Store<State> {
        let last_words = MemoryOutputPipe::new(limits::STDERR_BYTES_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::RESOURCES_MAX);
        let state = State {
            wasi: WasiCtx::builder()
                .stderr(last_words.clone())
                .max_random_size(limits::RANDOM_BYTES_MAX)
                .allow_tcp(false)
                .allow_udp(false)
                .build(),
            last_words,
            table,
            limiter: Limiter::new(self.memory_bytes_max),
            stage,
            until: Instant::now() + limits::CALL_CPU_MAX,
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(limits::HANDLES_MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            Ok(if Instant::now() >= store.data().until {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        store
    }

    async fn run(
        &self,
        store: &mut Store<State>,
        (exported, function): (&str, &str),
        given: &[Val],
    ) -> wasmtime::Result<Value> {
        let instance = self.linker.instantiate_async(&mut *store, &self.component).await?;
        let found = self
            .component
            .get_export_index(None, exported)
            .and_then(|place| self.component.get_export_index(Some(&place), function))
            .and_then(|place| instance.get_func(&mut *store, place));
        let Some(found) = found else {
            return Err(wasmtime::Error::msg("the function is not there"));
        };
        let mut results = [Val::Bool(false)];
        found.call_async(&mut *store, given, &mut results).await?;
        Ok(json::of(&results[0]))
    }
}

/// Why a call was cut off, with what the component said last.
fn words(state: &State, error: &wasmtime::Error) -> String {
    let last = state.last_words.contents();
    let last = String::from_utf8_lossy(&last);
    let memory = if state.limiter.refused {
        " (it asked for more memory than its manifest names)"
    } else {
        ""
    };
    match last.trim() {
        "" => format!("{}{memory}", error.root_cause()),
        last => format!("{}{memory}; it said: {last}", error.root_cause()),
    }
}
