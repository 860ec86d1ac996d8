//! Turns the manifest as written into one that cannot be wrong, or says which key is and how to mend it.

use std::collections::BTreeSet;
use std::time::Duration;

use mantle_egress::{Holds, Rule, check_path_pattern};
use mantle_model::capabilities::{Capabilities, Formatting};
use mantle_model::hook::{Answer, Overload};
use regex::Regex;

use super::{Credential, Hmac, Manifest, SignedPart, Verification, raw};
use crate::form::{Field, FieldKind, Form};
use crate::limits::{MEMORY_MIB_DEFAULT, MEMORY_MIB_MAX};

/// Longest secret that the host makes for a channel, in characters.
const GENERATED_LENGTH_MAX: usize = 256;
/// Shortest: 16 characters of the alphabet hold 95 bits.
const GENERATED_LENGTH_MIN: usize = 16;

/// The widest window for signed times, in seconds: an hour covers clocks that are wrong, more would be no window.
const TOLERANCE_S_MAX: u32 = 3_600;

/// A finding: `key: what is wrong and the fix`.
type Check<T> = Result<T, String>;

pub(super) fn check(raw: raw::Manifest) -> Check<Manifest> {
    identity(&raw.connector)?;
    let form = form(raw.fields)?;
    let generated = generated(raw.generated, &form)?;
    let renewed = renewed(raw.renewed, &form, &generated)?;
    // A hook is proven by what somebody entered or we made: a renewed secret need not be there yet.
    let known = Known {
        form: &form,
        generated: &generated,
        renewed: &[],
    };
    let verification = verification(raw.verification, &known)?;
    if let Some(challenge) = &raw.challenge {
        check_challenge(challenge, &known)?;
    }
    let methods = methods("webhook.methods", raw.webhook.methods)?;
    if methods.is_empty() {
        return Err("webhook.methods: name at least one method, for example [\"POST\"]".to_owned());
    }
    let known = Known {
        renewed: &renewed,
        ..known
    };
    let credentials = credentials(raw.credentials, &known)?;
    let egress = egress(raw.egress, &credentials)?;
    let memory_mib = raw.limits.memory_mib.unwrap_or(MEMORY_MIB_DEFAULT);
    if !(1..=MEMORY_MIB_MAX).contains(&memory_mib) {
        return Err(format!(
            "limits.memory_mib: {memory_mib} is not between 1 and {MEMORY_MIB_MAX}"
        ));
    }
    let capabilities = Capabilities::from(raw.capabilities);
    check_capabilities(&capabilities)?;
    let overload = overload(raw.webhook.overload)?;
    let answer = answer(raw.webhook.answer)?;
    Ok(Manifest {
        name: raw.connector.name,
        title: raw.connector.title,
        version: raw.connector.version,
        description: raw.connector.description,
        inboxes: raw.connector.inboxes,
        attribute: raw.connector.attribute,
        form,
        generated,
        renewed,
        verification,
        challenge: raw.challenge,
        methods,
        registers_webhook: raw.webhook.registration == raw::Registration::Automatic,
        answer,
        overload,
        credentials,
        egress,
        memory_mib,
        capabilities,
    })
}

/// What the other parts of the manifest may refer to.
struct Known<'a> {
    form: &'a Form,
    generated: &'a [(String, usize)],
    renewed: &'a [raw::Renewed],
}

impl Known<'_> {
    fn field(&self, key: &str, name: &str) -> Check<()> {
        if self
            .form
            .fields()
            .iter()
            .any(|field| field.name == name && !field.secret)
        {
            return Ok(());
        }
        Err(format!("{key}: `{name}` is not a field without `secret`"))
    }

    fn secret(&self, key: &str, name: &str) -> Check<()> {
        let field = self
            .form
            .fields()
            .iter()
            .any(|field| field.secret && field.name == name);
        let made = self.generated.iter().any(|(known, _)| known == name);
        if field || made || self.renewed.iter().any(|known| known.name == name) {
            return Ok(());
        }
        Err(format!(
            "{key}: `{name}` is neither a field with `secret = true` nor one of [[generated]]"
        ))
    }
}

fn word(key: &str, value: &str, extra: char) -> Check<()> {
    let mut chars = value.chars();
    let good = chars.next().is_some_and(|first| first.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == extra)
        && value.len() <= 64;
    if good {
        return Ok(());
    }
    Err(format!(
        "{key}: `{value}` must start with a small letter and hold only small letters, digits and `{extra}`, at most 64"
    ))
}

