//! A throw-away PostgreSQL server: one per test run, one database per test.
//!
//! A shell keeps watch over it: it waits for the end of our pipe, which comes with the end of this process however it
//! ends, then stops the server by its pid file and removes its folder.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};

use crate::{Address, Database, StoreError};

/// Where Debian puts the programs, by version, and where else they may be.
const VERSIONS: &str = "/usr/lib/postgresql";
const ELSEWHERE: [&str; 3] = ["/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/bin"];

/// As many as fifty tests at once with a few hosts each may need.
const CONNECTIONS_MAX: u32 = 600;

const WATCH: &str = r#"
set -e
dir=$(mktemp -d "${TMPDIR:-/tmp}/mantle-postgres-XXXXXX")
trap 'rm -rf "$dir"' EXIT
if [ -z "$3" ]; then
    "$1/initdb" -D "$dir/data" -A trust -U mantle -E UTF8 --locale=C >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
else
    "$1/pg_basebackup" -D "$dir/data" -d "$3" -R -X stream -c fast >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
fi
"$1/pg_ctl" -s -w -D "$dir/data" -l "$dir/log" -o "-k $dir -h '' -c max_connections=$2" start >&2 \
    || { cat "$dir/log" >&2; exit 1; }
echo "$dir"
while read -r order; do
    case "$order" in
        promote) "$1/pg_ctl" -s -w -D "$dir/data" promote >&2 ;;
        stop) "$1/pg_ctl" -s -w -D "$dir/data" -m immediate stop >&2 ;;
        *) "$1/pg_ctl" -s -w -D "$dir/data" -l "$dir/log" -m "$order" restart >&2 ;;
    esac
    echo done
done
[ ! -f "$dir/data/postmaster.pid" ] || "$1/pg_ctl" -s -w -D "$dir/data" -m immediate stop >&2
"#;

/// A server of this test run.
#[derive(Debug)]
pub struct Cluster {
    /// Where its programs are.
    programs: PathBuf,
    folder: PathBuf,
    _watch: Child,
    /// What the shell reads: a word stops, restarts or promotes the server, the end stops it.
    pipe: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

/// The server of this test run, started by whoever asks first. None where there is no PostgreSQL: one line says what
/// is left out, and with `postgres` in `MANTLE_REQUIRE` it is a failure.
///
/// # Errors
/// PostgreSQL is there but does not start, or is required and absent.
pub fn shared() -> io::Result<Option<&'static Cluster>> {
    static SHARED: OnceLock<Result<Option<Cluster>, String>> = OnceLock::new();
    match SHARED.get_or_init(|| start().map_err(|error| error.to_string())) {
        Ok(cluster) => Ok(cluster.as_ref()),
        Err(error) => Err(io::Error::other(error.clone())),
    }
}

fn start() -> io::Result<Option<Cluster>> {
    match programs() {
        Some(programs) => Cluster::start(&programs, "").map(Some),
        None if required() => Err(io::Error::other("PostgreSQL is required and not installed")),
        None => {
            // Past the capture of a test's output.
            let _ = writeln!(io::stderr(), "skipped: tests on PostgreSQL, which is not installed");
            Ok(None)
        }
    }
}

fn required() -> bool {
    std::env::var("MANTLE_REQUIRE").is_ok_and(|required| required.split(',').any(|what| what == "postgres"))
}

/// The folder of `initdb` and `pg_ctl`, of the newest version there is.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    versions
        .into_iter()
        .rev()
        .chain(ELSEWHERE.iter().map(PathBuf::from))
        .find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
}

