//! The command line. Every command answers in text for people or, with `--json`, in JSON for programs.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong use. What a running host knows is asked from its API.

mod check;
mod doctor;
mod output;
mod plugin;
mod remote;
mod serve;
mod talk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use mantle_model::clock::{Clock, SystemClock};

use crate::config::DEFAULT_FILE;
use output::Output;

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
    /// Messages that were given up.
    Dead {
        #[command(subcommand)]
        command: DeadCommand,
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
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// Dead, failed and parked messages, newest first.
    List,
    /// Put a message in line again, or all dead ones.
    Replay {
        /// `msg_…`
        #[arg(required_unless_present = "all")]
        message: Option<String>,
        /// Every dead message.
        #[arg(long, conflicts_with = "message")]
        all: bool,
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
        },
        Command::Dead { command } => match command {
            DeadCommand::List => talk::dead(common, output).await,
            DeadCommand::Replay { message, .. } => talk::replay(common, message.as_deref(), output).await,
        },
    }
}
