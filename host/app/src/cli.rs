//! The command line. Every command answers in text for people or, with `--json`, in JSON for programs.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong use. What a running host knows is asked from its API.

mod backup;
mod check;
pub mod compiler;
mod dead;
mod doctor;
mod kit;
mod output;
mod plugin;
mod remote;
mod serve;
mod supply;
mod talk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mantle_model::clock::{Clock, SystemClock};

use crate::config::DEFAULT_FILE;
use output::Output;

/// How long the end of the process waits for threads that nobody waits for any more.
const LEFT_BEHIND_TIME_MAX: Duration = Duration::from_millis(500);

/// Carries messages between messaging channels and an Intercom inbox, both ways.
#[derive(Debug, Parser)]
#[command(name = "mantle", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The configuration file.
    #[arg(long, global = true, default_value = DEFAULT_FILE, env = "MANTLE_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Answer in JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Where the running host is; taken from the configuration's `listen` otherwise.
    #[arg(long, global = true, env = "MANTLE_URL", value_name = "URL")]
    url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host until it is told to stop (Ctrl-C or SIGTERM; a second time forces it).
    Serve,
    /// Read the configuration and load every connector in it, without starting anything.
    Check,
    /// Look at the disk, the clock, rights, tokens, channels and whether the host can be reached.
    Doctor,
    /// Connectors of the configuration, or a component file.
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Show every hop of a message.
    Trace {
        /// `msg_…`
        message: String,
    },
    /// Connected Intercom workspaces.
    Workspace {
        #[command(subcommand)]
        command: WorkspaceCommand,
    },
    /// Bots, numbers and pages of a workspace.
    Channel {
        #[command(subcommand)]
        command: ChannelCommand,
    },
    /// Messages that were given up, and raw hooks that nobody could read.
    Dead {
        #[command(subcommand)]
        command: DeadCommand,
    },
    /// Compile a connector for the host that has started this.
    #[command(name = compiler::COMMAND, hide = true)]
    CompileComponent,
    /// Write the database and its files into one file, while the host works. For SQLite.
    Backup {
        /// The file to write; it must not exist.
        file: PathBuf,
        /// Seal the backup with this key: a file of 64 hexadecimal digits (openssl rand -hex 32).
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Put a backup into an empty data folder, so that the host looks before it writes anything again.
    Restore {
        /// A file of `mantle backup`.
        #[arg(required_unless_present = "reconcile", conflicts_with = "reconcile")]
        file: Option<PathBuf>,
        /// The key that the backup is sealed with.
        #[arg(long, value_name = "FILE", conflicts_with = "reconcile")]
        key_file: Option<PathBuf>,
        /// The database was put back by other tools (pg_restore, Litestream): only note that it is an old one.
        #[arg(long, requires = "taken_at")]
        reconcile: bool,
        /// With `--reconcile`: the moment that the database shows, such as 2026-11-20T08:00:00Z.
        #[arg(long, value_name = "TIME", requires = "reconcile")]
        taken_at: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Every plugin of the configuration and whether it loads.
    List,
    /// What a connector is, can do and asks for.
    Inspect {
        /// A name in the configuration, or the path of a .wasm file.
        plugin: String,
    },
    /// Begin a connector: a folder in which everything builds and passes its tests.
    New {
        /// The folder to make; its name is the connector's.
        folder: PathBuf,
        /// What it is written in.
        #[arg(long, value_enum, default_value = "rust")]
        lang: kit::Lang,
    },
    /// Build the connector of a folder to its .wasm file, by the tools of its language.
    Build {
        /// The connector's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Hold a component against its golden cases, a failing provider and nonsense; tells what it has shown it can do.
    Test {
        /// The .wasm file that the build made, or the connector's folder.
        #[arg(default_value = ".")]
        component: PathBuf,
        /// The folder of the cases; taken from `tests/golden` beside or above the file otherwise.
        #[arg(long, value_name = "FOLDER")]
        cases: Option<PathBuf>,
    },
    /// What an address or registry has now against what is locked: version and rights. With `--yes`: take it.
    Update {
        /// A name in the configuration.
        plugin: String,
        /// Take it, and consent to the rights that are shown.
        #[arg(long)]
        yes: bool,
    },
    /// Consent to the rights that a version waits for; or have one tried again that was taken back.
    Approve {
        /// A name in the configuration.
        plugin: String,
        /// The digest of the version that you looked at; another one is not approved.
        #[arg(long)]
        digest: Option<String>,
    },
    /// Return to the version before.
    Rollback {
        /// A name in the configuration.
        plugin: String,
    },
    /// Sign a component: writes FILE.sig beside it.
    Sign {
        /// A .wasm file.
        file: PathBuf,
        /// An Ed25519 key in PEM, as `keygen` and openssl make it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Make a key to sign with, and print the line of `[trust] keys` for it.
    Keygen {
        /// The file to write; it must not exist.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum WorkspaceCommand {
    /// All workspaces.
    List,
    /// Connect an Intercom workspace. The token is read from standard input unless it is given.
    Add {
        /// Authentication of your app in Intercom's Developer Hub.
        #[arg(long, env = "INTERCOM_ACCESS_TOKEN", hide_env_values = true)]
        access_token: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum ChannelCommand {
    /// The channels of a workspace, or of all.
    List {
        /// `wsp_…`
        #[arg(long)]
        workspace: Option<String>,
    },
    /// Connect a bot, number or page.
    Add {
        /// `wsp_…`; may be left out when there is one workspace.
        #[arg(long)]
        workspace: Option<String>,
        /// A plugin's name: telegram, whatsapp, twilio-sms …
        #[arg(long)]
        plugin: String,
        /// How people call the channel.
        #[arg(long, default_value = "")]
        name: String,
        /// A field of the set-up form, as NAME=VALUE; NAME=@FILE reads the value from a file.
        #[arg(long = "field", value_name = "NAME=VALUE", value_parser = field)]
        fields: Vec<(String, String)>,
        /// Take the webhook over although another system has it.
        #[arg(long)]
        take_over: bool,
    },
    /// Keep a channel on one version of its connector, or have it use the current one again.
    Pin {
        /// `chn_…`
        channel: String,
        /// The digest of a version that is kept, or its first 12 characters; or `current`.
        version: String,
    },
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// Dead, failed, unknown and parked ones, oldest first.
    List {
        #[command(flatten)]
        narrowed: dead::Narrowed,
    },
    /// Put a message in line again, or all that are dead or parked, the oldest first.
    Replay {
        /// `msg_…`, or `rcp_…` of a raw hook whose connector was mended.
        #[arg(required_unless_present = "all")]
        message: Option<String>,
        /// Every dead message and parked hook; narrow them with the options below.
        #[arg(long, conflicts_with = "message")]
        all: bool,
        #[command(flatten)]
        narrowed: dead::Narrowed,
    },
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let value = match value.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| format!("{file} cannot be read: {error}"))?
            .trim_end()
            .to_owned(),
        None => value.to_owned(),
    };
    Ok((name.to_owned(), value))
}

/// What the binary does.
pub fn main() -> ExitCode {
    main_by(Arc::new(SystemClock))
}

/// The same by another clock, for a binary that tests run.
pub fn main_by(clock: Arc<dyn Clock>) -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::CompileComponent) {
        return mantle_sandbox::serve_compiler();
    }
    let output = Output::new(cli.common.json);
    // The one choice of cryptography in the process; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&format!("The host's threads cannot be started: {error}."));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(&cli, clock, &output));
    // What still runs on a thread of its own, such as a call that was given up, is not waited for.
    runtime.shutdown_timeout(LEFT_BEHIND_TIME_MAX);
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output.failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well; problems that were found have been told already.
async fn run(cli: &Cli, clock: Arc<dyn Clock>, output: &Output) -> anyhow::Result<bool> {
    let common = &cli.common;
    match &cli.command {
        Command::Serve => serve::run(&common.config, clock).await,
        Command::Check => check::run(&common.config, output).await,
        Command::Doctor => doctor::run(common, output).await,
        Command::Plugin { command } => match command {
            PluginCommand::List => plugin::list(&common.config, output).await,
            PluginCommand::Inspect { plugin } => plugin::inspect(&common.config, plugin, output).await,
            PluginCommand::New { folder, lang } => kit::new(folder, *lang, output),
            PluginCommand::Build { folder } => kit::build(folder, output).await,
            PluginCommand::Test { component, cases } => kit::test(component, cases.as_deref(), output).await,
            PluginCommand::Update { plugin, yes } => supply::update(&common.config, plugin, *yes, output).await,
            PluginCommand::Approve { plugin, digest } => {
                supply::approve(common, plugin, digest.as_deref(), output).await
            }
            PluginCommand::Rollback { plugin } => supply::roll_back(common, plugin, output).await,
            PluginCommand::Sign { file, key } => supply::sign(file, key, output),
            PluginCommand::Keygen { file } => supply::keygen(file, output),
        },
        Command::Trace { message } => talk::trace(common, message, output).await,
        Command::Workspace { command } => match command {
            WorkspaceCommand::List => talk::workspaces(common, output).await,
            WorkspaceCommand::Add { access_token } => {
                talk::add_workspace(common, access_token.as_deref(), output).await
            }
        },
        Command::Channel { command } => match command {
            ChannelCommand::List { workspace } => talk::channels(common, workspace.as_deref(), output).await,
            ChannelCommand::Add {
                workspace,
                plugin,
                name,
                fields,
                take_over,
            } => {
                let draft = serde_json::json!({
                    "plugin": plugin,
                    "name": name,
                    "fields": fields.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                    "take_over": take_over,
                });
                talk::add_channel(common, workspace.as_deref(), &draft, output).await
            }
            ChannelCommand::Pin { channel, version } => supply::pin(common, channel, version, output).await,
        },
        Command::Dead { command } => match command {
            DeadCommand::List { narrowed } => dead::list(common, narrowed, output).await,
            DeadCommand::Replay { message, narrowed, .. } => {
                dead::replay(common, message.as_deref(), narrowed, output).await
            }
        },
        // Done before there were threads.
        Command::CompileComponent => Ok(true),
        Command::Backup { file, key_file } => backup::make(common, file, key_file.as_deref(), output).await,
        Command::Restore {
            file,
            key_file,
            taken_at,
            ..
        } => match (file, taken_at) {
            (Some(file), _) => backup::restore(common, file, key_file.as_deref(), output).await,
            (None, Some(taken_at)) => backup::reconcile(common, taken_at, output).await,
            (None, None) => anyhow::bail!("Name the file to restore, or use `--reconcile --taken-at TIME`."),
        },
    }
}
