//! What a PostgreSQL server tells of itself, judged: each finding that is not fine says what to do.

use std::time::Duration;

use mantle_store::Address;
use mantle_store::database::examine::{Connections, Examined, HostSeen, examine};

use super::{CLOCK_SKEW_MAX, Finding, SYNC_RATE_LOW, SYNC_RATE_UNREAL, finding};

/// Our own transactions end within 30 s; one that is twice as old is nobody's who works.
const TRANSACTION_AGE_MAX: Duration = Duration::from_secs(60);

pub(super) async fn findings(address: &Address) -> Vec<Finding> {
    match examine(address).await {
        Ok(found) => judged(&found),
        Err(error) => vec![finding("database", false, format!("{error}"))],
    }
}

fn judged(found: &Examined) -> Vec<Finding> {
    let mut findings = vec![version(found)];
    findings.extend(settings(found));
    findings.extend(found.commits_per_second.map(commit_rate));
    findings.push(clock(found.clock_ahead_ms));
    findings.push(migrations(found));
    findings.push(hosts(&found.hosts));
    findings.push(connections(found.connections, &found.hosts));
    findings.push(oldest(found.oldest_transaction.as_ref()));
    findings.push(notifications(found.notifications_arrive));
    findings
}

fn version(found: &Examined) -> Finding {
    let version = format!("PostgreSQL {}", found.version);
    if found.is_standby {
        let advice = "it is a standby and takes no writes. Name the primary in `[database] url`, or add \
                      `target_session_attrs` to your pooler";
        return finding("database", false, format!("{version}: {advice}."));
    }
    finding("database", true, version)
}

/// What must be so for a commit to be on the disk when it is answered.
fn settings(found: &Examined) -> Vec<Finding> {
    let judge = |what: &'static str, value: &str, fine: bool, advice: &str| {
        let detail = if fine {
            format!("{what} = {value}")
        } else {
            format!("{what} = {value}: {advice}.")
        };
        finding(what, fine, detail)
    };
    vec![
        judge(
            "fsync",
            &found.fsync,
            found.fsync == "on",
            "what was accepted is lost when the server's machine fails. Set `fsync = on` in postgresql.conf",
        ),
        judge(
            "synchronous_commit",
            &found.synchronous_commit,
            found.synchronous_commit != "off",
            "hosts set it to on for what they write, which a pooler in transaction mode prevents. Set \
             `synchronous_commit = on` in postgresql.conf or for the database",
        ),
        judge(
            "full_page_writes",
            &found.full_page_writes,
            found.full_page_writes == "on",
            "a page that was half written when the power failed cannot be mended. Set `full_page_writes = on` unless \
             the file system writes pages whole (ZFS)",
        ),
    ]
}

fn commit_rate(rate: f64) -> Finding {
    let told = format!("{rate:.0} commits a second, one after the other");
    let advice = if rate < SYNC_RATE_LOW {
        ": every message waits for the server's disk or for the way to it. Give it a faster disk, or bring it nearer"
    } else if rate > SYNC_RATE_UNREAL {
        ": no disk is this fast. Its cache, or `fsync = off`, says that data is safe before it is"
    } else {
        ""
    };
    finding("commit rate", advice.is_empty(), format!("{told}{advice}"))
}

fn clock(ahead_ms: i64) -> Finding {
    let off = Duration::from_millis(ahead_ms.unsigned_abs());
    let fine = off <= CLOCK_SKEW_MAX;
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let advice = if fine {
        ""
    } else {
        ". Leases do not mind, but hosts whose clocks differ work each other's retries too early or too late: set up \
         time synchronisation on both machines"
    };
    finding(
        "server clock",
        fine,
        format!("{:.1} s {side} this host's{advice}", off.as_secs_f64()),
    )
}

fn migrations(found: &Examined) -> Finding {
    let (have, known) = found.migrations;
    let (fine, detail) = if have == 0 {
        (true, "the tables are made on the first start".to_owned())
    } else if found.migrations_needed > known {
        let advice = "no host of this release can work with it. Install the release that wrote it";
        (false, format!("version {have}, this program knows {known}: {advice}."))
    } else if have < known {
        let detail = format!(
            "version {have}, {} to come: the next start of this release brings them",
            known - have
        );
        (true, detail)
    } else {
        (true, format!("version {have}, nothing to come"))
    };
    finding("migrations", fine, detail)
}

fn hosts(hosts: &[HostSeen]) -> Finding {
    let seconds = |ms: i64| Duration::from_millis(ms.unsigned_abs()).as_secs();
    let living: Vec<String> = hosts
        .iter()
        .filter(|host| host.lease_left_ms > 0)
        .map(|host| format!("no. {} (lease for {} s more)", host.number, seconds(host.lease_left_ms)))
        .collect();
    let gone: Vec<String> = hosts
        .iter()
        .filter(|host| host.lease_left_ms <= 0)
        .map(|host| format!("no. {} {} s ago", host.number, seconds(host.lease_left_ms)))
        .collect();
    let mut told = match living.len() {
        0 => "no host is at work".to_owned(),
        count => format!("{count} at work: {}", living.join(", ")),
    };
    if !gone.is_empty() {
        told.push_str(&format!("; last heard of within a day: {}", gone.join(", ")));
    }
    // A new database has no rows, and that is no fault.
    let silent = living.is_empty() && !hosts.is_empty();
    if silent {
        told.push_str(". Start one: messages wait meanwhile.");
    }
    finding("hosts", !silent, told)
}