fn header_name(key: &str, value: &str) -> Check<()> {
    if http::HeaderName::from_bytes(value.as_bytes()).is_ok() && value.to_ascii_lowercase() == value {
        return Ok(());
    }
    Err(format!("{key}: `{value}` is not the name of a header in small letters"))
}

fn identity(connector: &raw::Connector) -> Check<()> {
    word("connector.name", &connector.name, '-')?;
    word("connector.attribute", &connector.attribute, '_')?;
    for (key, value) in [
        ("connector.title", &connector.title),
        ("connector.version", &connector.version),
    ] {
        if value.trim().is_empty() {
            return Err(format!("{key}: must not be empty"));
        }
    }
    if connector.inboxes.is_empty() {
        return Err("connector.inboxes: name the inboxes it serves, for example [\"intercom\"]".to_owned());
    }
    Ok(())
}

fn form(raw: Vec<raw::Field>) -> Check<Form> {
    let mut names = BTreeSet::new();
    let mut fields = Vec::new();
    for (place, field) in raw.into_iter().enumerate() {
        let key = format!("fields[{place}]");
        word(&format!("{key}.name"), &field.name, '_')?;
        if !names.insert(field.name.clone()) {
            return Err(format!("{key}.name: there are two fields `{}`", field.name));
        }
        let kind = match field.kind {
            raw::FieldKind::Text if field.choices.is_empty() => FieldKind::Text,
            raw::FieldKind::Text => {
                return Err(format!("{key}.choices: only for a field of `kind = \"choice\"`"));
            }
            raw::FieldKind::Choice if field.choices.is_empty() => {
                return Err(format!("{key}.choices: list what can be chosen"));
            }
            raw::FieldKind::Choice => FieldKind::Choice(field.choices),
        };
        let pattern = field.pattern.as_deref().map(|text| pattern(&key, text)).transpose()?;
        fields.push((
            Field {
                name: field.name,
                label: field.label,
                help: field.help,
                kind,
                secret: field.secret,
                required: field.required,
                pattern: field.pattern,
                example: field.example,
            },
            pattern,
        ));
    }
    Ok(Form::new(fields))
}

/// The pattern covers the whole value even where its author left the anchors out.
fn pattern(key: &str, text: &str) -> Check<Regex> {
    Regex::new(&format!("^(?:{text})$")).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim();
        format!("{key}.pattern: not a regular expression ({reason})")
    })
}

fn generated(raw: Vec<raw::Generated>, form: &Form) -> Check<Vec<(String, usize)>> {
    let mut generated: Vec<(String, usize)> = Vec::new();
    for (place, entry) in raw.into_iter().enumerate() {
        let key = format!("generated[{place}]");
        word(&format!("{key}.name"), &entry.name, '_')?;
        let taken = form.fields().iter().any(|field| field.name == entry.name)
            || generated.iter().any(|(known, _)| *known == entry.name);
        if taken {
            return Err(format!("{key}.name: `{}` is taken already", entry.name));
        }
        if !(GENERATED_LENGTH_MIN..=GENERATED_LENGTH_MAX).contains(&entry.length) {
            return Err(format!(
                "{key}.length: {} is not between {GENERATED_LENGTH_MIN} and {GENERATED_LENGTH_MAX}",
                entry.length
            ));
        }
        generated.push((entry.name, entry.length));
    }
    Ok(generated)
}

fn renewed(raw: Vec<raw::Renewed>, form: &Form, generated: &[(String, usize)]) -> Check<Vec<raw::Renewed>> {
    for (place, entry) in raw.iter().enumerate() {
        let key = format!("renewed[{place}]");
        word(&format!("{key}.name"), &entry.name, '_')?;
        let taken = form.fields().iter().any(|field| field.name == entry.name)
            || generated.iter().any(|(known, _)| *known == entry.name)
            || raw[..place].iter().any(|other| other.name == entry.name);
        if taken {
            return Err(format!("{key}.name: `{}` is taken already", entry.name));
        }
        let is_field = |from: &String| form.fields().iter().any(|field| field.secret && field.name == *from);
        if let Some(from) = entry.from.as_ref().filter(|from| !is_field(from)) {
            return Err(format!("{key}.from: `{from}` is not a field with `secret = true`"));
        }
        if !entry.pointer.starts_with('/') {
            return Err(format!("{key}.pointer: `{}` must start with a slash", entry.pointer));
        }
    }
    Ok(raw)
}

