//! What a connector says of itself, read from inside the component before any of its code is compiled or run.
//!
//! Invariants: a [`Manifest`] is consistent: every secret, field and credential that a part refers to exists.
//! The format is described in `wit/README.md`. Decides nothing: grants are the operator's.

mod check;
pub(crate) mod raw;
mod section;

use mantle_egress::Rule;
use mantle_model::capabilities::Capabilities;
use mantle_model::hook::{Answer, Overload};

use crate::form::Form;

#[derive(Debug)]
pub(crate) struct Manifest {
    pub name: String,
    pub title: String,
    pub version: String,
    pub description: String,
    pub inboxes: Vec<String>,
    pub attribute: String,
    pub form: Form,
    /// Names and lengths of secrets that the host makes for each channel.
    pub generated: Vec<(String, usize)>,
    pub renewed: Vec<raw::Renewed>,
    pub verification: Verification,
    pub challenge: Option<raw::Challenge>,
    /// Upper case, at least one.
    pub methods: Vec<String>,
    pub registers_webhook: bool,
    pub answer: Answer,
    pub overload: Overload,
    pub credentials: Vec<Credential>,
    pub egress: Vec<Rule>,
    pub memory_mib: u32,
    pub capabilities: Capabilities,
}

#[derive(Debug)]
pub(crate) enum Verification {
    Hmac(Hmac),
    SharedSecret {
        header: String,
        secret: String,
    },
    /// `user` none: any, the password alone decides.
    Basic {
        user: Option<String>,
        secret: String,
    },
    None,
}

#[derive(Debug)]
pub(crate) struct Hmac {
    pub algorithm: raw::Algorithm,
    pub encoding: raw::Encoding,
    pub header: String,
    pub prefix: String,
    pub secret: String,
    /// In the order in which they are signed, with nothing in between.
    pub signed: Vec<SignedPart>,
    pub url_ports: raw::UrlPorts,
    pub body_digest: Option<raw::BodyDigest>,
    pub timestamp: Option<raw::Timestamp>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SignedPart {
    Body,
    Url,
    /// Fields of a form body by name, each name followed by its value; nothing for other bodies.
    SortedForm,
    Header(String),
    Literal(String),
}

#[derive(Debug)]
pub(crate) struct Credential {
    pub name: String,
    pub inject: Vec<raw::Inject>,
}

impl Manifest {
    /// # Errors
    /// One sentence that names the line or key and the fix.
    pub(crate) fn of_component(component: &[u8]) -> Result<Self, String> {
        Self::parse(section::find(component)?)
    }