fn connections(found: Connections, hosts: &[HostSeen]) -> Finding {
    let living = hosts.iter().filter(|host| host.lease_left_ms > 0).count().max(1);
    let living = i64::try_from(living).unwrap_or(i64::MAX);
    let needed = living.saturating_mul(found.needed_by_a_host);
    let left = found.max - found.used_by_others;
    let told = format!(
        "{} allowed, {} used by others, {needed} needed by {living} hosts of {} each",
        found.max, found.used_by_others, found.needed_by_a_host
    );
    if left >= needed {
        return finding("connections", true, told);
    }
    let advice = "Raise `max_connections` of the server, or the limit of the database or user";
    finding("connections", false, format!("{told}. {advice}."))
}

fn oldest(found: Option<&(Duration, String)>) -> Finding {
    let Some((age, who)) = found else {
        return finding("oldest transaction", true, "none is open");
    };
    let told = format!("{:.0} s: {who}", age.as_secs_f64());
    if *age <= TRANSACTION_AGE_MAX {
        return finding("oldest transaction", true, told);
    }
    let advice = "What is dead cannot be cleaned up while it is open, and every claim gets slower. End it: \
                  `select pg_terminate_backend(pid)`, or `rollback prepared`";
    finding("oldest transaction", false, format!("{told}. {advice}."))
}

fn notifications(arrive: Option<bool>) -> Finding {
    match arrive {
        Some(true) => finding("notifications", true, "hosts hear each other at once"),
        None => finding(
            "notifications",
            true,
            "not used (`transaction_pooler = true`): hosts ask each other every second or two",
        ),
        Some(false) => finding(
            "notifications",
            false,
            "they do not arrive: a pooler in transaction mode, such as PgBouncer, is in between. Hosts ask each other \
             every second or two instead, and prepared statements may fail. Write `transaction_pooler = true` under \
             [database], or name the server itself in `[database] url`.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Examined {
        Examined {
            version: "15.18".into(),
            is_standby: false,
            fsync: "on".into(),
            synchronous_commit: "on".into(),
            full_page_writes: "on".into(),
            commits_per_second: Some(900.0),
            clock_ahead_ms: -3,
            hosts: vec![HostSeen {
                number: 0,
                lease_left_ms: 12_000,
            }],
            connections: Connections {
                max: 97,
                used_by_others: 4,
                needed_by_a_host: 13,
            },
            oldest_transaction: None,
            notifications_arrive: Some(true),
            migrations: (2, 2),
            migrations_needed: 1,
        }
    }

    /// What is not fine, and what is said of it.
    fn told(found: &Examined) -> Vec<(&'static str, String)> {
        let findings = judged(found).into_iter().filter(|finding| !finding.fine);
        findings.map(|finding| (finding.what, finding.detail)).collect()
    }

    #[test]
    fn a_sound_server_is_fine_and_each_fault_says_what_to_do() {
        assert_eq!(told(&good()), []);
        let check = |spoil: &dyn Fn(&mut Examined), what: &str, words: &str| {
            let mut found = good();
            spoil(&mut found);
            let told = told(&found);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].0 == what && told[0].1.contains(words), "{told:?}");
        };
        check(&|found| found.is_standby = true, "database", "Name the primary");
        check(&|found| found.fsync = "off".into(), "fsync", "Set `fsync = on`");
        let asynchronous = |found: &mut Examined| found.synchronous_commit = "off".into();
        check(&asynchronous, "synchronous_commit", "Set `synchronous_commit = on`");
        check(
            &|found| found.full_page_writes = "off".into(),
            "full_page_writes",
            "`full_page_writes = on`",
        );
        check(
            &|found| found.commits_per_second = Some(20.0),
            "commit rate",
            "faster disk",
        );
        check(
            &|found| found.commits_per_second = Some(90_000.0),
            "commit rate",
            "`fsync = off`",
        );
        check(&|found| found.clock_ahead_ms = -61_000, "server clock", "61.0 s behind");
        check(
            &|found| found.migrations_needed = 3,
            "migrations",
            "Install the release",
        );
        check(&|found| found.hosts[0].lease_left_ms = -90_000, "hosts", "Start one");
        check(
            &|found| found.connections.max = 16,
            "connections",
            "Raise `max_connections`",
        );
        let old =
            |found: &mut Examined| found.oldest_transaction = Some((Duration::from_secs(600), "session 7".into()));
        check(&old, "oldest transaction", "pg_terminate_backend");
        check(
            &|found| found.notifications_arrive = Some(false),
            "notifications",
            "`transaction_pooler = true`",
        );
    }

    #[test]
    fn a_database_without_tables_is_no_fault() {
        let mut found = good();
        found.hosts.clear();
        found.migrations = (0, 2);
        found.migrations_needed = 0;
        assert_eq!(told(&found), []);
    }
}
