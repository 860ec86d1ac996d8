//! Every limit of the room, with its unit and its reason, and the limiter that sums a guest's memories.

use std::time::Duration;

use wasmtime::{ResourceLimiter, Result};

/// A larger component is refused before it is read: a Rust connector has 150 KiB, one with an embedded Python 18 MiB.
pub(crate) const COMPONENT_BYTES_MAX: u64 = 48 << 20;
/// A manifest is a page of text.
pub(crate) const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// Compiling 18 MiB of Python takes up to 20 s on a small machine.
pub(crate) const COMPILE_TIME_MAX: Duration = Duration::from_secs(180);
/// Address space of a process that compiles, the program itself included, in MiB: 18 MiB of
/// Python take 434, a Rust connector 176, of which the program itself is more than 100.
pub(crate) const COMPILE_MEMORY_MIB: u64 = 1_024;
/// Machine code of one component: 2.5 times as long as a component of Rust, and held in memory while it is kept.
pub(crate) const COMPILED_BYTES_MAX: u64 = 160 << 20;
/// What is kept of the words of a process that compiles.
pub(crate) const COMPILER_WORDS_BYTES_MAX: u64 = 4 << 10;

/// How often the epoch moves: how often a guest's CPU is looked at, and the most that it may go over its budget.
pub(crate) const TICK: Duration = Duration::from_millis(5);
/// CPU of `receive`: the provider waits for its answer, and reading JSON takes microseconds.
pub(crate) const RECEIVE_CPU_MAX: Duration = Duration::from_millis(200);
/// CPU of every other call.
pub(crate) const CALL_CPU_MAX: Duration = Duration::from_secs(2);
/// Wall clock of `receive`: providers give up after 5 to 15 s.
pub(crate) const RECEIVE_TIME_MAX: Duration = Duration::from_secs(3);
/// Wall clock of every other call.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// Wall clock of fetching an inbound file: 100 MiB at 350 KiB/s.
pub(crate) const MEDIA_TIME_MAX: Duration = Duration::from_secs(300);

/// Memory of one call when neither the manifest nor the operator says otherwise, in MiB.
pub(crate) const MEMORY_MIB_DEFAULT: u32 = 32;
/// The most that may be asked for, in MiB: what an embedded Python needs. Also the size of a slot of the pool.
pub(crate) const MEMORY_MIB_MAX: u32 = 128;
/// Linear memories of one call.
pub(crate) const MEMORIES_MAX: usize = 4;
/// Tables of one call.
pub(crate) const TABLES_MAX: usize = 8;
/// Core instances of one call: a component wraps its module in a few small ones.
pub(crate) const INSTANCES_MAX: usize = 24;
/// Elements of one table; the pool reserves them.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Bytes that one import or export may carry from the guest to the host.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 4 << 20;
/// Handles of resources that a guest may hold.
pub(crate) const HANDLES_MAX: usize = 1_000;
/// Entries of the WASI resource table.
pub(crate) const RESOURCES_MAX: usize = 256;
/// The finest step of the clock that a guest sees: timing the host's other work takes finer ones.
pub(crate) const CLOCK_STEP: Duration = Duration::from_millis(1);
/// Stack of a guest, in bytes: a deeper recursion is a trap.
pub(crate) const WASM_STACK_BYTES_MAX: usize = 512 << 10;
/// Stack of a call, in bytes: the guest's and, above it, at least 1 MiB for host functions. They run on the same stack,
/// and where they overran it the process would be aborted.
pub(crate) const CALL_STACK_BYTES: usize = 2 << 20;
/// Random bytes for one request.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// What is kept of a guest's last words, to find the place of a panic.
pub(crate) const STDERR_BYTES_MAX: usize = 4 << 10;

/// Slots of the pool, tried in this order; a machine that cannot reserve the address space takes fewer, then none.
pub(crate) const POOL_SLOTS: [u32; 2] = [1_000, 100];
/// Memory that a slot keeps between two calls, so that a small guest causes no page faults.
pub(crate) const KEEP_RESIDENT_BYTES: usize = 256 << 10;
/// Of each of its tables: a connector has some hundred functions, and giving a page back costs more than clearing it.
pub(crate) const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// Slots kept warm though nobody uses them.
pub(crate) const WARM_SLOTS_MAX: u32 = 100;

/// Calls of one plugin under way at once: a busy channel must not take the machine from the others.
pub(crate) const CALLS_PER_PLUGIN: usize = 64;
/// Calls of one plugin that wait for their turn; each holds a hook or a message of some MiB at most.
pub(crate) const CALLS_WAITING_MAX: usize = 256;
/// Calls of all plugins under way at once where there is no pool, whose slots say it otherwise: with 32 MiB each they
/// take no more than a small machine has.
pub(crate) const CALLS_WITHOUT_POOL: u32 = 100;
/// How long a call waits for its turn.
pub(crate) const ADMISSION_WAIT: Duration = Duration::from_secs(1);