    /// # Errors
    /// One sentence that names the line or key and the fix.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let place = |key: &str, error: &toml::de::Error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(String::new(), |before| {
                    format!(", line {}", before.matches('\n').count() + 1)
                });
            let key = if key.is_empty() || key == "." {
                String::new()
            } else {
                format!(", `{key}`")
            };
            format!("connector.toml{line}{key}: {}", error.message().trim())
        };
        let from = toml::Deserializer::parse(text).map_err(|error| place("", &error))?;
        let raw: raw::Manifest =
            serde_path_to_error::deserialize(from).map_err(|error| place(&error.path().to_string(), error.inner()))?;
        check::check(raw).map_err(|problem| format!("connector.toml, {problem}"))
    }

    /// Names of all secrets that a channel may have.
    pub(crate) fn secret_names(&self) -> impl Iterator<Item = &str> {
        let fields = self.form.fields().iter().filter(|field| field.secret);
        fields
            .map(|field| field.name.as_str())
            .chain(self.generated.iter().map(|(name, _)| name.as_str()))
            .chain(self.renewed.iter().map(|renewed| renewed.name.as_str()))
    }

    pub(crate) fn renewed(&self, name: &str) -> Option<&raw::Renewed> {
        self.renewed.iter().find(|renewed| renewed.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELEGRAM: &str = include_str!("../../../connectors/telegram/connector.toml");
    const TWILIO: &str = include_str!("../../../connectors/twilio-sms/connector.toml");
    const WHATSAPP: &str = include_str!("../../../connectors/whatsapp/connector.toml");

    /// The manifest that opens the documentation of mantle-sdk, as somebody would copy it.
    #[test]
    fn the_example_of_the_sdk_is_good() {
        let page = include_str!("../../../sdk/src/lib.rs");
        let (_, rest) = page.split_once("//! ```toml\n").unwrap();
        let (block, _) = rest.split_once("//! ```\n").unwrap();
        let text: String = block
            .lines()
            .map(|line| format!("{}\n", line.trim_start_matches("//!").trim_start()))
            .collect();
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.name, "pigeon");
        // The code beside it calls this address with this credential.
        assert!(page.contains("Request::post(\"https://api.pigeon.example/letters\")"));
        assert!(page.contains(".credential(\"token\")"));
        let [rule] = manifest.egress.as_slice() else {
            panic!("{:?}", manifest.egress)
        };
        assert_eq!(
            (rule.host.as_str(), rule.credentials.as_slice()),
            ("api.pigeon.example", ["token".to_owned()].as_slice())
        );
    }

    #[test]
    fn the_three_manifests_are_good() {
        for (text, name) in [(TELEGRAM, "telegram"), (TWILIO, "twilio-sms"), (WHATSAPP, "whatsapp")] {
            let manifest = Manifest::parse(text).unwrap();
            assert_eq!(manifest.name, name);
            assert!(!manifest.egress.is_empty());
        }
        let telegram = Manifest::parse(TELEGRAM).unwrap();
        assert_eq!(telegram.generated, [("hook_secret".to_owned(), 48)]);
        assert_eq!(
            telegram.secret_names().collect::<Vec<_>>(),
            ["bot_token", "hook_secret"]
        );
        assert_eq!(telegram.egress[0].host, "api.telegram.org");
        assert_eq!(telegram.egress[0].port, 443);
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, expected: &str) {
        let text = TELEGRAM.replacen(from, to, 1);
        assert_ne!(text, TELEGRAM, "`{from}` is not in the manifest");
        let problem = Manifest::parse(&text).unwrap_err();
        assert!(problem.contains(expected), "{problem}\n does not hold\n{expected}");
    }

    #[test]
    fn what_is_wrong_names_place_and_fix() {
        check_refused(
            "title =",
            "titel =",
            "line 6, `connector.titel`: unknown field `titel`, expected one of",
        );
        check_refused(
            "kind = \"text\"",
            "kind = \"txt\"",
            "`fields[0].kind`: unknown variant `txt`",
        );
        check_refused(
            "length = 48",
            "length = 4",
            "generated[0].length: 4 is not between 16 and 256",
        );
        check_refused(
            "secret = \"hook_secret\"",
            "secret = \"x\"",
            "verification.secret: `x` is neither",
        );
        check_refused(
            "pattern = \"^",
            "pattern = \"(^",
            "fields[0].pattern: not a regular expression",
        );
        check_refused(
            "https://api.telegram.org",
            "http://api.telegram.org",
            "egress[0].origin: `http://api",
        );
        check_refused("https://api.telegram.org", "https://*.org", "egress[0].origin");
        check_refused(
            "\"/bot{",
            "\"bot{",
            "egress[0].paths: `bot{bot_token}/` must start with a slash",
        );
        check_refused(
            "\"bot\", \"register\"",
            "\"bat\"",
            "egress[0].credentials: there is no [[credentials]] `bat`",
        );
        check_refused(
            "memory_mib = 32",
            "memory_mib = 4096",
            "limits.memory_mib: 4096 is not between 1 and 128",
        );
        check_refused("\"spans\"", "\"markers\"", "capabilities.text.markers: needed");
        check_refused("\"POST\"]", "\"post\"]", "webhook.methods: `post` is none of GET");
        check_refused(
            "retried_for_s = 86_400",
            "retried_for_s = 86_400_000",
            "webhook.overload.retried_for_s: 86400000 is more than",
        );
        check_refused(
            "per_second = 30.0",
            "per_second = 0.0",
            "capabilities.delivery.per_second: must be above 0",
        );
        check_refused("[limits]", "[limit]", "unknown field `limit`");
        check_refused("kind = \"shared-secret\"", "kind = \"secret\"", "verification");
        check_refused("[connector]", "[connector", "connector.toml, line");
    }

    #[test]
    fn a_recipe_must_cover_the_body() {
        let text = WHATSAPP.replacen("signed = [\"body\"]", "signed = [\"url\"]", 1);
        assert!(Manifest::parse(&text).unwrap_err().contains("the body is not covered"));
    }
}
