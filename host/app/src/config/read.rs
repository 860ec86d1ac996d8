//! The keys of `plugins.toml`, section by section.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use mantle_flow::upkeep::{self, Retention};
use mantle_store::Database;
use mantle_supply::limits::KEYS_MAX;
use mantle_supply::{LockFile, Login, Trust};
use toml::de::{DeTable, DeValue};
use url::Url;

use super::document::{Document, Section, secret};
use super::{DEFAULT_LISTEN, Fixed, HostConfig, IntercomApp, Live, plugins};

/// Below this, tries that go on for two days would lose their message.
const RETENTION_DAYS_MIN: u32 = 3;
/// Ten years: longer is a slip of the finger.
const RETENTION_DAYS_MAX: u32 = 3_650;
/// What it means that there is no `[inbox.intercom]`.
const NO_INTERCOM: &str = "There is no such table, so no webhook of Intercom can be proven: each is answered with 401, \
    and what the team writes reaches nobody. Add [inbox.intercom] with the client_secret of your app.";

/// None: something is wrong and the document has it.
pub(super) fn host(document: &Document<'_>) -> Option<HostConfig> {
    let table = match DeTable::parse(document.text) {
        Ok(table) => table,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let told = error.message().trim_end_matches('.');
            let problem = if told.starts_with("duplicate key") {
                let message = "It stands here a second time. Keep one of the two, or write both parts into one.";
                document.problem(&document.key_at(span.start), span, message)
            } else {
                document.problem("", span, format!("This is not TOML: {told}."))
            };
            document.report(problem);
            return None;
        }
    };
    let root = Section::new(document, "", table.get_ref());
    let mut warnings = Vec::new();
    let fixed = fixed(document, &root, &mut warnings);
    let intercom = root.section("inbox").and_then(|inbox| {
        let app = inbox
            .section("intercom")
            .and_then(|section| intercom(document, section));
        inbox.finish();
        app
    });
    if table
        .get_ref()
        .get("inbox")
        .is_none_or(|inbox| inbox.get_ref().get("intercom").is_none())
    {
        warnings.push(document.absent("inbox.intercom", NO_INTERCOM));
    }
    let plugins = root.section("plugins").map(|section| plugins::all(document, &section));
    let redirects = root.section("egress").map(|egress| {
        let redirects = egress.section("redirect").map(|section| redirects(document, &section));
        egress.finish();
        redirects.unwrap_or_default()
    });
    let trust = root
        .section("trust")
        .map(|section| trust(document, section))
        .unwrap_or_default();
    let logins = root.section("registries").map(|section| logins(document, &section));
    root.finish();
    let lock = LockFile::beside(document.file);
    document.reads(lock.path().to_path_buf());
    Some(HostConfig {
        file: document.file.to_path_buf(),
        fixed: fixed?,
        live: Live {
            intercom,
            plugins: plugins.unwrap_or_default(),
            redirects: redirects.unwrap_or_default(),
            trust,
            logins: logins.unwrap_or_default(),
            lock,
            files: document.files(),
        },
        warnings,
    })
}

fn fixed(document: &Document<'_>, root: &Section<'_, '_, '_>, warnings: &mut Vec<super::Problem>) -> Option<Fixed> {
    let server = root.section("server");
    let (mut listen, mut public_url, mut data_dir) = (None, None, None);
    if let Some(server) = server {
        listen = server.string("listen", DEFAULT_LISTEN).and_then(|(text, span)| {
            let address = text.parse::<SocketAddr>().ok();
            if address.is_none() {
                server.report(
                    "listen",
                    span,
                    format!(
                        "`{text}` is not an address. Write an IP address and a port, such as \"{DEFAULT_LISTEN}\"."
                    ),
                );
            }
            address
        });
        public_url = server
            .string("public_url", "https://bridge.example.com")
            .and_then(|(text, span)| {
                let address = public_address(&server, &text, span.clone())?;
                let doubt = doubt(&address);
                warnings.extend(doubt.map(|doubt| server.problem("public_url", span, doubt)));
                Some(address)
            });
        data_dir = server.string("data_dir", "data").map(|(text, span)| {
            let folder = document.path(&text);
            data_folder(&server, (&folder, span), warnings);
            folder
        });
        server.finish();
    }
    if public_url.is_none() {
        warnings.push(document.absent(
            "server.public_url",
            "It is not set, so the address listened at is taken. Providers cannot reach that from outside; \
             set it to the public https:// address of this host.",
        ));
    }
    let data_dir = data_dir.unwrap_or_else(|| document.path("data"));
    if open_to_others(&data_dir) && !warnings.iter().any(|warning| warning.key == "server.data_dir") {
        warnings.push(document.absent("server.data_dir", folder_is_open(&data_dir)));
    }
    let database = match root.section("database") {
        Some(section) => {
            let database = database(document, &section, &data_dir);
            section.finish();
            database
        }
        None => Some(Database::Sqlite(data_dir.join("mantle.db"))),
    };
    let key_file = root.section("secrets").and_then(|section| {
        let file = section
            .string("key_file", "data/secret.key")
            .map(|(text, _)| document.path(&text));
        section.finish();
        file
    });
    let retention = root.section("retention").map(retention).unwrap_or_default();
    Some(Fixed {
        retention,
        listen: listen.or_else(|| DEFAULT_LISTEN.parse().ok())?,
        public_url,
        key_file: key_file.unwrap_or_else(|| data_dir.join("secret.key")),
        database: database?,
        data_dir,
    })
}