/// Calls of host functions, log lines aside, in one guest call.
pub(crate) const HOST_CALLS_MAX: u32 = 1_000;
/// Calls to the provider in one guest call.
pub(crate) const HTTP_CALLS_MAX: u32 = 20;
/// Calls to providers under way at once, of all plugins together: each holds a socket, of which a process has some
/// thousand for everything.
pub(crate) const HTTP_CALLS_AT_ONCE: usize = 256;
/// How long a call to a provider waits for one of them.
pub(crate) const HTTP_PLACE_WAIT: Duration = Duration::from_secs(5);
/// Timeout of a call to the provider when the guest names none.
pub(crate) const HTTP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The longest timeout that a guest may name.
pub(crate) const HTTP_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// A provider's answer that goes into guest memory.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Header names and values of a provider's answer.
pub(crate) const ANSWER_HEADER_BYTES_MAX: usize = 32 << 10;
/// A file that is downloaded.
pub(crate) const DOWNLOAD_BYTES_MAX: u64 = 100 << 20;
/// What is kept of the answer when a download is refused.
pub(crate) const DOWNLOAD_REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Parts of a multipart body.
pub(crate) const PARTS_MAX: usize = 32;
/// Files that one guest call may hold.
pub(crate) const FILES_MAX: usize = 64;
/// Bytes of one `media.read`.
pub(crate) const MEDIA_READ_BYTES_MAX: u32 = 65_536;
/// Parts that are sorted with a secret: providers sort three or four.
pub(crate) const SORTED_PARTS_MAX: usize = 8;
/// Bytes of a key in the channel's store.
pub(crate) const KV_KEY_BYTES_MAX: usize = 256;
/// Bytes of a value in the channel's store.
pub(crate) const KV_VALUE_BYTES_MAX: usize = 16 << 10;
/// Log lines of one guest call.
pub(crate) const LOG_LINES_MAX: u32 = 200;
/// Log lines of one plugin in a second, all its calls together: a line for each hook of a busy channel.
pub(crate) const LOG_LINES_PER_SECOND: u64 = 200;
/// Log lines that a plugin may write at once after a quiet time.
pub(crate) const LOG_LINES_BURST: u64 = 2_000;
/// Bytes of one log line.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4 << 10;

/// Events of one `receive`: the largest batch that a provider sends in one hook (WhatsApp: 1,000 updates), with room.
pub(crate) const EVENTS_MAX: usize = 2_000;
/// Pieces of one message.
pub(crate) const CONTENT_MAX: usize = 100;
/// Bytes of one text.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;
/// Bytes of an id that a provider or connector names.
pub(crate) const ID_BYTES_MAX: usize = 1_024;
/// Bytes of `attachment.source`.
pub(crate) const SOURCE_BYTES_MAX: usize = 4_096;
/// Bytes of a name, title or summary; longer ones are cut, since customers choose them.
pub(crate) const LABEL_BYTES_MAX: usize = 1_024;
/// Names of one person.
pub(crate) const ALIASES_MAX: usize = 20;
/// Bytes of what is told of a crash.
pub(crate) const CRASH_BYTES_MAX: usize = 1_024;
/// Characters of an error message of a connector.
pub(crate) const FAILURE_CHARS_MAX: usize = 300;
/// Bytes of an answer to a hook.
pub(crate) const HOOK_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Notices of one report.
pub(crate) const NOTICES_MAX: usize = 50;
/// Pages of templates that are asked for.
pub(crate) const TEMPLATE_PAGES_MAX: usize = 50;
/// Templates of one account.
pub(crate) const TEMPLATES_MAX: usize = 5_000;
/// Equal messages that a look for a lost one may show: more of the same words to one person are no conversation.
pub(crate) const FOUND_MAX: usize = 50;
/// Bytes of a value of the set-up form.
pub(crate) const FIELD_BYTES_MAX: usize = 8 << 10;
/// Bytes of a handshake's echoed word.
pub(crate) const CHALLENGE_BYTES_MAX: usize = 1_024;
/// Shorter secrets are not searched for: they are words that people chose, and would be found in honest texts.
pub(crate) const LEAK_BYTES_MIN: usize = 16;
/// Secrets that are kept of one answer: a token, the one that renews it, and room.
pub(crate) const KEPT_MAX: usize = 4;
/// Bytes of a renewed secret: the longest tokens have two or three KiB, and a header takes no more than this.
pub(crate) const KEPT_BYTES_MAX: usize = 8 * 1024;

/// Sums all memories of a call: wasmtime's own limit is for each memory.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    /// Whether the guest asked for more than it may have.
    pub(crate) refused: bool,
}

impl Limiter {
    pub(crate) fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max,
            refused: false,
        }
    }

    /// All memories together. They never shrink.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_summed() -> Result<()> {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None)?);
        assert!(limiter.memory_growing(0, 40, None)?);
        assert!(!limiter.refused);
        assert!(!limiter.memory_growing(40, 41, None)?);
        assert!(limiter.refused);
        Ok(())
    }
}