fn verification(raw: raw::Verification, known: &Known) -> Check<Verification> {
    match raw {
        raw::Verification::Hmac {
            algorithm,
            encoding,
            header,
            prefix,
            secret,
            signed,
            url_ports,
            body_digest,
            timestamp,
        } => {
            header_name("verification.header", &header)?;
            known.secret("verification.secret", &secret)?;
            let signed = signed
                .iter()
                .enumerate()
                .map(|(place, part)| signed_part(place, part))
                .collect::<Check<Vec<_>>>()?;
            // What is not signed can be put together by anybody from a genuine hook.
            let body = signed.contains(&SignedPart::Body) || body_digest.is_some();
            if !body {
                return Err(
                    "verification.signed: the body is not covered; add \"body\", or `body_digest` beside \"url\""
                        .to_owned(),
                );
            }
            if body_digest.is_some() && !signed.contains(&SignedPart::Url) {
                return Err(
                    "verification.body_digest: the digest stands in the query, so `signed` needs \"url\"".to_owned(),
                );
            }
            if let Some(timestamp) = &timestamp {
                check_timestamp(timestamp, &signed)?;
            }
            Ok(Verification::Hmac(Hmac {
                algorithm,
                encoding,
                header,
                prefix,
                secret,
                signed,
                url_ports,
                body_digest,
                timestamp,
            }))
        }
        raw::Verification::SharedSecret { header, secret } => {
            header_name("verification.header", &header)?;
            known.secret("verification.secret", &secret)?;
            Ok(Verification::SharedSecret { header, secret })
        }
        raw::Verification::Basic { user, secret } => {
            known.secret("verification.secret", &secret)?;
            Ok(Verification::Basic { user, secret })
        }
        raw::Verification::None {} => Ok(Verification::None),
    }
}

fn signed_part(place: usize, text: &str) -> Check<SignedPart> {
    let key = format!("verification.signed[{place}]");
    match (text, text.split_once(':')) {
        ("body", _) => Ok(SignedPart::Body),
        ("url", _) => Ok(SignedPart::Url),
        ("sorted-form", _) => Ok(SignedPart::SortedForm),
        (_, Some(("header", name))) => {
            header_name(&key, name)?;
            Ok(SignedPart::Header(name.to_owned()))
        }
        (_, Some(("literal", literal))) => Ok(SignedPart::Literal(literal.to_owned())),
        _ => Err(format!(
            "{key}: `{text}` is none of `body`, `url`, `sorted-form`, `header:<name>`, `literal:<text>`"
        )),
    }
}

/// A time that nobody signed can be written anew by whoever sends the hook again.
fn check_timestamp(timestamp: &raw::Timestamp, signed: &[SignedPart]) -> Check<()> {
    header_name("verification.timestamp.header", &timestamp.header)?;
    let covered = signed
        .iter()
        .any(|part| matches!(part, SignedPart::Header(name) if *name == timestamp.header));
    if !covered {
        return Err(format!(
            "verification.timestamp: `signed` needs \"header:{}\"",
            timestamp.header
        ));
    }
    if !(1..=TOLERANCE_S_MAX).contains(&timestamp.tolerance_s) {
        return Err(format!(
            "verification.timestamp.tolerance_s: {} is not between 1 and {TOLERANCE_S_MAX}",
            timestamp.tolerance_s
        ));
    }
    Ok(())
}

fn check_challenge(challenge: &raw::Challenge, known: &Known) -> Check<()> {
    let raw::Challenge::Query { method, token, .. } = challenge;
    methods("challenge.method", vec![method.clone()])?;
    known.secret("challenge.token.secret", &token.secret)
}

fn methods(key: &str, methods: Vec<String>) -> Check<Vec<String>> {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    match methods.iter().find(|method| !KNOWN.contains(&method.as_str())) {
        Some(method) => Err(format!("{key}: `{method}` is none of {}", KNOWN.join(", "))),
        None => Ok(methods),
    }
}

fn answer(raw: raw::WebhookAnswer) -> Check<Answer> {
    if !(200..300).contains(&raw.status) {
        return Err(format!(
            "webhook.answer.status: {} is not between 200 and 299",
            raw.status
        ));
    }
    Ok(Answer {
        status: raw.status,
        content_type: raw.content_type,
        body: raw.body.into_bytes(),
    })
}

/// Longer than any provider keeps a hook, in seconds: a slip of units is found.
const RETRIED_FOR_S_MAX: u64 = 30 * 24 * 60 * 60;