/// Days, within bounds that cannot be meant otherwise.
fn retention(section: Section<'_, '_, '_>) -> Retention {
    let days = |key: &'static str, usual: u32| {
        let Some((days, span)) = section.whole_number(key, "a whole number of days, such as 90") else {
            return usual;
        };
        if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&days) {
            let message = format!("{days} is out of range. Write {RETENTION_DAYS_MIN} to {RETENTION_DAYS_MAX} days.");
            section.report(key, span, message);
        }
        days
    };
    let retention = Retention::of_days(
        days("message_days", upkeep::MESSAGE_DAYS),
        days("media_days", upkeep::MEDIA_DAYS),
    );
    section.finish();
    retention
}

fn public_address(server: &Section<'_, '_, '_>, text: &str, span: Range<usize>) -> Option<String> {
    let fine = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
    });
    if fine.is_none() {
        server.report(
            "public_url",
            span,
            format!("`{text}` is not a public address. Write scheme and host, such as \"https://bridge.example.com\"."),
        );
    }
    fine.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// What makes it unlikely that a provider reaches the address.
fn doubt(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let named = match url.host()? {
        url::Host::Domain(name) => name.trim_end_matches('.').to_owned(),
        // Of an address in a private network the scheme is the first thing to put right.
        url::Host::Ipv4(ip) if ip.is_loopback() => return None,
        url::Host::Ipv6(ip) if ip.is_loopback() => return None,
        other => other.to_string(),
    };
    if named == "localhost" || named.ends_with(".localhost") {
        return None;
    }
    let under = |domain: &str| named == domain || named.ends_with(&format!(".{domain}"));
    if ["example.com", "example.net", "example.org"].into_iter().any(under) {
        return Some(format!(
            "`{address}` is an example, and nobody reaches this host there. Write the address that leads here from outside."
        ));
    }
    if url.scheme() == "http" {
        return Some(format!(
            "`{address}` has no TLS. Providers and Intercom call https:// addresses alone; put a proxy with TLS in front \
             and write its address."
        ));
    }
    let bare = url.domain().is_some() && !named.contains('.');
    bare.then(|| {
        format!("`{named}` is a name within a network. Providers cannot reach it; write the whole public name.")
    })
}

/// A folder that is none, or that others look into.
fn data_folder(
    server: &Section<'_, '_, '_>,
    (folder, span): (&Path, Range<usize>),
    warnings: &mut Vec<super::Problem>,
) {
    if folder.exists() && !folder.is_dir() {
        let message = format!(
            "{} is a file. Name a folder; it is made if it is missing.",
            folder.display()
        );
        server.report("data_dir", span, message);
    } else if open_to_others(folder) {
        warnings.push(server.problem("data_dir", span, folder_is_open(folder)));
    }
}

fn open_to_others(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(folder).is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o077 != 0)
}

fn folder_is_open(folder: &Path) -> String {
    format!(
        "Others on this machine can look into {0}, where messages and tokens are kept. Close it: `chmod 700 {0}`.",
        folder.display()
    )
}

