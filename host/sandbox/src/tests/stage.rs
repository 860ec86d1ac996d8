//! What the tests stand on: built guests, a shelf in memory, a provider on the loopback, a captured log.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mantle_egress::{ByteStream, EgressConfig};
use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, MediaId};
use mantle_model::inbound::{Alias, AliasKind};
use mantle_model::outbound::{Outgoing, OutgoingContent};
use mantle_model::secret::{Secret, Secrets};
use mantle_model::text::RichText;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::engine::Resources;
use crate::{
    ChannelContext, Compiler, Grants, Plugin, PluginEntry, Sandbox, SandboxConfig, Shelf, ShelfError, ShelfFile,
};

/// The secret of every channel here.
pub const KEY: &str = "sk-0123456789-abcdefghij";

/// Values that the shelf takes, of all channels together.
pub const VALUES_MAX: usize = 8;

/// The key that the shelf panics at.
pub const POISON: &str = "poison";

/// Builds the guests once and answers with the file of one.
pub fn guest(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| mantle_components::build_guests().unwrap());
    folder.join(format!("{name}.wasm"))
}

pub fn entry(name: &str) -> PluginEntry {
    PluginEntry {
        name: name.to_owned(),
        component: guest(name),
        sha256: None,
        memory_mib: None,
        grants: Some(Grants::Asked),
        secrets: Secrets::default(),
        source: String::new(),
        before: None,
        trial_percent: 100,
    }
}

pub struct Stage {
    pub sandbox: Arc<Sandbox>,
    pub shelf: Arc<MemoryShelf>,
    pub clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Self {
        Self::redirecting(Vec::new())
    }

    /// With the guests' provider at this address.
    pub fn with_provider(provider: &Provider) -> Self {
        Self::with_providers(&[("https://api.granted.example", provider)])
    }

    pub fn with_providers(providers: &[(&str, &Provider)]) -> Self {
        let pairs = providers.iter();
        Self::redirecting(
            pairs
                .map(|(origin, provider)| (origin.parse().unwrap(), provider.address.parse().unwrap()))
                .collect(),
        )
    }

    /// On a machine that gives less.
    pub fn on(resources: &Resources) -> Self {
        Self::build(Vec::new(), resources, Compiler::inside())
    }

    pub fn with_compiler(compiler: Compiler) -> Self {
        Self::build(Vec::new(), &Resources::default(), compiler)
    }

    fn redirecting(redirects: Vec<(url::Url, url::Url)>) -> Self {
        Self::build(redirects, &Resources::default(), Compiler::inside())
    }

    fn build(redirects: Vec<(url::Url, url::Url)>, resources: &Resources, compiler: Compiler) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Arc::new(MemoryShelf::default());
        let config = SandboxConfig {
            cache_dir: folder.path().join("cache"),
            compiler,
            egress: EgressConfig { redirects },
        };
        let clock = Arc::new(ManualClock::at(Time::from_unix_seconds(1_795_000_000)));
        let (kept, time) = (
            Arc::clone(&shelf) as Arc<dyn Shelf>,
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let sandbox = Sandbox::with(config, kept, time, resources).unwrap();
        Self {
            sandbox: Arc::new(sandbox),
            shelf,
            clock,
            _folder: folder,
        }
    }

    pub async fn load(&self, name: &str) -> Arc<Plugin> {
        self.sandbox.load(entry(name)).await.unwrap()
    }
}

pub fn channel() -> ChannelContext {
    let mut secrets = Secrets::default();
    secrets.add("key", Secret::new(KEY.to_owned()));
    ChannelContext {
        channel: ChannelId(7),
        fields: BTreeMap::new(),
        secrets,
        hook_url: "https://bridge.example/hooks/guest/chn_1".to_owned(),
    }
}

pub fn hook(words: &str) -> Hook {
    Hook {
        method: "POST".to_owned(),
        path_and_query: "/hooks/guest/chn_1?a=b%20c".to_owned(),
        headers: Vec::new(),
        body: words.as_bytes().to_vec(),
        received_at: Time::from_unix_seconds(1_795_000_000),
    }
}

pub fn text(words: &str) -> Outgoing {
    Outgoing {
        id: "msg_1".to_owned(),
        recipient: vec![Alias::new(AliasKind::Id, "42")],
        group_id: None,
        content: OutgoingContent::Text(RichText::plain(words)),
        reply_to: None,
    }
}

