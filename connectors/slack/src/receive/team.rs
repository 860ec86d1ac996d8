//! What happens to the app, its token, and its place in the Slack channel.

use mantle_sdk::Host;
use mantle_sdk::members::Members;
use mantle_sdk::time;
use mantle_sdk::values::{Event, EventBody, Notice, NoticeLevel, TimeMs};

use super::envelope::Envelope;
use crate::fields;

/// Others come and go as they like.
pub fn membership(envelope: &Envelope, event: &Members, is_member: bool) -> Option<Event> {
    let channel = event.needed_text("channel")?;
    let user = event.needed_text("user")?;
    if Some(user) != envelope.bot {
        return None;
    }
    let notice = if is_member {
        Notice::new(
            NoticeLevel::Info,
            "channel-joined",
            format!("The app is now a member of the Slack channel {channel}."),
        )
    } else {
        Notice::new(
            NoticeLevel::Broken,
            "channel-left",
            format!("The app was taken out of the Slack channel {channel}. Write /invite and its name there."),
        )
    };
    Some(envelope.notice(channel, notice))
}

/// When a channel becomes shared with another firm. The names of its threads go by the old id.
pub fn renamed(envelope: &Envelope, event: &Members) -> Option<Event> {
    let old = event.needed_text("old_channel_id")?;
    let new = event.needed_text("new_channel_id")?;
    let message = format!("The Slack channel {old} is now {new}. Add a channel with slack_channel = {new}.");
    let notice = Notice::new(NoticeLevel::Broken, "channel-id-changed", message);
    Some(envelope.notice(old, notice))
}

pub fn uninstalled(envelope: &Envelope, host: &dyn Host) -> Event {
    let message = "The app was removed from the workspace. Install it again and enter its new token.";
    let notice = Notice::new(NoticeLevel::Broken, "app-uninstalled", message);
    of_workspace(envelope.id.to_owned(), envelope.at, (envelope.team, notice), host)
}

/// None: the tokens are people's, which this channel has none of.
pub fn tokens_revoked(envelope: &Envelope, event: &Members, host: &dyn Host) -> Option<Event> {
    let tokens = event.needed_object("tokens")?;
    let bots = tokens.list("bot").filter(|bots| !bots.is_empty())?;
    let is_ours = envelope
        .bot
        .is_none_or(|bot| bots.iter().any(|one| one.as_str() == Some(bot)));
    let message = "The bot token was revoked. Install the app again and enter its new token.";
    let notice = Notice::new(NoticeLevel::Broken, "tokens-revoked", message);
    is_ours.then(|| of_workspace(envelope.id.to_owned(), envelope.at, (envelope.team, notice), host))
}

/// More than 30,000 events an hour: what Slack left out comes never.
pub fn rate_limited(fields: &Members, received_at: TimeMs, host: &dyn Host) -> Option<Event> {
    let team = fields.needed_text("team_id")?;
    let minute = fields.whole("minute_rate_limited");
    let at = minute.map_or(received_at, time::from_unix_seconds);
    let message = "Slack has left events out: the app gets more than 30,000 an hour. Take it out of channels that it \
                   does not serve.";
    let notice = Notice::new(NoticeLevel::Warning, "app-rate-limited", message);
    let key = format!("app-rate-limited:{team}:{at}");
    Some(of_workspace(key, at, (team, notice), host))
}

/// About the app in a workspace. The channel whose hook this is hears of it if it is in that workspace: one app may serve
/// several, and what ends in one goes on in the others.
fn of_workspace(key: String, at: TimeMs, (team, notice): (&str, Notice), host: &dyn Host) -> Event {
    let event = Event::new(key, at, EventBody::Notice(notice));
    match fields::mode(host) {
        Ok(mode) => event.of_account(mode.account(team)),
        Err(_) => event,
    }
}