impl Cluster {
    /// A server of its own, for a test that stops it.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_own() -> io::Result<Option<Self>> {
        programs().map(|programs| Self::start(&programs, "")).transpose()
    }

    /// A standby of the server that these words of libpq lead to: a copy of it now, which follows it from here on.
    ///
    /// # Errors
    /// It cannot be copied, or the copy does not start.
    pub fn following(conninfo: &str) -> io::Result<Self> {
        let absent = || io::Error::other("PostgreSQL is not installed");
        Self::start(&programs().ok_or_else(absent)?, conninfo)
    }

    fn start(programs: &Path, follows: &str) -> io::Result<Self> {
        let connections = CONNECTIONS_MAX.to_string();
        let mut watch = watch(WATCH, &[programs.as_os_str(), connections.as_ref(), follows.as_ref()])?;
        Ok(Self {
            programs: programs.to_owned(),
            folder: std::mem::take(&mut watch.folder),
            _watch: watch.shell,
            pipe: Mutex::new(watch.pipe),
        })
    }

    /// Kills the server as a crash of its machine would and starts it again.
    ///
    /// # Errors
    /// It does not start again.
    pub fn crash(&self) -> io::Result<()> {
        self.order("immediate")
    }

    /// Kills the server for good.
    ///
    /// # Errors
    /// It does not stop.
    pub fn stop(&self) -> io::Result<()> {
        self.order("stop")
    }

    /// Makes a standby a server of its own.
    ///
    /// # Errors
    /// It is none, or does not become one.
    pub fn promote(&self) -> io::Result<()> {
        self.order("promote")
    }

    fn order(&self, order: &str) -> io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(pipe.0, "{order}")?;
        let mut line = String::new();
        pipe.1.read_line(&mut line)?;
        match line.trim() {
            "done" => Ok(()),
            _ => Err(io::Error::other(format!("PostgreSQL did not obey `{order}`"))),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    /// Everything that the server wrote down.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn log(&self) -> io::Result<String> {
        let bytes = std::fs::read(self.folder.join("log"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://mantle@localhost/{database}?host={}", self.folder.display())
    }

    /// An empty database.
    ///
    /// # Errors
    /// The server does not make it.
    pub async fn database(&self) -> Result<TestDatabase, StoreError> {
        let name = format!("m{:016x}", getrandom::u64().map_err(io::Error::from)?);
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        let create = AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await?;
        connection.close().await?;
        self.having(&name)
    }

    /// The database of this name, which is here already.
    fn having(&self, name: &str) -> Result<TestDatabase, StoreError> {
        let url = self.url(name);
        Ok(TestDatabase {
            name: name.to_owned(),
            database: Database::parse(&url)?,
            url,
        })
    }

    /// What a database holds, in a file, as an operator backs it up. Hosts may be at work on it.
    ///
    /// # Errors
    /// `pg_dump` fails.
    pub fn dump(&self, from: &TestDatabase, to: &Path) -> io::Result<()> {
        let arguments = ["--format=custom", "--dbname", &from.url, "--file"];
        succeed(Command::new(self.programs.join("pg_dump")).args(arguments).arg(to))
    }

    /// A database with what a dump holds. No host has been at work on it for long: that, too, is as after a restore.
    ///
    /// # Errors
    /// `pg_restore` fails.
    pub async fn put_back(&self, dump: &Path) -> Result<TestDatabase, StoreError> {
        let database = self.database().await?;
        let arguments = ["--exit-on-error", "--dbname", &database.url];
        succeed(Command::new(self.programs.join("pg_restore")).args(arguments).arg(dump))?;
        database.run("update host set leased_until = 0").await?;
        Ok(database)
    }
}

/// A shell that looks after a server, and where that has its socket.
struct Watch {
    shell: Child,
    folder: PathBuf,
    pipe: (ChildStdin, BufReader<ChildStdout>),
}

fn watch(script: &str, arguments: &[&OsStr]) -> io::Result<Watch> {
    // Neither PostgreSQL nor PgBouncer runs as root.
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let mut shell = command
        .args(["-c", script, "watch"])
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let gone = || io::Error::other("the watch over a server has no pipe");
    let pipe = shell.stdin.take().ok_or_else(gone)?;
    let mut answers = BufReader::new(shell.stdout.take().ok_or_else(gone)?);
    let mut line = String::new();
    answers.read_line(&mut line)?;
    match line.trim() {
        "" => Err(io::Error::other("the server did not start; its log is above")),
        folder => Ok(Watch {
            shell,
            folder: PathBuf::from(folder),
            pipe: (pipe, answers),
        }),
    }
}

/// PgBouncer in transaction mode in front of a server: so few sessions that hosts must share them. Ends when dropped.
#[derive(Debug)]
pub struct Pooler {
    folder: PathBuf,
    _watch: Child,
    _pipe: (ChildStdin, BufReader<ChildStdout>),
}

const POOLER: &str = "/usr/sbin/pgbouncer";

const WATCH_POOLER: &str = r#"
set -e
dir=$(mktemp -d "${TMPDIR:-/tmp}/mantle-pooler-XXXXXX")
cat >"$dir/ini" <<END
[databases]
* = host=$2 user=mantle
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = $dir
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
logfile = $dir/log
END
"$1" -q "$dir/ini" &
trap "kill $!; rm -rf $dir" EXIT
tries=0
until [ -S "$dir/.s.PGSQL.6432" ]; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || { cat "$dir/log" >&2; exit 1; }
    sleep 0.05
done
echo "$dir"
read -r end || true
"#;

impl Pooler {
    /// None, with a line that says so, where PgBouncer is not installed.
    ///
    /// # Errors
    /// It does not start.
    pub fn before(cluster: &Cluster) -> io::Result<Option<Self>> {
        if !Path::new(POOLER).exists() {
            let _ = writeln!(io::stderr(), "skipped: tests through PgBouncer, which is not installed");
            return Ok(None);
        }
        let watch = watch(WATCH_POOLER, &[POOLER.as_ref(), cluster.folder.as_os_str()])?;
        Ok(Some(Self {
            folder: watch.folder,
            _watch: watch.shell,
            _pipe: watch.pipe,
        }))
    }

    /// The database through the pooler.
    ///
    /// # Errors
    /// Its address cannot be read.
    pub fn database(&self, behind: &TestDatabase) -> Result<TestDatabase, StoreError> {
        let folder = self.folder.display();
        let url = format!("postgres://mantle@localhost:6432/{}?host={folder}", behind.name);
        Ok(TestDatabase {
            name: behind.name.clone(),
            database: Database::Postgres(Address::parse(&url)?.through_transaction_pooler()),
            url,
        })
    }
}

fn succeed(command: &mut Command) -> io::Result<()> {
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("{command:?}: {status}"))),
    }
}