/// The address may hold a password, and may then be kept elsewhere like any secret.
fn database(document: &Document<'_>, section: &Section<'_, '_, '_>, data_dir: &Path) -> Option<Database> {
    let pooler = section.boolean("transaction_pooler").unwrap_or_default();
    let Some(value) = section.value("url") else {
        return Some(Database::Sqlite(data_dir.join("mantle.db")));
    };
    let text = if matches!(value.get_ref(), DeValue::Table(_)) {
        secret(document, &section.name("url"), value)
            .map_err(|error| document.report(error.problem()))
            .ok()?
            .expose()
            .to_owned()
    } else {
        section.string("url", "sqlite:data/mantle.db")?.0
    };
    let database = match Database::parse(&text) {
        Ok(Database::Sqlite(_)) if text.contains('?') => {
            Err("It names a file with parameters; leave out the question mark and what follows.".to_owned())
        }
        Ok(Database::Sqlite(_)) if pooler => {
            Err("It names a file, and no pooler stands before that; leave out `transaction_pooler`.".to_owned())
        }
        Ok(Database::Postgres(address)) if pooler => Ok(Database::Postgres(address.through_transaction_pooler())),
        Ok(Database::Sqlite(path)) => Ok(Database::Sqlite(document.path(&path.to_string_lossy()))),
        Ok(postgres) => Ok(postgres),
        Err(error) => Err(format!("{error}.")),
    };
    database.map_err(|why| section.report("url", value.span(), why)).ok()
}

fn intercom(document: &Document<'_>, section: Section<'_, '_, '_>) -> Option<IntercomApp> {
    let client_id = section.string("client_id", "abc123").map(|(text, _)| text);
    let given = section.value("client_secret");
    let client_secret = given.and_then(|value| {
        secret(document, &section.name("client_secret"), value)
            .map_err(|error| document.report(error.problem()))
            .ok()
    });
    if given.is_none() {
        let place = section.entries().next().map_or(0..0, |(_, span, _)| span);
        section.report(
            "client_secret",
            place,
            "It is missing. Intercom's webhooks are proven with it: copy it from Basic information of your app \
             in Intercom's Developer Hub.",
        );
    }
    section.finish();
    Some(IntercomApp {
        client_id: client_id.unwrap_or_default(),
        client_secret: client_secret?,
    })
}

/// Whose signatures are good, and whether there must be one. Who names keys means them to be used.
fn trust(document: &Document<'_>, section: Section<'_, '_, '_>) -> Trust {
    let mut trust = Trust::requiring(section.boolean("require").unwrap_or(true));
    if let Some(keys) = section.section("keys") {
        let mut count = 0;
        for (name, span, value) in keys.entries() {
            count += 1;
            let DeValue::String(key) = value.get_ref() else {
                keys.wrong_type(name, value.span(), value.get_ref(), "a public key in base64, in quotes");
                continue;
            };
            if count > KEYS_MAX {
                keys.report(
                    name,
                    span,
                    format!("There are more than {KEYS_MAX} keys. Keep those in use."),
                );
                break;
            }
            if let Err(why) = trust.add(name, key) {
                document.report(document.problem(&keys.name(name), value.span(), format!("{why}.")));
            }
        }
    }
    section.finish();
    trust
}

/// `[registries."ghcr.io"]`: user and password.
fn logins(document: &Document<'_>, section: &Section<'_, '_, '_>) -> BTreeMap<String, Login> {
    let mut logins = BTreeMap::new();
    for (registry, span, value) in section.entries() {
        let DeValue::Table(table) = value.get_ref() else {
            section.wrong_type(
                registry,
                value.span(),
                value.get_ref(),
                "a table with `user` and `password`",
            );
            continue;
        };
        let inner = Section::new(document, section.name(registry), table);
        let user = inner.string("user", "robot");
        let password = inner
            .value("password")
            .map(|value| secret(document, &inner.name("password"), value));
        match (user, password) {
            (Some((user, _)), Some(Ok(password))) => {
                logins.insert(registry.to_ascii_lowercase(), Login { user, password });
            }
            (_, Some(Err(error))) => document.report(error.problem()),
            _ => inner.report("user", span, "A login has `user` and `password`. Write both."),
        }
        inner.finish();
    }
    logins
}

fn redirects(document: &Document<'_>, section: &Section<'_, '_, '_>) -> Vec<(Url, Url)> {
    let mut redirects = Vec::new();
    for (from, span, value) in section.entries() {
        let key = format!("egress.redirect.\"{from}\"");
        let DeValue::String(to) = value.get_ref() else {
            section.wrong_type(
                from,
                value.span(),
                value.get_ref(),
                "the origin to call instead, in quotes",
            );
            continue;
        };
        let origin = |text: &str, span: Range<usize>| {
            let url = Url::parse(text)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
                .filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none());
            if url.is_none() {
                document.report(document.problem(
                    &key,
                    span,
                    format!("`{text}` is not an origin. Write scheme, host and port alone, such as \"http://127.0.0.1:9101\"."),
                ));
            }
            url
        };
        if let (Some(from), Some(to)) = (origin(from, span), origin(to, value.span())) {
            redirects.push((from, to));
        }
    }
    redirects
}
