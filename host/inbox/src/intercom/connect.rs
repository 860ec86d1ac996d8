//! Whose token it is, who works there, and the attributes that we need to exist.

use std::collections::BTreeMap;

use http::Method;
use mantle_model::failure::{Cause, Failure};
use mantle_model::secret::Secret;
use serde_json::json;

use super::api::{Api, Call, Content, segment};
use super::region::Region;
use super::trouble::{Repeat, Trouble};
use super::wire::{Admin, Admins, Attribute, Done, Me, Page};
use crate::{Access, InboxError, Operator, Profile};

/// Where a token that works is found.
const TOKEN_PLACE: &str = "Copy the access token of your app in Intercom's Developer Hub: Configure, Authentication.";
/// The attribute of contacts that names the channel they first came by.
pub const CHANNEL_ATTRIBUTE: &str = "mantle_channel";
/// The attribute of contacts that holds where a person first came from: an advertisement, a link.
pub const ORIGIN_ATTRIBUTE: &str = "mantle_origin";
/// The attribute of conversations that shows the channel, where the workspace allows it.
pub const CONVERSATION_ATTRIBUTE: &str = "Channel";

/// The attribute of contacts that holds a person's id on a kind of channel. Names are limited to what the
/// vendor's own examples use.
pub fn id_attribute(attribute: &str) -> String {
    let safe: String = attribute
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("mantle_{safe}_id")
}

impl Api {
    pub async fn connect(&self, token: &Secret) -> Result<Profile, InboxError> {
        let me = self.me(token).await?;
        let region = Region::named(&me.app.region);
        let facts = BTreeMap::from([
            ("region".to_owned(), region.name().to_owned()),
            ("base".to_owned(), format!("https://{}", region.api_host())),
            ("app_id".to_owned(), me.app.id_code.clone()),
            ("admin".to_owned(), me.id.clone()),
        ]);
        let access = Access {
            token: token.clone(),
            facts: facts.clone(),
        };
        let needed = [CHANNEL_ATTRIBUTE, ORIGIN_ATTRIBUTE].map(str::to_owned);
        self.ensure_attributes(&access, &needed).await?;
        match self.ensure_conversation_attribute(&access).await {
            // Not every workspace lets programs make these: a tag is used instead.
            Err(trouble) if trouble.is_refusal() => {}
            other => other?,
        }
        Ok(Profile {
            platform_id: me.app.id_code,
            name: me.app.name,
            facts,
            added_by: Operator {
                id: me.id,
                name: me.name,
                email: me.email,
                usable: me.has_inbox_seat.unwrap_or(true),
            },
        })
    }

    /// A token works in its own region alone, and none says which that is.
    async fn me(&self, token: &Secret) -> Result<Me, Trouble> {
        let mut first_refusal = None;
        for region in Region::ALL {
            match self.ask_region::<Me>(token, region, Call::get("/me")).await {
                Err(Trouble::Failure(Failure::Unauthorized(cause))) => {
                    first_refusal.get_or_insert(cause);
                }
                // A wrong token is far more likely than a region that is its own and out of reach at the same time.
                Err(_) if first_refusal.is_some() => {}
                other => return other,
            }
        }
        let cause = first_refusal.unwrap_or_else(|| Cause::new("unauthorized", "No region knows the token."));
        let message = format!("{}. {TOKEN_PLACE}", cause.message.trim_end_matches('.'));
        Err(Trouble::Failure(Failure::Unauthorized(Cause::new(cause.code, message))))
    }

    pub async fn operators(&self, access: &Access) -> Result<Vec<Operator>, Trouble> {
        let admins: Admins = self.ask(access, Call::get("/admins")).await?;
        Ok(admins.admins.into_iter().map(operator).collect())
    }

    /// Makes the string attributes of contacts that are missing, and brings archived ones back.
    pub async fn ensure_attributes(&self, access: &Access, names: &[String]) -> Result<(), Trouble> {
        let list = "/data_attributes?model=contact&include_archived=true";
        let known: Page<Attribute> = self.ask(access, Call::get(list)).await?;
        for name in names {
            match known.data.iter().find(|attribute| attribute.name == *name) {
                Some(attribute) if attribute.archived => {
                    let path = format!("/data_attributes/{}", segment(&attribute.id));
                    let body = json!({"archived": false});
                    self.ask::<Done>(access, Call::harmless(Method::PUT, path, &body))
                        .await?;
                }
                Some(_) => {}
                None => self.make_attribute(access, name).await?,
            }
        }
        Ok(())
    }

    async fn make_attribute(&self, access: &Access, name: &str) -> Result<(), Trouble> {
        let description = "Set by the channel bridge; do not edit.";
        let body = json!({"name": name, "model": "contact", "data_type": "string", "description": description});
        let call = Call::harmless(Method::POST, "/data_attributes", &body);
        match self.ask::<Done>(access, call).await {
            Err(trouble) if trouble.cause().message.contains("already have") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn ensure_conversation_attribute(&self, access: &Access) -> Result<(), Trouble> {
        let known: Page<Attribute> = self.ask(access, Call::get("/conversations/attributes")).await?;
        if known
            .data
            .iter()
            .any(|attribute| attribute.name == CONVERSATION_ATTRIBUTE)
        {
            return Ok(());
        }
        let body = json!({
            "name": CONVERSATION_ATTRIBUTE,
            "data_type": "string",
            "description": "Messaging channel of this conversation",
        });
        let call = Call {
            method: Method::POST,
            path: "/conversations/attributes".to_owned(),
            body: Content::Json(&body),
            repeat: Repeat::Harmless,
        };
        self.ask::<Done>(access, call).await.map(drop)
    }
}

fn operator(admin: Admin) -> Operator {
    // Old workspaces list teams among the admins, and the bot's address marks what no person answers to.
    let is_person = admin.r#type != "team"
        && !admin
            .email
            .as_deref()
            .is_some_and(|email| email.starts_with("operator+"));
    Operator {
        usable: is_person && admin.has_inbox_seat.unwrap_or(true),
        id: admin.id,
        name: admin.name,
        email: admin.email,
    }
}
