//! What stands around an event: the app, the workspace it is installed in, and who its bot is there.

use mantle_sdk::members::Members;
use mantle_sdk::time;
use mantle_sdk::values::{Event, EventBody, Notice, TimeMs};

use crate::names;

pub struct Envelope<'a> {
    pub app: Option<&'a str>,
    /// The workspace that the app is installed in; with an installation for a whole organisation, the organisation. In a
    /// channel that two firms share, the sender's workspace may be another one.
    pub team: &'a str,
    /// Our own user in that workspace.
    pub bot: Option<&'a str>,
    pub id: &'a str,
    pub at: TimeMs,
    /// The channel is shared with another firm.
    pub is_shared: bool,
}

impl<'a> Envelope<'a> {
    pub fn read(fields: &Members<'a>, received_at: TimeMs) -> Option<Self> {
        let installation = fields.first_object("authorizations");
        let installed = installation.as_ref().and_then(|installation| {
            let team = if installation.is_true("is_enterprise_install") {
                installation.text("enterprise_id")
            } else {
                installation.text("team_id")
            };
            team.or_else(|| fields.text("context_team_id"))
        });
        let team = match installed {
            Some(team) => team,
            None => fields.needed_text("team_id")?,
        };
        let bot = installation
            .filter(|installation| installation.is_true("is_bot"))
            .and_then(|installation| installation.text("user_id"));
        Some(Self {
            app: fields.text("api_app_id"),
            team,
            bot,
            id: fields.needed_text("event_id")?,
            at: fields.whole("event_time").map_or(received_at, time::from_unix_seconds),
            is_shared: fields.is_true("is_ext_shared_channel"),
        })
    }

    /// The account that a message in this Slack channel belongs to.
    pub fn account(&self, channel: &str) -> String {
        if names::is_direct(channel) {
            self.team.to_owned()
        } else {
            names::account(self.team, channel)
        }
    }

    /// A notice about one Slack channel.
    pub fn notice(&self, channel: &str, notice: Notice) -> Event {
        Event::new(self.id, self.at, EventBody::Notice(notice)).of_account(self.account(channel))
    }
}
