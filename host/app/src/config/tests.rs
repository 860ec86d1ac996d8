use std::path::{Path, PathBuf};

use mantle_store::Database;

use super::{HostConfig, parse, process_environment};

fn environment(name: &str) -> Option<String> {
    match name {
        "PRESENT" => Some("value-of-present".to_owned()),
        "DATABASE" => Some("postgres://me:canary-pw@db/mantle".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// All problems of the text, as the operator reads them.
fn problems(text: &str) -> String {
    match parse(Path::new("/etc/mantle/plugins.toml"), text, &environment) {
        Ok(config) => config
            .live
            .refusals()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => error.to_string(),
    }
}

fn good(text: &str) -> HostConfig {
    match parse(Path::new("/etc/mantle/plugins.toml"), text, &environment) {
        Ok(config) => config,
        Err(error) => panic!("refused: {error}"),
    }
}

#[test]
fn f_6_every_mistake_names_file_line_key_and_fix() {
    let check = |text: &str, expected: &str| assert_eq!(problems(text), expected, "for:\n{text}");
    check(
        "[server]\nlisten = 8080\n",
        "/etc/mantle/plugins.toml:2: `server.listen`: This is a number. Write text in quotes, such as \"127.0.0.1:8080\".",
    );
    check(
        "[server]\nlisten = \"localhost\"\n",
        "/etc/mantle/plugins.toml:2: `server.listen`: `localhost` is not an address. Write an IP address and a port, such as \"127.0.0.1:8080\".",
    );
    check(
        "[server]\n\nlistne = \"127.0.0.1:1\"\n",
        "/etc/mantle/plugins.toml:3: `server.listne`: There is no such key. Did you mean `listen`?",
    );
    check(
        "[plugin.telegram]\n",
        "/etc/mantle/plugins.toml:1: `plugin`: There is no such key. Did you mean `plugins`?",
    );
    check(
        "[server]\npublic_url = \"bridge.example.com\"\n",
        "/etc/mantle/plugins.toml:2: `server.public_url`: `bridge.example.com` is not a public address. Write scheme and host, such as \"https://bridge.example.com\".",
    );
    check(
        "[database]\nurl = \"postgres://me:canary@db\"\n",
        "/etc/mantle/plugins.toml:2: `database.url`: `[database] url` names no database; write \"postgres://user:password@host:5432/mantle\".",
    );
    check(
        "[database]\nurl = \"mysql://x\"\n",
        "/etc/mantle/plugins.toml:2: `database.url`: `[database] url` must start with \"sqlite:\" or \"postgres://\".",
    );
    check(
        "[inbox.intercom]\nclient_id = \"abc\"\nclient_secret = { env = \"ABSENT\" }\n",
        "/etc/mantle/plugins.toml:3: `inbox.intercom.client_secret`: The environment variable ABSENT is not set. Set it before starting the host.",
    );
    check(
        "[inbox.intercom]\nclient_id = \"abc\"\n",
        "/etc/mantle/plugins.toml:2: `inbox.intercom.client_secret`: It is missing. Intercom's webhooks are proven with it: copy it from Basic information of your app in Intercom's Developer Hub.",
    );
    check(
        "[inbox.intercom]\nclient_secret = { vault = \"x\" }\n",
        "/etc/mantle/plugins.toml:2: `inbox.intercom.client_secret`: This is a table with the key `vault`. A secret is { env = \"NAME\" }, { file = \"path\" } or text in quotes.",
    );
    check(
        "[egress.redirect]\n\"https://api.telegram.org/bot\" = \"http://127.0.0.1:9101\"\n",
        "/etc/mantle/plugins.toml:2: `egress.redirect.\"https://api.telegram.org/bot\"`: `https://api.telegram.org/bot` is not an origin. Write scheme, host and port alone, such as \"http://127.0.0.1:9101\".",
    );
    check(
        "[server\n",
        "/etc/mantle/plugins.toml:1: This is not TOML: unclosed table, expected `]`.",
    );
    check(
        "[plugins.telegram]\n[plugins.telegram]\n",
        "/etc/mantle/plugins.toml:2: `plugins.telegram`: It stands here a second time. Keep one of the two, or write both parts into one.",
    );
    check(
        "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n",
        "/etc/mantle/plugins.toml:3: `server.listen`: It stands here a second time. Keep one of the two, or write both parts into one.",
    );
    check(
        "[inbox.intercom]\nclient_secret = \"  \"\n",
        "/etc/mantle/plugins.toml:2: `inbox.intercom.client_secret`: The secret is empty. Fill it in.",
    );
}

#[test]
fn f_6_a_plugin_that_is_written_wrongly_refuses_the_file() {
    let check = |lines: &str, expected: &str| {
        let found = problems(&format!("[plugins.telegram]\n{lines}"));
        let found = found.replace("/etc/mantle/plugins.toml:", "");
        assert_eq!(found, expected, "for:\n{lines}");
    };
    check(
        "",
        "1: `plugins.telegram.component`: It is missing. Write the path of the connector's .wasm file.",
    );
    check(
        "component = \"a.wasm\"\nmemory_mib = \"32\"\n",
        "3: `plugins.telegram.memory_mib`: This is text. Write a whole number of MiB, such as 32.",
    );
    check(
        "component = \"a.wasm\"\nmemory_mib = 100000\n",
        "3: `plugins.telegram.memory_mib`: 100000 is out of range. Write 1 to 1024.",
    );
    check(
        "component = \"a.wasm\"\nsha256 = \"abc\"\n",
        "3: `plugins.telegram.sha256`: A digest has 64 hexadecimal characters. `mantle plugin inspect` shows it.",
    );
    check(
        "component = \"a.wasm\"\ngrants = \"all\"\n",
        "3: `plugins.telegram.grants`: `all` is no grant. Write `\"asked\"` for all that the connector's manifest asks for, or `{ egress = [\"host\", …] }` for less.",
    );
    check(
        "component = \"a.wasm\"\ngrants = { egress = [\"https://api.telegram.org/\"] }\n",
        "3: `plugins.telegram.grants.egress`: This is no list of hosts. Write names alone, such as [\"api.telegram.org\"].",
    );
    check(
        "component = \"a.wasm\"\nenabled = \"yes\"\n",
        "3: `plugins.telegram.enabled`: This is text. Write `true` or `false`, without quotes.",
    );
    assert_eq!(
        problems("[plugins.\"My Bot\"]\ncomponent = \"a.wasm\"\n"),
        "/etc/mantle/plugins.toml:1: `plugins.My Bot`: A plugin's name has small letters, digits and hyphens, at most 64."
    );
}

#[test]
fn f_6_a_missing_file_or_secret_refuses_its_plugin_alone() {
    let config = good(
        "[plugins.telegram]\ncomponent = \"absent.wasm\"\n\
         [plugins.whatsapp]\ncomponent = \"plugins.toml\"\n\
         [plugins.whatsapp.secrets]\napp_secret = { env = \"EMPTY\" }\n\
         [plugins.far]\ncomponent = \"oci://registry.example/far:1\"\n\
         [plugins.off]\ncomponent = \"absent.wasm\"\nenabled = false\n",
    );
    let found: Vec<String> = config.live.refusals().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "/etc/mantle/plugins.toml:2: `plugins.telegram.component`: There is no file /etc/mantle/absent.wasm. Build the connectors with `cargo connectors`, or correct the path.",
            "/etc/mantle/plugins.toml:4: `plugins.whatsapp.component`: There is no file /etc/mantle/plugins.toml. Build the connectors with `cargo connectors`, or correct the path.",
            "/etc/mantle/plugins.toml:6: `plugins.whatsapp.secrets.app_secret`: The secret is empty. Fill it in.",
        ]
    );
    assert_eq!(config.live.entries().keys().collect::<Vec<_>>(), [&"far"]);
}

#[test]
fn f_6_a_source_or_key_that_is_none_names_how_it_is_written() {
    let check = |text: &str, expected: &str| {
        let found = problems(text);
        assert!(found.contains(expected), "{found}\n does not hold\n{expected}");
    };
    check(
        "[plugins.x]\ncomponent = \"oci://registry.example/x\"\n",
        "plugins.toml:2: `plugins.x.component`: `oci://registry.example/x` has no tag. Write registry, name and tag",
    );
    check(
        "[plugins.x]\ncomponent = \"https://example.com/x.wasm\"\n",
        "plugins.toml:2: `plugins.x.component`: An address may answer with anything, so the component's digest is needed.",
    );
    check(
        "[plugins.x]\ncomponent = \"http://example.com/x.wasm\"\n",
        "`http://example.com/x.wasm` is no address that components are taken from.",
    );
    check(
        "[plugins.x]\ncomponent = \"x.wasm\"\ncanary_percent = 0\n",
        "plugins.toml:3: `plugins.x.canary_percent`: 0 is out of range. Write 1 to 100",
    );
    check(
        "[trust]\nkeys = { ours = \"abc\" }\n",
        "plugins.toml:2: `trust.keys.ours`: `ours` is no public key.",
    );
    check(
        "[registries.\"ghcr.io\"]\nuser = \"me\"\n",
        "plugins.toml:1: `registries.ghcr.io.user`: A login has `user` and `password`. Write both.",
    );
    check("[trust]\nrequired = true\n", "Did you mean `require`?");
    let live = good("[trust]\nkeys = { ours = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\" }\n").live;
    assert!(live.trust.judge(b"x", None).is_err(), "who names keys means them");
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let found = problems("[server]\nlisten = 1\nport = 2\n[database]\nurl = 3\n");
    let lines: Vec<&str> = found.lines().filter_map(|line| line.split(':').nth(1)).collect();
    assert_eq!(lines, ["2", "3", "5"]);
}

#[test]
fn an_empty_file_has_a_default_for_everything() {
    let config = good("");
    assert_eq!(config.fixed.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.fixed.public_url, None);
    assert_eq!(config.fixed.data_dir, PathBuf::from("/etc/mantle/data"));
    assert_eq!(
        config.fixed.database,
        Database::Sqlite("/etc/mantle/data/mantle.db".into())
    );
    assert_eq!(config.fixed.key_file, PathBuf::from("/etc/mantle/data/secret.key"));
    let warnings: Vec<(usize, &str)> = config
        .warnings
        .iter()
        .map(|warning| (warning.line, warning.key.as_str()))
        .collect();
    assert_eq!(warnings, [(0, "server.public_url"), (0, "inbox.intercom")]);
    assert!(config.live.plugins.is_empty());
}

#[test]
fn a_database_of_a_server_may_be_a_secret() {
    for url in ["\"postgres://me:canary-pw@db/mantle\"", "{ env = \"DATABASE\" }"] {
        let config = good(&format!("[database]\nurl = {url}\n"));
        assert_eq!(config.fixed.database.to_string(), "postgres://db:5432/mantle");
        assert!(!format!("{:?}", config.fixed).contains("canary-pw"));
    }
}

#[test]
fn paths_are_relative_to_the_file_and_secrets_do_not_print() {
    let config = good(
        "[server]\npublic_url = \"https://bridge.example.com/\"\ndata_dir = \"/var/lib/mantle\"\n\
         [database]\nurl = \"sqlite:state/m.db\"\n[secrets]\nkey_file = \"../keys/k\"\n\
         [inbox.intercom]\nclient_id = \"abc\"\nclient_secret = { env = \"PRESENT\" }\n\
         [egress.redirect]\n\"https://api.telegram.org\" = \"http://127.0.0.1:9101\"\n",
    );
    assert_eq!(config.fixed.public_url.as_deref(), Some("https://bridge.example.com"));
    assert_eq!(config.fixed.database, Database::Sqlite("/etc/mantle/state/m.db".into()));
    assert_eq!(config.fixed.key_file, PathBuf::from("/etc/mantle/../keys/k"));
    let app = config
        .live
        .intercom
        .as_ref()
        .map(|app| app.client_secret.expose().to_owned());
    assert_eq!(app.as_deref(), Some("value-of-present"));
    assert!(!format!("{config:?}").contains("value-of-present"));
    assert_eq!(config.live.redirects.len(), 1);
}

#[test]
fn the_sample_configuration_is_right_but_for_what_must_be_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins.toml");
    let variables = |name: &str| Some(format!("{name} of the operator"));
    match super::load(&root, &variables) {
        Ok(config) => {
            let names: Vec<&str> = config.live.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
            assert_eq!(names, ["telegram", "twilio-sms", "whatsapp"]);
            assert!(
                config
                    .live
                    .refusals()
                    .all(|problem| problem.key.ends_with(".component"))
            );
        }
        Err(error) => panic!("{error}"),
    }
    assert_eq!(process_environment("MANTLE_NO_SUCH_VARIABLE"), None);
}

