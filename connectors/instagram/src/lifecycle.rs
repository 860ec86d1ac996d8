//! Proving the credentials, subscribing the app to the account, and watching both.
//!
//! The webhook's address belongs to the app and is entered there by hand: setting it wants a token of the app, which
//! this channel does not have. What belongs to the account is the subscription, without which Meta is silent.

mod health;
mod subscription;

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Readiness, Report};
use mantle_sdk::values::{CallError, Notice, NoticeLevel};
use serde::Deserialize;

use crate::fields::{self, Login};
use crate::graph::{Graph, Repeat, Told};
use crate::wire::Loose;

/// The parameter that proves the app secret; the manifest adds it to the calls of the Page's login.
const PROOF: &str = "appsecret_proof";

/// Whom a token belongs to, by either login.
#[derive(Deserialize)]
struct Owner {
    /// Instagram's login: of the account, for this app alone. The Page's login: of the Page.
    #[serde(default)]
    id: Loose,
    /// Instagram's login: the account's id in webhooks and addresses.
    #[serde(default)]
    user_id: Loose,
    username: Option<String>,
    name: Option<String>,
    /// The Page's login.
    instagram_business_account: Option<Linked>,
}

#[derive(Deserialize)]
struct Linked {
    #[serde(default)]
    id: Loose,
    username: Option<String>,
}

impl Owner {
    /// The professional account: its id and what people call it.
    fn account(&self, login: Login) -> Option<(&str, Option<&str>)> {
        match login {
            Login::Instagram => Some((self.user_id.as_deref()?, self.username.as_deref())),
            Login::Page => {
                let linked = self.instagram_business_account.as_ref()?;
                Some((linked.id.as_deref()?, linked.username.as_deref()))
            }
        }
    }
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let wanted = fields::account_id(host)?;
    let graph = Graph::of(host)?;
    let owner = owner(&graph)?.map_err(|told| wrong(told, graph.login))?;
    let Some((id, username)) = owner.account(graph.login) else {
        return Err(ConnectError::field(
            "access_token",
            "no-account",
            without_account(graph.login),
        ));
    };
    if id != wanted {
        let hint = match owner.id.as_deref() == Some(wanted.as_str()) && graph.login == Login::Instagram {
            true => "What is filled in is the account's id for this app alone (`id` instead of `user_id`).",
            false => "Enter that id, or the token of the other account.",
        };
        return Err(ConnectError::field(
            "account_id",
            "other-account",
            format!(
                "The access token is that of the account {id} ({}). {hint}",
                username.unwrap_or("without a name")
            ),
        ));
    }
    let name = username.map(|username| format!("@{username}"));
    Ok(Account {
        name: name.or(owner.name).unwrap_or_else(|| wanted.clone()),
        external_id: wanted,
        foreign_webhook: None,
    })
}

/// Why a token leads to no account.
fn without_account(login: Login) -> &'static str {
    match login {
        Login::Instagram => {
            "The access token belongs to no professional account. Switch the account to a professional one."
        }
        Login::Page => {
            "The Page of the access token is not linked to a professional Instagram account, or the token lacks \
             instagram_basic."
        }
    }
}

fn owner(graph: &Graph<'_>) -> Result<Result<Owner, Told>, CallError> {
    let fields = match graph.login {
        Login::Instagram => "id,user_id,username,name",
        Login::Page => "id,name,instagram_business_account{id,username}",
    };
    graph.probe(graph.get("me").query([("fields", fields)]), Repeat::Harmless)
}

/// The field of the form that an error of Meta is about.
fn wrong(told: Told, login: Login) -> ConnectError {
    let words = told.problem.words().unwrap_or("no reason given");
    let code = told.problem.name();
    // The code is that of any wrong parameter; only the words tell which one it is.
    if told.problem.code == 100 && words.contains(PROOF) {
        return ConnectError::field(
            "app_secret",
            code,
            format!("The app secret is not that of the access token's app. Meta says: {words}"),
        );
    }
    let (name, permissions) = match login {
        Login::Instagram => (
            "Instagram",
            "instagram_business_basic and instagram_business_manage_messages",
        ),
        Login::Page => (
            "the Page",
            "instagram_basic, instagram_manage_messages and pages_manage_metadata",
        ),
    };
    match told.problem.code {
        190 => ConnectError::field(
            "access_token",
            code,
            format!("Meta does not accept the access token for the login of {name}: {words}"),
        ),
        3 | 10 | 200..=299 => ConnectError::field(
            "access_token",
            code,
            format!("The access token needs {permissions}: {words}"),
        ),
        _ => ConnectError::Call(told.error),
    }
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let graph = Graph::of(host)?;
    subscription::begin(&graph, host)?.map_err(|told| wrong(told, graph.login))?;
    Ok(Connection {
        readiness: Readiness::Connected,
        notices: vec![by_hand(graph.login, &host.hook_url())],
    })
}

/// What connecting cannot do. Several accounts of one app share one address: the plugin's, without the channel's part.
fn by_hand(login: Login, hook_url: &str) -> Notice {
    let shared = hook_url.rsplit_once('/').map_or(hook_url, |(shared, _)| shared);
    let place = match login {
        Login::Instagram => "Instagram, API setup with Instagram login",
        Login::Page => "Webhooks, Instagram",
    };
    let message = format!(
        "At the app (Meta for Developers, {place}) enter once the callback URL {hook_url} and the verify token. For several \
         accounts of one app: {shared}"
    );
    Notice::new(NoticeLevel::Info, "webhook-by-hand", message)
}

pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    subscription::end(&Graph::of(host)?)
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    health::check(host)
}
