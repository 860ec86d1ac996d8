//! Errors, refusals and reports of guests: their words cut, in one line, and without secrets.

use std::time::Duration;

use mantle_model::failure::{Cause, Failure, Reason, Refusal};
use mantle_model::inbound::{Notice, NoticeLevel};
use mantle_model::secret::Secrets;

use super::{Garbage, id, label};
use crate::bindings::exports::mantle::connector::connector::ReceiveError;
use crate::bindings::lifecycle::exports::mantle::connector::lifecycle as guest_lifecycle;
use crate::bindings::mantle::connector::values as guest;
use crate::leaks;
use crate::limits;
use crate::line::is_unruly;
use crate::values::{CallError, Health, HealthReport, ProviderAccount};

/// One line of bounded length.
fn line(text: &str) -> String {
    text.chars()
        .map(|c| if is_unruly(c) { ' ' } else { c })
        .take(limits::FAILURE_CHARS_MAX)
        .collect()
}

fn cause(failure: &guest::Failure) -> Cause {
    Cause::new(line(&failure.code), line(&failure.message))
}

fn reason(reason: guest::RefusalReason) -> Reason {
    match reason {
        guest::RefusalReason::Unreachable => Reason::Unreachable,
        guest::RefusalReason::OptedOut => Reason::OptedOut,
        guest::RefusalReason::WindowClosed => Reason::WindowClosed,
        guest::RefusalReason::TooLarge => Reason::TooLarge,
        guest::RefusalReason::Unsupported => Reason::Unsupported,
        guest::RefusalReason::Invalid => Reason::Invalid,
        guest::RefusalReason::Template => Reason::Template,
        guest::RefusalReason::Policy => Reason::Policy,
        guest::RefusalReason::Account => Reason::Account,
        guest::RefusalReason::Other => Reason::Other,
    }
}

pub(super) fn refusal(refusal: &guest::Refusal) -> Refusal {
    Refusal {
        reason: reason(refusal.reason),
        cause: Cause::new(line(&refusal.code), line(&refusal.message)),
        next_step: refusal.next_step.as_deref().map(line),
    }
}

/// For a failed message of which the connector tells no reason.
pub(super) fn unexplained() -> Refusal {
    Refusal {
        reason: Reason::Other,
        cause: Cause::new(
            "failed",
            "The provider reports that the message was not delivered and gives no reason.",
        ),
        next_step: None,
    }
}

pub(super) fn notice(notice: &guest::Notice) -> Notice {
    Notice {
        level: match notice.level {
            guest::NoticeLevel::Info => NoticeLevel::Info,
            guest::NoticeLevel::Warning => NoticeLevel::Warning,
            guest::NoticeLevel::Broken => NoticeLevel::Broken,
        },
        cause: Cause::new(line(&notice.code), line(&notice.message)),
    }
}

fn scrubbed(secrets: &Secrets, cause: &mut Cause) {
    cause.code = leaks::scrub_text(secrets, &cause.code);
    cause.message = leaks::scrub_text(secrets, &cause.message);
}

pub(crate) fn call_error(secrets: &Secrets, error: guest::CallError) -> CallError {
    let clean = |failure: &guest::Failure| {
        let mut cause = cause(failure);
        scrubbed(secrets, &mut cause);
        cause
    };
    CallError::Provider(match error {
        guest::CallError::RateLimited(limit) => Failure::RateLimited {
            after: limit.retry_after_ms.map(Duration::from_millis),
            cause: clean(&limit.failure),
        },
        guest::CallError::Transient(failure) => Failure::Transient(clean(&failure)),
        guest::CallError::Ambiguous(failure) => Failure::Unknown(clean(&failure)),
        guest::CallError::Refused(inner) => {
            let mut refusal = refusal(&inner);
            scrubbed(secrets, &mut refusal.cause);
            refusal.next_step = refusal.next_step.map(|step| leaks::scrub_text(secrets, &step));
            Failure::Refused(refusal)
        }
        guest::CallError::Unauthorized(failure) => Failure::Unauthorized(clean(&failure)),
    })
}

pub(crate) fn receive_error(secrets: &Secrets, error: ReceiveError) -> CallError {
    let ReceiveError::Malformed(problem) = error;
    CallError::Malformed(leaks::scrub_text(secrets, &line(&problem)))
}

pub(crate) fn connect_error(secrets: &Secrets, error: guest_lifecycle::ConnectError) -> CallError {
    match error {
        guest_lifecycle::ConnectError::Call(error) => call_error(secrets, error),
        guest_lifecycle::ConnectError::Field(error) => CallError::Field {
            field: line(&error.field),
            code: line(&error.code),
            message: leaks::scrub_text(secrets, &line(&error.message)),
        },
    }
}

pub(crate) fn account(account: guest_lifecycle::Account) -> Result<ProviderAccount, Garbage> {
    Ok(ProviderAccount {
        external_id: id("account.external-id", account.external_id)?,
        name: label(account.name),
        foreign_webhook: account.foreign_webhook.filter(|address| !address.is_empty()).map(label),
    })
}

pub(crate) fn connection(secrets: &Secrets, connection: &guest_lifecycle::Connection) -> Result<HealthReport, Garbage> {
    Ok(HealthReport {
        health: match connection.readiness {
            guest_lifecycle::Readiness::Connected => Health::Connected,
            guest_lifecycle::Readiness::Pending => Health::Pending,
        },
        notices: notices(secrets, &connection.notices)?,
    })
}

pub(crate) fn report(secrets: &Secrets, report: &guest_lifecycle::Report) -> Result<HealthReport, Garbage> {
    Ok(HealthReport {
        health: match report.health {
            guest_lifecycle::Health::Connected => Health::Connected,
            guest_lifecycle::Health::Pending => Health::Pending,
            guest_lifecycle::Health::Offline => Health::Offline,
            guest_lifecycle::Health::Disconnected => Health::Disconnected,
        },
        notices: notices(secrets, &report.notices)?,
    })
}

fn notices(secrets: &Secrets, notices: &[guest::Notice]) -> Result<Vec<Notice>, Garbage> {
    if notices.len() > limits::NOTICES_MAX {
        return Err(format!("more than {} notices", limits::NOTICES_MAX));
    }
    let clean = |inner: &guest::Notice| {
        let mut notice = notice(inner);
        scrubbed(secrets, &mut notice.cause);
        notice
    };
    Ok(notices.iter().map(clean).collect())
}
