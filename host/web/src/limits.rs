//! Every limit of the front, with its reason.

use std::time::Duration;

/// A head that takes longer is not a provider's. Also how long an idle connection is kept.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// Providers send some twenty headers, proxies add a handful.
pub const HEADERS_MAX: usize = 64;
/// Start line and headers together, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What is read from a connection at once, in bytes: room for a whole head.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Connections served at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 2_048;
/// No connection lives longer, so that a client that never reads its answer gives the place back.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_mins(15);
/// How long the requests under way may take to end once the host stops.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// A batch of provider events, in bytes; Meta's largest are below 3 MB.
pub const HOOK_BYTES_MAX: usize = 4 << 20;
/// Hooks under way at once: read, judged, stored. The writer commits so many in a fraction of a second.
pub const HOOKS_AT_ONCE: usize = 1_024;
/// Bytes of all of them together: what a flood may cost in memory, times the copies made on the way to the disk.
pub const HOOKS_BYTES_AT_ONCE: usize = 64 << 20;
/// How soon the sender of a refused hook may come again: several times what the hooks under way take.
pub const SHED_RETRY_AFTER: Duration = Duration::from_secs(10);

/// A hook that is not stored by then is answered 503: the provider comes again, and what is stored meanwhile is known then.
/// Longer than a commit waits for a lock of somebody else (5 s), shorter than providers wait.
pub const HOOK_TIME_MAX: Duration = Duration::from_secs(8);

/// A webhook of an inbox, in bytes: one conversation with its parts.
pub const INBOX_BYTES_MAX: usize = 4 << 20;
/// A call of the API, in bytes: text and settings, never files.
pub const API_BYTES_MAX: usize = 256 << 10;
/// A body that comes slower than this is not waited for, whatever its size.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(20);
/// The longest pause within a body.
pub const BODY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Providers fetch within seconds, but may hold a message back for hours (Twilio: four).
pub const MEDIA_LINK_LIFE: Duration = Duration::from_hours(24);
/// A week on, a message that did not arrive is better written anew: the customer would not understand it.
pub const RESEND_LINK_LIFE: Duration = Duration::from_hours(7 * 24);
/// Longer keys are a mistake of the caller.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Messages of one page of the list.
pub const PAGE_ROWS_MAX: u32 = 200;
/// Messages of one page when nobody says.
pub const PAGE_ROWS: u32 = 50;
/// The probe writes every other second; silence for longer means that messages are not kept now.
pub const PULSE_AGE_MAX: Duration = Duration::from_secs(10);
/// A writer or worker that has not moved for so long stands still for good: a slow disk takes seconds, not this. Worth
/// a new start, which costs less than a second.
pub const ALIVE_AGE_MAX: Duration = Duration::from_secs(30);
/// Counting what waits takes milliseconds; probes give up after a few seconds.
pub const BACKLOG_TIME_MAX: Duration = Duration::from_secs(2);
/// Below this much room on the disk, in bytes, no new messages are asked for: what is under way still has to be
/// written, and the write-ahead log grows while it is.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// The store's figures are read at most this often, however often the metrics are.
pub const FIGURES_EVERY: Duration = Duration::from_secs(2);