fn overload(raw: raw::Overload) -> Check<Overload> {
    if raw.retried_for_s > RETRIED_FOR_S_MAX {
        return Err(format!(
            "webhook.overload.retried_for_s: {} is more than {RETRIED_FOR_S_MAX}, a month; say it in seconds",
            raw.retried_for_s
        ));
    }
    if raw.status_query.as_deref() == Some("") {
        return Err("webhook.overload.status_query: name a parameter, or leave it out".to_owned());
    }
    Ok(Overload {
        retried_for: Duration::from_secs(raw.retried_for_s),
        too_many_requests: raw.too_many_requests,
        status_query: raw.status_query,
    })
}

fn credentials(raw: Vec<raw::Credential>, known: &Known) -> Check<Vec<Credential>> {
    let mut credentials: Vec<Credential> = Vec::new();
    for (place, credential) in raw.into_iter().enumerate() {
        let key = format!("credentials[{place}]");
        if credentials.iter().any(|other| other.name == credential.name) {
            return Err(format!("{key}.name: there are two credentials `{}`", credential.name));
        }
        if credential.inject.is_empty() {
            return Err(format!("{key}.inject: say where the secret goes"));
        }
        for (at, inject) in credential.inject.iter().enumerate() {
            let key = format!("{key}.inject[{at}]");
            known.secret(&format!("{key}.secret"), inject.secret())?;
            match inject {
                raw::Inject::QueryHmac { key: by, .. } => known.secret(&format!("{key}.key"), by)?,
                raw::Inject::Basic { user_field, .. } => known.field(&format!("{key}.user_field"), user_field)?,
                raw::Inject::Header { name, .. } => header_name(&format!("{key}.name"), name)?,
                raw::Inject::Json { pointer, .. } if !pointer.starts_with('/') => {
                    return Err(format!("{key}.pointer: `{pointer}` must start with a slash"));
                }
                _ => {}
            }
        }
        credentials.push(Credential {
            name: credential.name,
            inject: credential.inject,
        });
    }
    Ok(credentials)
}

fn egress(raw: Vec<raw::Egress>, credentials: &[Credential]) -> Check<Vec<Rule>> {
    let mut rules = Vec::new();
    for (place, entry) in raw.into_iter().enumerate() {
        let key = format!("egress[{place}]");
        let (host, port) = origin(&entry.origin).ok_or_else(|| {
            format!(
                "{key}.origin: `{}` is not of the form https://host or https://*.host",
                entry.origin
            )
        })?;
        if let Some(name) = entry
            .credentials
            .iter()
            .find(|name| !credentials.iter().any(|known| known.name == **name))
        {
            return Err(format!("{key}.credentials: there is no [[credentials]] `{name}`"));
        }
        for path in &entry.paths {
            check_path_pattern(path).map_err(|problem| format!("{key}.paths: {problem}"))?;
        }
        rules.push(Rule {
            scheme: "https".to_owned(),
            host,
            port,
            methods: methods(&format!("{key}.methods"), entry.methods)?,
            paths: entry.paths,
            credentials: entry.credentials,
            holds: match entry.holds {
                raw::EgressHolds::Always => Holds::Always,
                raw::EgressHolds::Redirected => Holds::Redirected,
            },
        });
    }
    Ok(rules)
}

/// Host and port of `https://host[:port]`; the host may start with `*.` when two labels follow.
fn origin(text: &str) -> Option<(String, u16)> {
    let authority = text.strip_prefix("https://")?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, 443),
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    let labels = name.split('.').collect::<Vec<_>>();
    let good = labels.iter().all(|label| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !label.starts_with('-')
    });
    (good && labels.len() >= 2).then(|| (host.to_owned(), port))
}

fn check_capabilities(capabilities: &Capabilities) -> Check<()> {
    let text = &capabilities.text;
    if text.limit == 0 {
        return Err("capabilities.text.limit: must be at least 1".to_owned());
    }
    if let Some(rate) = capabilities.delivery.per_recipient_per_second
        && !(rate.is_finite() && rate > 0.0)
    {
        return Err(
            "capabilities.delivery.per_recipient_per_second: must be above 0; leave it out for no limit".to_owned(),
        );
    }
    let delivery = &capabilities.delivery;
    if delivery
        .per_second
        .is_some_and(|rate| !(rate.is_finite() && rate > 0.0))
    {
        return Err(
            "capabilities.delivery.per_second: must be above 0; leave it out where no rate is known".to_owned(),
        );
    }
    match (text.formatting, &text.markers) {
        (Formatting::Markers, None) => {
            Err("capabilities.text.markers: needed with `formatting = \"markers\"`".to_owned())
        }
        (Formatting::Plain | Formatting::Spans, Some(_)) => {
            Err("capabilities.text.markers: only with `formatting = \"markers\"`".to_owned())
        }
        _ => Ok(()),
    }
}
