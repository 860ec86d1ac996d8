//! What a channel can carry: the part of a connector's manifest that the host decides by.

use serde::{Deserialize, Serialize};

use crate::inbound::{AttachmentKind, DeliveryReport};
use crate::text::Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    pub text: TextRule,
    #[serde(default)]
    pub caption: Option<CaptionRule>,
    /// First rule that takes the file wins, so order them from the best fitting kind to `document`.
    #[serde(default)]
    pub attachments: Vec<AttachmentRule>,
    /// Types refused although a rule above would take them, with the reason for the team.
    #[serde(default)]
    pub refused: Vec<RefusedTypes>,
    #[serde(default)]
    pub window: Option<Window>,
    pub delivery: Delivery,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextRule {
    /// The longest text of one message, in `unit`s.
    pub limit: usize,
    pub unit: Unit,
    pub formatting: Formatting,
    /// Set for [`Formatting::Markers`].
    #[serde(default)]
    pub markers: Option<Markers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formatting {
    /// No formatting; links as `text (address)`.
    Plain,
    /// Marks around the words, named in [`Markers`].
    Markers,
    /// Handed to the connector as spans.
    Spans,
}

/// What is put before and behind styled words; a style without a mark is left plain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Markers {
    pub bold: Option<String>,
    pub italic: Option<String>,
    pub strike: Option<String>,
    pub code: Option<String>,
    pub preformatted: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionRule {
    /// In the unit of the text rule. A longer one is sent as a text of its own, before the file.
    pub limit: usize,
    pub kinds: Vec<AttachmentKind>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentRule {
    pub kind: AttachmentKind,
    /// MIME types, `image/*` or `*/*`.
    pub types: Vec<String>,
    pub max_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedTypes {
    pub types: Vec<String>,
    pub why: String,
}

/// The time after a customer's message in which free answers may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub hours: u32,
    pub code: String,
    /// What the team can do when it is over.
    pub next_step: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pub receipts: Vec<DeliveryReport>,
    /// Whether a message may be sent to somebody who never wrote.
    pub proactive: bool,
    #[serde(default)]
    pub templates: bool,
    pub retry: RetrySafety,
    #[serde(default)]
    pub per_recipient_per_second: Option<f64>,
    /// What the provider takes through one credential, whoever the recipients are.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// Codes of limits that concern one recipient alone. Every other limit concerns the credential.
    #[serde(default)]
    pub recipient_limits: Vec<String>,
    /// Codes of limits of which the provider does not say whom they concern.
    #[serde(default)]
    pub unclear_limits: Vec<String>,
}

/// Whom a limit of calls concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    Credential,
    Recipient,
    /// One recipient's limit looks like the credential's.
    Unclear,
}

impl Delivery {
    /// Whom the limit with this code of the provider concerns.
    #[must_use]
    pub fn limit_scope(&self, code: &str) -> LimitScope {
        let among = |codes: &[String]| codes.iter().any(|known| known == code);
        if among(&self.recipient_limits) {
            LimitScope::Recipient
        } else if among(&self.unclear_limits) {
            LimitScope::Unclear
        } else {
            LimitScope::Credential
        }
    }
}

/// What may be done when the outcome of a send is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetrySafety {
    /// The provider knows our id: the same call again is safe.
    Key,
    /// The provider can be asked what it has.
    ReadBack,
    /// A later status names our id.
    Echo,
    /// Nothing tells: a person decides.
    None,
}

/// Why a file does not go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    TooLarge { max_bytes: u64 },
    Refused { why: String },
    NoRule,
}

impl Capabilities {
    /// The kind that a file of this type and size is sent as.
    ///
    /// # Errors
    /// Says why no kind takes it; a size limit is reported only when no later rule takes the file.
    pub fn attachment_kind(&self, content_type: &str, bytes: u64) -> Result<AttachmentKind, Unfit> {
        if let Some(refused) = self.refused.iter().find(|rule| matches_any(&rule.types, content_type)) {
            return Err(Unfit::Refused {
                why: refused.why.clone(),
            });
        }
        let mut unfit = Unfit::NoRule;
        for rule in self
            .attachments
            .iter()
            .filter(|rule| matches_any(&rule.types, content_type))
        {
            if bytes <= rule.max_bytes {
                return Ok(rule.kind);
            }
            unfit = match unfit {
                Unfit::TooLarge { max_bytes } => Unfit::TooLarge {
                    max_bytes: max_bytes.max(rule.max_bytes),
                },
                _ => Unfit::TooLarge {
                    max_bytes: rule.max_bytes,
                },
            };
        }
        Err(unfit)
    }
}

fn matches_any(patterns: &[String], content_type: &str) -> bool {
    let bare = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    patterns.iter().any(|pattern| match pattern.strip_suffix("/*") {
        Some("*") => true,
        Some(family) => bare.split('/').next() == Some(family),
        None => *pattern == bare,
    })
}
