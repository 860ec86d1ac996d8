//! The host as a child process: started, watched, given orders, killed.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Longer than any honest step on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Ends the line that tells that the host works, after its address.
const KNOWN_AS: &str = ", known as ";
const LISTENS_AT: &str = " listens at ";

/// A running `mantle-faulty`. Killed when dropped.
pub struct Process {
    child: Child,
    pub addr: SocketAddr,
    pub log: Log,
    /// Until all that it says is read.
    reading: Option<JoinHandle<()>>,
    control: Control,
}

/// Puts the socket where a service manager puts it: descriptor 3, with the number of the process that it is meant for.
const ACTIVATE: &str = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 </dev/null"#;

/// How a host is started.
#[derive(Debug, Clone)]
pub struct Start {
    pub config: PathBuf,
    pub variables: Vec<(String, String)>,
    /// Listened on already, and still when the host is gone.
    pub socket: Option<Arc<std::net::TcpListener>>,
}

impl Start {
    fn command(&self) -> Result<Command> {
        let program = env!("CARGO_BIN_EXE_mantle-faulty");
        let mut command = match &self.socket {
            None => {
                let mut command = Command::new(program);
                command.stdin(Stdio::null());
                command
            }
            Some(socket) => {
                let mut command = Command::new("sh");
                command.args(["-c", ACTIVATE, program]);
                command.stdin(Stdio::from(OwnedFd::from(socket.try_clone()?)));
                command
            }
        };
        command
            .args(["serve", "--config"])
            .arg(&self.config)
            .current_dir(self.config.parent().unwrap_or(Path::new("/")))
            // A panic's backtrace reads the whole program's debug information, which then counts as the host's memory.
            .env_remove("RUST_BACKTRACE")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }
}

/// Everything the host said, over all of its lives.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    fn tail(&self) -> String {
        let lines = self.0.lock().unwrap();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// The end of a host that was not meant to go on.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// What it said in this life.
    pub said: String,
}

impl Process {
    /// Starts the host and waits until it says where it listens.
    pub async fn start(start: &Start, log: &Log) -> Result<Self> {
        match Self::try_start(start, log).await? {
            Ok(process) => Ok(process),
            Err(ended) => bail!("the host ended at once ({}):\n{}", ended.status, ended.said),
        }
    }

    /// The same for a host that may refuse to start.
    pub async fn try_start(start: &Start, log: &Log) -> Result<Result<Self, Ended>> {
        let orders = TcpListener::bind(("127.0.0.1", 0)).await?;
        let begun = log.0.lock().unwrap().len();
        let mut child = start
            .command()?
            .env("MANTLE_FAULTS_CONTROL", orders.local_addr()?.to_string())
            .spawn()
            .context("starting the host")?;
        let stderr = child.stderr.take().context("the host has no standard error")?;
        let (found, mut address) = watch::channel(None);
        let reading = tokio::spawn(read_log(stderr, log.clone(), found));
        let listening = async {
            let control = Control::over(orders.accept().await?.0);
            let address = address.wait_for(Option::is_some).await.ok().and_then(|found| *found);
            anyhow::Ok((control, address))
        };
        let outcome = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                listening = listening => Some(listening),
                _ = child.wait() => None,
            }
        });
        if let Some(listening) = outcome
            .await
            .with_context(|| format!("the host starts for too long:\n{}", log.tail()))?
        {
            let (control, address) = listening?;
            if let Some(addr) = address {
                return Ok(Ok(Self {
                    child,
                    addr,
                    log: log.clone(),
                    reading: Some(reading),
                    control,
                }));
            }
        }
        let status = child.wait().await?;
        reading.await?;
        let said = log.0.lock().unwrap()[begun..].join("\n");
        Ok(Err(Ended { status, said }))
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Ends it as the machine would: at once, with nothing tidied up.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Asks it to stop.
    pub async fn terminate(&self) -> Result<()> {
        self.signal("TERM").await
    }

    pub async fn signal(&self, name: &str) -> Result<()> {
        let (signal, id) = (format!("-{name}"), self.id().to_string());
        let sent = Command::new("kill").args([&signal, &id]).status().await?;
        anyhow::ensure!(sent.success(), "SIG{name} does not reach the host");
        Ok(())
    }

    /// Waits until it ends by itself and all that it said is read.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let ended = async {
            let status = self.child.wait().await;
            if let Some(reading) = self.reading.take() {
                let _ = reading.await;
            }
            status
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        Ok(ended.with_context(|| format!("the host does not end:\n{}", self.log.tail()))??)
    }

    /// One order; see the control of `mantle-faulty`.
    pub async fn order(&mut self, order: &str) -> Result<String> {
        self.control.order(order).await
    }

    /// How often a point was passed in this life.
    pub async fn hits(&mut self, point: &str) -> Result<u64> {
        Ok(self.order(&format!("hits {point}")).await?.parse()?)
    }

    /// Waits until a point has acted so often.
    pub async fn acted(&mut self, point: &str, times: u64) -> Result<()> {
        let seen = |hits: &Vec<String>| hits.iter().filter(|hit| *hit == point).count() as u64 >= times;
        let waiting = tokio::time::timeout(PATIENCE, self.control.acted.wait_for(seen));
        waiting
            .await
            .with_context(|| format!("{point} was not reached:\n{}", self.log.tail()))?
            .context("the host is gone")?;
        Ok(())
    }
}

async fn read_log(stderr: ChildStderr, log: Log, found: watch::Sender<Option<SocketAddr>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let address = line
            .split_once(LISTENS_AT)
            .and_then(|(_, rest)| rest.split_once(KNOWN_AS))
            .and_then(|(address, _)| address.parse().ok());
        log.0.lock().unwrap().push(line);
        if address.is_some() {
            found.send_replace(address);
        }
    }
}

struct Control {
    orders: OwnedWriteHalf,
    answers: mpsc::Receiver<String>,
    acted: watch::Receiver<Vec<String>>,
}

impl Control {
    fn over(stream: TcpStream) -> Self {
        let (read, orders) = stream.into_split();
        let (answer, answers) = mpsc::channel(1);
        let (acting, acted) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match line.strip_prefix("hit ").and_then(|hit| hit.split_once(' ')) {
                    Some((point, _)) => acting.send_modify(|all| all.push(point.to_owned())),
                    None => drop(answer.send(line).await),
                }
            }
        });
        Self { orders, answers, acted }
    }

    async fn order(&mut self, order: &str) -> Result<String> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        let answer = self.answers.recv().await.context("the host is gone")?;
        match answer.split_once(' ') {
            Some(("ok", told)) => Ok(told.to_owned()),
            _ => bail!("`{order}`: {answer}"),
        }
    }
}