#[test]
fn f_6_an_address_that_providers_cannot_reach_is_a_warning() {
    let check = |address: &str, expected: Option<&str>| {
        let config = good(&format!(
            "[server]\n\npublic_url = \"{address}\"\n[inbox.intercom]\nclient_secret = \"s\"\n"
        ));
        let found: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        match expected {
            None => assert!(found.is_empty(), "{address}: {found:?}"),
            Some(words) => {
                assert_eq!(found.len(), 1, "{address}: {found:?}");
                assert!(
                    found[0].starts_with("/etc/mantle/plugins.toml:3: `server.public_url`: ")
                        && found[0].contains(words),
                    "{address}: {found:?}"
                );
            }
        }
    };
    check("https://bridge.example.com", Some("is an example"));
    check("https://example.org", Some("is an example"));
    check("http://bridge.shop.io", Some("has no TLS"));
    check("http://192.168.0.7:8080", Some("has no TLS"));
    check("https://bridge", Some("within a network"));
    check("https://bridge.shop.io", None);
    check("https://203.0.113.9", None);
    for loopback in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"] {
        check(loopback, None);
    }
}

#[test]
fn f_6_a_data_folder_that_is_none_or_open_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugins.toml");
    let text = "[server]\npublic_url = \"https://bridge.shop.io\"\ndata_dir = \"here\"\n\
                [inbox.intercom]\nclient_secret = \"s\"\n";
    let here = folder.path().join("here");
    std::fs::write(&here, "a file").unwrap();
    let refused = parse(&file, text, &environment).unwrap_err().to_string();
    assert!(
        refused.contains("plugins.toml:3: `server.data_dir`: ") && refused.contains("is a file. Name a folder"),
        "{refused}"
    );
    std::fs::remove_file(&here).unwrap();
    std::fs::create_dir(&here).unwrap();
    let warnings = |mode: u32| {
        std::fs::set_permissions(&here, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = parse(&file, text, &environment).unwrap();
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let open = warnings(0o755);
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(
        open[0].contains("`server.data_dir`") && open[0].contains("chmod 700"),
        "{open:?}"
    );
    assert!(warnings(0o700).is_empty());
}

#[test]
fn f_6_a_file_that_cannot_be_read_says_why() {
    let check = |kind: std::io::ErrorKind, words: &str| {
        let told = super::unreadable(&kind.into());
        assert!(told.contains(words), "{told}");
    };
    check(std::io::ErrorKind::PermissionDenied, "no permission to read it");
    check(std::io::ErrorKind::NotFound, "Create the file");
    check(std::io::ErrorKind::InvalidData, "not UTF-8");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugins.toml");
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    let error = super::load(&file, &environment).unwrap_err().to_string();
    assert!(error.contains("not UTF-8"), "{error}");
}
