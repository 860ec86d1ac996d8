//! From a component to machine code: by a limited process of its own, or in this one.
//!
//! Invariants: whatever a component makes the compiler do ends within a time, as a sentence; with a process of its own
//! also within a memory that is not the host's. One component at a time. The process is this program, started by this
//! one over pipes of its own, so its machine code is taken as the compiler's; what lies on the disk is `cache`'s affair.

mod child;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use wasmtime::Engine;

use crate::limits;

pub use child::serve as serve_compiler;

/// How components are compiled. Clones take turns with each other.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: Option<Program>,
    time_max: Duration,
    memory_mib: u64,
    /// The memory of one is granted, not that of several.
    turn: Arc<Mutex<()>>,
}

/// What is started, with nothing in its environment.
#[derive(Debug, Clone)]
struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// What the process is told before the component: three numbers of eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    memory_mib: u64,
    seconds: u64,
    component_bytes: u64,
}

impl Order {
    const BYTES: usize = 24;

    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.memory_mib, self.seconds, self.component_bytes];
        numbers.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    fn read(bytes: [u8; Self::BYTES]) -> Self {
        let number = |place: usize| {
            let from = bytes.iter().skip(place * 8).take(8).rev();
            from.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        Self {
            memory_mib: number(0),
            seconds: number(1),
            component_bytes: number(2),
        }
    }
}

impl Compiler {
    /// In this process. It cannot be stopped there, only no longer waited for, and what it takes of memory stays with
    /// the allocator: for tests and tools that compile what they have built themselves.
    #[must_use]
    pub fn inside() -> Self {
        Self {
            program: None,
            time_max: limits::COMPILE_TIME_MAX,
            memory_mib: limits::COMPILE_MEMORY_MIB,
            turn: Arc::default(),
        }
    }

    /// By this program, which calls [`serve_compiler`] when it is started with these arguments. It must be of the same
    /// build as this one: other compiled code is refused.
    #[must_use]
    pub fn apart(path: PathBuf, arguments: Vec<OsString>) -> Self {
        Self {
            program: Some(Program { path, arguments }),
            ..Self::inside()
        }
    }

    /// With less (or more) than connectors need.
    #[must_use]
    pub fn limited(self, time_max: Duration, memory_mib: u64) -> Self {
        Self {
            time_max,
            memory_mib,
            ..self
        }
    }

    /// The machine code, as the engine takes it.
    ///
    /// # Errors
    /// A sentence about the component: what the compiler says, or which limit it ran into.
    pub(crate) async fn compile(&self, engine: &Engine, component: Vec<u8>) -> Result<Vec<u8>, String> {
        let _one_at_a_time = self.turn.lock().await;
        match &self.program {
            None => self.compile_inside(engine, component).await,
            Some(program) => self.compile_apart(program, &component).await,
        }
    }

    async fn compile_inside(&self, engine: &Engine, component: Vec<u8>) -> Result<Vec<u8>, String> {
        let engine = engine.clone();
        let compiling = tokio::task::spawn_blocking(move || engine.precompile_component(&component));
        match tokio::time::timeout(self.time_max, compiling).await {
            Ok(Ok(made)) => made.map_err(|error| format!("it cannot be compiled: {error:#}")),
            Ok(Err(_)) => Err("the compiler crashed on it".to_owned()),
            Err(_) => Err(self.took_too_long()),
        }
    }

    async fn compile_apart(&self, program: &Program, component: &[u8]) -> Result<Vec<u8>, String> {
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            // Secrets stand in the host's environment.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("the compiler cannot be started ({error})"))?;
        let order = Order {
            memory_mib: self.memory_mib,
            seconds: self.time_max.as_secs().max(1),
            component_bytes: component.len() as u64,
        };
        match tokio::time::timeout(self.time_max, talk(&mut child, order, component)).await {
            Ok(Ok(end)) => self.judge(end),
            Ok(Err(error)) => Err(format!("the compiler cannot be talked to ({error})")),
            Err(_) => {
                // Waited for as well, so that nothing of it is left.
                let _ = child.kill().await;
                Err(self.took_too_long())
            }
        }
    }

    fn judge(&self, end: End) -> Result<Vec<u8>, String> {
        if end.code.len() as u64 > limits::COMPILED_BYTES_MAX {
            return Err(format!(
                "it becomes more than {} MiB when it is compiled",
                limits::COMPILED_BYTES_MAX >> 20
            ));
        }
        if end.status.success() {
            return Ok(end.code);
        }
        let words = readable(&end.words);
        if words.contains(child::OUT_OF_MEMORY) || words.contains(child::ALLOCATION_FAILED) {
            return Err(format!(
                "the compiler ran out of its {} MiB; build a smaller component, in release and without debug information",
                self.memory_mib
            ));
        }
        match (end.status.code(), end.status.signal()) {
            (Some(code), _) if code == i32::from(child::REFUSED) => Err(format!("it cannot be compiled: {words}")),
            (_, Some(signal)) if signal == Signal::XCPU.as_raw() => Err(self.took_too_long()),
            // Nobody here has sent it.
            (_, Some(signal)) if signal == Signal::KILL.as_raw() => {
                Err("the compiler was killed: the machine may have run out of memory".to_owned())
            }
            _ => Err(format!("the compiler crashed on it ({}): {words}", end.status)),
        }
    }

    fn took_too_long(&self) -> String {
        format!(
            "it took longer than {} s to compile; build a smaller component, or give the host more of the processor",
            self.time_max.as_secs()
        )
    }
}

/// What the process leaves.
struct End {
    status: ExitStatus,
    code: Vec<u8>,
    /// Its standard error, as far as it is kept.
    words: Vec<u8>,
}

async fn talk(child: &mut Child, order: Order, component: &[u8]) -> std::io::Result<End> {
    let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    let tell = async {
        // One that ends before it has read all of it says why, or its status does.
        let _ = stdin.write_all(&order.to_bytes()).await;
        let _ = stdin.write_all(component).await;
        let _ = stdin.flush().await;
    };
    let hear = async {
        let mut code = Vec::new();
        let most = limits::COMPILED_BYTES_MAX + 1;
        stdout.take(most).read_to_end(&mut code).await.map(|_| code)
    };
    let listen = async {
        let mut words = Vec::new();
        let mut kept = (&mut stderr).take(limits::COMPILER_WORDS_BYTES_MAX);
        kept.read_to_end(&mut words).await?;
        // The rest is read as well: it must not wait for a reader.
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        std::io::Result::Ok(words)
    };
    let ((), code, words) = tokio::join!(tell, hear, listen);
    let status = child.wait().await?;
    // Open until here: its end tells the process that nobody waits for it any more.
    drop(stdin);
    Ok(End {
        status,
        code: code?,
        words: words?,
    })
}

/// On one line, and not long: parts of it are the component's own words.
fn readable(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    let words = words.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(limits::FAILURE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let order = Order {
            memory_mib: 1,
            seconds: u64::MAX,
            component_bytes: 0x0102_0304_0506_0708,
        };
        let bytes = order.to_bytes().try_into().unwrap();
        assert_eq!(Order::read(bytes), order);
    }

    #[test]
    fn words_are_kept_readable() {
        assert_eq!(readable(b"one\x1b[31m\r\n two\n"), "one [31m two");
        assert_eq!(readable("x".repeat(5_000).as_bytes()).len(), limits::FAILURE_CHARS_MAX);
    }
}
