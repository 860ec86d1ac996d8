//! Proving the token, finding the Slack channel, and watching both. Slack's webhook is entered by hand, one for the app.

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Health, Readiness, Report};
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{self, Repeat};
use crate::fields::{self, Mode};

/// Lists what the app was granted, with commas.
const SCOPES_HEADER: &str = "x-oauth-scopes";
/// Without these nothing works, whatever the mode.
const NEEDED: [&str; 1] = ["chat:write"];
/// Files both ways and names of people; without them the rest goes on.
const WANTED: [&str; 3] = ["files:read", "files:write", "users:read"];
const DIRECT_NEEDED: [&str; 2] = ["im:history", "im:write"];
/// One of the two, for public channels and for private ones.
const CHANNEL_NEEDED: [&str; 2] = ["channels:history", "groups:history"];

#[derive(Deserialize)]
struct Identity {
    #[serde(default)]
    team: String,
    #[serde(default)]
    user: String,
    team_id: Option<String>,
    enterprise_id: Option<String>,
    bot_id: Option<String>,
    #[serde(default)]
    is_enterprise_install: bool,
}

impl Identity {
    /// As events name it, see `receive`.
    fn installed(&self) -> Option<&str> {
        let team = if self.is_enterprise_install {
            &self.enterprise_id
        } else {
            &self.team_id
        };
        team.as_deref().filter(|team| !team.is_empty())
    }
}

#[derive(Deserialize)]
struct About {
    channel: Room,
}

#[derive(Deserialize)]
struct Room {
    #[serde(default)]
    name: String,
    #[serde(default)]
    is_member: bool,
    #[serde(default)]
    is_archived: bool,
    #[serde(default)]
    is_private: bool,
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let mode = fields::mode(host)?;
    let (identity, _) = identity(host).map_err(wrong_token)?;
    let team = identity.installed().ok_or_else(no_workspace)?;
    if identity.bot_id.is_none() {
        return Err(ConnectError::field(
            "bot_token",
            "no-bot",
            "The token is a person's. Enter the Bot User OAuth Token.",
        ));
    }
    let name = match &mode {
        Mode::Direct => format!("{} (@{})", identity.team, identity.user),
        Mode::Channel(channel) => {
            let room = room(channel, host).map_err(wrong_channel)?;
            format!("{} #{}", identity.team, room.name)
        }
    };
    Ok(Account {
        external_id: mode.account(team),
        name,
        foreign_webhook: None,
    })
}

/// Public channels the app joins by itself, where it has the scope for that.
pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let mode = fields::mode(host)?;
    let (_, scopes) = identity(host).map_err(wrong_token)?;
    let mut notices = lacking(&mode, scopes.as_deref());
    if let Mode::Channel(channel) = &mode {
        let room = room(channel, host).map_err(wrong_channel)?;
        let has_joined = !room.is_member && !room.is_private && !room.is_archived && join(channel, host)?;
        notices.extend(unfit(
            channel,
            &Room {
                is_member: room.is_member || has_joined,
                ..room
            },
        ));
    }
    let is_broken = notices.iter().any(|notice| notice.level == NoticeLevel::Broken);
    let readiness = if is_broken {
        Readiness::Pending
    } else {
        Readiness::Connected
    };
    Ok(Connection { readiness, notices })
}

/// The address stands in the app's settings, and other channels may share it.
#[allow(clippy::unnecessary_wraps, reason = "the interface's signature")]
pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    host.log(
        mantle_sdk::log::Level::Info,
        "Slack goes on sending events. Take the app out of the Slack channel, or its Request URL out of its settings.",
    );
    Ok(())
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    match look(host) {
        Ok(notices) => {
            let is_broken = notices.iter().any(|notice| notice.level == NoticeLevel::Broken);
            let health = if is_broken { Health::Pending } else { Health::Connected };
            Ok(Report { health, notices })
        }
        Err(CallError::Unauthorized(failure)) => Ok(trouble(Health::Disconnected, NoticeLevel::Broken, failure)),
        Err(CallError::Transient(failure)) => Ok(trouble(Health::Offline, NoticeLevel::Warning, failure)),
        Err(CallError::Refused(refusal)) => {
            let failure = Failure::new(refusal.code, refusal.message);
            Ok(trouble(Health::Pending, NoticeLevel::Broken, failure))
        }
        // Too many calls say nothing about the channel.
        Err(other) => Err(other),
    }
}