/// A database of one test.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    name: String,
    pub url: String,
    pub database: Database,
}

impl TestDatabase {
    /// The same on another server, which has it by copying.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn on(&self, cluster: &Cluster) -> Result<Self, StoreError> {
        cluster.having(&self.name)
    }

    /// The address of the same database through a loopback port.
    #[must_use]
    pub fn through(&self, port: u16) -> String {
        format!("postgres://mantle@127.0.0.1:{port}/{}?sslmode=disable", self.name)
    }

    /// Runs a statement beside all hosts, as an operator or as time itself: `update host set leased_until = 0`.
    ///
    /// # Errors
    /// The statement fails.
    pub async fn run(&self, statement: &'static str) -> Result<u64, StoreError> {
        let mut session = self.session().await?;
        let done = session.run(statement).await?;
        session.0.close().await?;
        Ok(done)
    }

    /// The first column of each row, which is bytes, one per line.
    ///
    /// # Errors
    /// The statement fails.
    pub async fn texts(&self, statement: &'static str) -> Result<String, StoreError> {
        let mut session = self.session().await?;
        let mut all = String::new();
        for row in sqlx::query(statement).fetch_all(&mut session.0).await? {
            all.push_str(&String::from_utf8_lossy(&row.try_get::<Vec<u8>, _>(0)?));
            all.push('\n');
        }
        Ok(all)
    }

    /// The first column of the only row, which is a bigint.
    ///
    /// # Errors
    /// The statement fails.
    pub async fn number(&self, statement: &'static str) -> Result<i64, StoreError> {
        let mut session = self.session().await?;
        Ok(sqlx::query(statement).fetch_one(&mut session.0).await?.try_get(0)?)
    }

    /// A session that stays, with what it holds, until it is dropped.
    ///
    /// # Errors
    /// The server does not let it in.
    pub async fn session(&self) -> Result<Session, StoreError> {
        let options: PgConnectOptions = self.url.parse()?;
        Ok(Session(options.disable_statement_logging().connect().await?))
    }

    /// A session that has read and does not end its transaction: a forgotten shell, a report.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn linger(&self) -> Result<Lingering, StoreError> {
        let options: PgConnectOptions = self.url.parse()?;
        let mut connection = options.application_name("a report").connect().await?;
        connection
            .execute("begin isolation level repeatable read; select count(*) from event")
            .await?;
        Ok(Lingering(connection))
    }
}

/// Somebody else at the database.
#[derive(Debug)]
pub struct Session(PgConnection);

impl Session {
    /// # Errors
    /// The statement fails.
    pub async fn run(&mut self, statement: &'static str) -> Result<u64, StoreError> {
        Ok(self.0.execute(statement).await?.rows_affected())
    }
}

/// An open transaction; ends when dropped.
#[derive(Debug)]
pub struct Lingering(#[expect(dead_code, reason = "held for its drop")] PgConnection);
