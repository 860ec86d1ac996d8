//! In whose name an administrative write is made.
//!
//! Order of choice: the sender that was named, the teammate the conversation is assigned to, the workspace's
//! default operator, the first teammate who can, and at last the one whose token it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure, Reason};

use super::api::Api;
use super::trouble::{Trouble, refused};
use crate::{Access, Operator, Voice};

/// How long the list of teammates is believed. A removed one is noticed at once by the refusal of the write.
const OPERATORS_TTL: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct OperatorCache(Mutex<HashMap<String, (Time, Vec<Operator>)>>);

impl OperatorCache {
    pub async fn list(&self, api: &Api, access: &Access) -> Result<Vec<Operator>, Trouble> {
        let key = access.facts.get("app_id").cloned().unwrap_or_default();
        let now = api.now();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((at, operators)) = known
            && now.since(at) < OPERATORS_TTL
        {
            return Ok(operators);
        }
        let operators = api.operators(access).await?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, (now, operators.clone()));
        Ok(operators)
    }

    pub fn forget(&self, access: &Access) {
        let key = access.facts.get("app_id").map_or("", String::as_str);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// One who may be tried as author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: String,
    /// Set when the configured default could not be used and this one stands in.
    pub stands_in: Option<Operator>,
}

/// The candidates in order, each once; never empty unless the workspace has nobody at all.
pub fn candidates(voice: &Voice, assignee: &str, operators: &[Operator], me: Option<&str>) -> Vec<Candidate> {
    let usable = |id: &str| operators.iter().find(|operator| operator.usable && operator.id == id);
    let mut order: Vec<Candidate> = Vec::new();
    let wished = [
        voice.explicit.as_deref(),
        Some(assignee),
        voice.default_operator.as_deref(),
    ];
    for id in wished.into_iter().flatten() {
        if let Some(operator) = usable(id) {
            order.push(Candidate {
                id: operator.id.clone(),
                stands_in: None,
            });
        }
    }
    let stands_in = |operator: &Operator| voice.default_operator.is_some().then(|| operator.clone());
    for operator in operators.iter().filter(|operator| operator.usable) {
        order.push(Candidate {
            id: operator.id.clone(),
            stands_in: stands_in(operator),
        });
    }
    if let Some(me) = me {
        let known = operators.iter().find(|operator| operator.id == me);
        order.push(Candidate {
            id: me.to_owned(),
            stands_in: known.and_then(stands_in),
        });
    }
    let mut seen = std::collections::HashSet::new();
    order.retain(|candidate| seen.insert(candidate.id.clone()));
    order
}

pub fn nobody() -> Trouble {
    let cause = Cause::new("no_operator", "The workspace has no teammate with a seat.");
    Trouble::Failure(refused(
        Reason::Account,
        cause,
        Some("Choose a default operator on the workspace's page."),
    ))
}

/// Whether the refusal is about the author and not about what was written.
pub fn is_about_author(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::NotFound(cause) => cause.code == "admin_not_found" || cause.message.to_lowercase().contains("admin"),
        Trouble::Failure(Failure::Refused(refusal)) => {
            refusal.reason == Reason::Account || refusal.cause.code == "admin_not_found"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(id: &str, usable: bool) -> Operator {
        Operator {
            id: id.into(),
            name: id.to_uppercase(),
            email: None,
            usable,
        }
    }

    fn voice(explicit: Option<&str>, default_operator: Option<&str>) -> Voice {
        Voice {
            explicit: explicit.map(Into::into),
            default_operator: default_operator.map(Into::into),
        }
    }

    #[test]
    fn out_5_out_6_out_7_the_order_of_voices() {
        let team = [
            operator("a", true),
            operator("b", true),
            operator("c", false),
            operator("d", true),
        ];
        let check = |voice: Voice, assignee: &str, expected: &str, stands_in: bool| {
            let first = candidates(&voice, assignee, &team, Some("a")).remove(0);
            assert_eq!(
                (first.id.as_str(), first.stands_in.is_some()),
                (expected, stands_in),
                "{voice:?} {assignee}"
            );
        };
        check(voice(Some("d"), Some("b")), "a", "d", false);
        check(voice(Some("c"), Some("b")), "a", "a", false);
        check(voice(None, Some("b")), "d", "d", false);
        check(voice(None, Some("b")), "", "b", false);
        check(voice(None, Some("b")), "c", "b", false);
        check(voice(None, Some("c")), "0", "a", true);
        check(voice(None, Some("gone")), "", "a", true);
        check(voice(None, None), "", "a", false);
        let alone = candidates(&voice(None, Some("c")), "", &[operator("c", false)], Some("me"));
        assert_eq!(
            alone,
            [Candidate {
                id: "me".into(),
                stands_in: None
            }]
        );
        assert_eq!(candidates(&voice(None, None), "", &[], None), []);
    }
}