fn look(host: &dyn Host) -> Result<Vec<Notice>, CallError> {
    let mode = fields::mode(host)?;
    let (_, scopes) = identity(host)?;
    let mut notices = lacking(&mode, scopes.as_deref());
    if let Mode::Channel(channel) = &mode {
        notices.extend(unfit(channel, &room(channel, host)?));
    }
    Ok(notices)
}

fn trouble(health: Health, level: NoticeLevel, failure: Failure) -> Report {
    Report {
        health,
        notices: vec![Notice::new(level, failure.code, failure.message)],
    }
}

/// Whose the token is, and its scopes where Slack tells them.
fn identity(host: &dyn Host) -> Result<(Identity, Option<String>), CallError> {
    let response = api::exchange(host, api::form::<&str>("auth.test", []), Repeat::Harmless)?;
    let scopes = response.header(SCOPES_HEADER).map(str::to_owned);
    let identity = api::told(&response, Repeat::Harmless, host)?.map_err(|told| told.error)?;
    Ok((identity, scopes))
}

/// Without `channels:read` Slack does not tell: that is the operator's to mend, and no end of the token.
fn room(channel: &str, host: &dyn Host) -> Result<Room, CallError> {
    let request = api::get("conversations.info", [("channel", channel)]);
    let about: About = api::aside(host, request, Repeat::Harmless)?;
    Ok(about.channel)
}

/// Whether it worked: the scope `channels:join` is optional, and a person can invite the app instead.
fn join(channel: &str, host: &dyn Host) -> Result<bool, CallError> {
    let request = api::json("conversations.join", &json!({ "channel": channel }));
    Ok(api::probe::<Value>(host, request, Repeat::Harmless)?.is_ok())
}

fn unfit(channel: &str, room: &Room) -> Option<Notice> {
    let broken = |code: &str, message: String| Some(Notice::new(NoticeLevel::Broken, code, message));
    if room.is_archived {
        return broken(
            "is_archived",
            format!("The Slack channel {channel} is archived. Unarchive it."),
        );
    }
    if !room.is_member {
        let message = format!("The app is not in the Slack channel {channel}. Write /invite and its name there.");
        return broken("not_in_channel", message);
    }
    None
}

fn lacking(mode: &Mode, scopes: Option<&str>) -> Vec<Notice> {
    let Some(scopes) = scopes else { return Vec::new() };
    let granted: Vec<&str> = scopes.split(',').map(str::trim).collect();
    let absent = |scope: &&str| !granted.contains(scope);
    let mut needed: Vec<&str> = NEEDED.into_iter().filter(absent).collect();
    match mode {
        Mode::Direct => needed.extend(DIRECT_NEEDED.into_iter().filter(absent)),
        Mode::Channel(_) if CHANNEL_NEEDED.iter().all(absent) => needed.push(CHANNEL_NEEDED[0]),
        Mode::Channel(_) => {}
    }
    let wanted: Vec<&str> = WANTED.into_iter().filter(absent).collect();
    [(NoticeLevel::Broken, needed), (NoticeLevel::Warning, wanted)]
        .into_iter()
        .filter(|(_, scopes)| !scopes.is_empty())
        .map(|(level, scopes)| {
            let message = format!(
                "The app lacks scopes: {}. Add them under OAuth & Permissions and install it again.",
                scopes.join(", ")
            );
            Notice::new(level, "missing_scope", message)
        })
        .collect()
}

fn wrong_token(error: CallError) -> ConnectError {
    match error {
        CallError::Unauthorized(failure) => ConnectError::field("bot_token", failure.code, failure.message),
        other => other.into(),
    }
}

/// Slack knows no private channel that the app is not in.
fn wrong_channel(error: CallError) -> ConnectError {
    match error {
        CallError::Refused(Refusal { code, .. }) if code == "channel_not_found" => ConnectError::field(
            "slack_channel",
            code,
            "Slack does not show the app this channel. Check the id; in a private channel write /invite and the app's name \
             first.",
        ),
        other => wrong_token(other),
    }
}

fn no_workspace() -> CallError {
    CallError::transient(
        "no-workspace",
        "Slack does not say which workspace the token belongs to.",
    )
}