/// Keeps everything in memory.
#[derive(Default)]
pub struct MemoryShelf {
    files: Mutex<Vec<(ShelfFile, Vec<u8>)>>,
    pub values: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Secrets as they came, oldest first.
    pub renewed: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl Shelf for MemoryShelf {
    async fn put(
        &self,
        name: Option<String>,
        claimed_type: Option<String>,
        bytes_max: u64,
        body: ByteStream,
    ) -> Result<ShelfFile, ShelfError> {
        let chunks = body
            .try_collect::<Vec<_>>()
            .await
            .map_err(|error| ShelfError::Broken(error.to_string()))?;
        let bytes = chunks.concat();
        if bytes.len() as u64 > bytes_max {
            return Err(ShelfError::TooLarge { bytes_max });
        }
        let mut files = self.files.lock().unwrap();
        let file = ShelfFile {
            id: MediaId(files.len() as i64),
            name,
            content_type: claimed_type.unwrap_or_default(),
            bytes: bytes.len() as u64,
        };
        files.push((file.clone(), bytes));
        Ok(file)
    }

    async fn stat(&self, id: MediaId) -> Result<ShelfFile, ShelfError> {
        let files = self.files.lock().unwrap();
        files
            .get(id.0 as usize)
            .map(|(file, _)| file.clone())
            .ok_or(ShelfError::Unknown)
    }

    async fn open(&self, id: MediaId) -> Result<ByteStream, ShelfError> {
        let bytes = self
            .files
            .lock()
            .unwrap()
            .get(id.0 as usize)
            .map(|(_, bytes)| bytes.clone());
        let bytes = bytes.ok_or(ShelfError::Unknown)?;
        Ok(Box::pin(futures_util::stream::once(async move { Ok(bytes.into()) })))
    }

    async fn read(&self, id: MediaId, offset: u64, length: u32) -> Result<Vec<u8>, ShelfError> {
        let files = self.files.lock().unwrap();
        let (_, bytes) = files.get(id.0 as usize).ok_or(ShelfError::Unknown)?;
        Ok(bytes
            .iter()
            .skip(offset as usize)
            .take(length as usize)
            .copied()
            .collect())
    }

    fn link(&self, id: MediaId) -> String {
        format!("https://bridge.example/media/{id}")
    }

    async fn kv_get(&self, channel: ChannelId, key: &str) -> Result<Option<Vec<u8>>, ShelfError> {
        assert_ne!(key, POISON, "a fault of the host");
        Ok(self.values.lock().unwrap().get(&format!("{channel}/{key}")).cloned())
    }

    async fn kv_set(
        &self,
        channel: ChannelId,
        key: &str,
        expected: Option<Option<Vec<u8>>>,
        value: Option<Vec<u8>>,
        _ttl_ms: Option<u64>,
    ) -> Result<bool, ShelfError> {
        let mut values = self.values.lock().unwrap();
        let key = format!("{channel}/{key}");
        if expected.is_some_and(|expected| values.get(&key) != expected.as_ref()) {
            return Ok(false);
        }
        if value.is_some() && !values.contains_key(&key) && values.len() >= VALUES_MAX {
            return Err(ShelfError::Full);
        }
        match value {
            Some(value) => drop(values.insert(key, value)),
            None => drop(values.remove(&key)),
        }
        Ok(true)
    }

    async fn renew_secrets(&self, channel: ChannelId, renewed: Vec<(String, Secret)>) -> Result<(), ShelfError> {
        let mut kept = self.renewed.lock().unwrap();
        kept.extend(
            renewed
                .iter()
                .map(|(name, secret)| (format!("{channel}/{name}"), secret.expose().to_owned())),
        );
        Ok(())
    }
}

/// Answers every request with the same bytes and remembers what it got.
pub struct Provider {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    pub async fn answering(body: &str) -> Self {
        let bytes = body.len();
        Self::saying(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await
    }

    /// Writes this, whatever it is asked, and closes the connection.
    pub async fn saying(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                seen.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&request).into_owned());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, requests }
    }

    /// Takes connections and requests and never says a word.
    pub async fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                seen.lock().unwrap().push(String::new());
                held.push(stream);
            }
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(str::to_owned));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}

/// Collects what is logged on this thread while it lives.
pub struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub fn capture() -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Pen(Arc::clone(&writer)))
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The same, as the lines of JSON that operators collect.
    pub fn capture_json() -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(move || Pen(Arc::clone(&writer)))
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }
}

struct Pen(Arc<Mutex<Vec<u8>>>);

impl Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
