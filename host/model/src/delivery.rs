//! The states of one message, in and out, and how they may change.

use serde::{Deserialize, Serialize};

use crate::inbound::DeliveryReport;

/// Of a message on its way to the inbox. Ordered: it only moves on, but that a person puts it in line again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundState {
    /// The raw hook is on disk; its connector could not read it yet and is asked again.
    Received,
    /// On disk, waiting for its turn.
    Stored,
    /// In the inbox.
    Posted,
    /// Not readable; the raw hook is kept.
    Parked,
    /// Given up after the last attempt; can be replayed.
    Dead,
    /// Deliberately not shown (an echo, a group under `refuse`).
    Ignored,
}

/// Of a message on its way to the customer. Ordered: a later report never takes one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundState {
    Queued,
    Sending,
    /// The request went out and no answer came.
    Unknown,
    /// The provider has taken it.
    Accepted,
    Sent,
    Delivered,
    Read,
    Failed,
}

impl OutboundState {
    /// The state after a report: monotone, so late and doubled reports change nothing. `Failed` is final
    /// unless the message was seen to arrive.
    #[must_use]
    pub fn after(self, report: DeliveryReport) -> Self {
        let told = match report {
            DeliveryReport::Sent => Self::Sent,
            DeliveryReport::Delivered => Self::Delivered,
            DeliveryReport::Read => Self::Read,
            DeliveryReport::Failed => {
                return if matches!(self, Self::Delivered | Self::Read) {
                    self
                } else {
                    Self::Failed
                };
            }
        };
        self.max(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_2_reports_never_go_back() {
        use DeliveryReport as R;
        use OutboundState as S;
        let check = |reports: &[R], expected| {
            let end = reports.iter().fold(S::Accepted, |state, report| state.after(*report));
            assert_eq!(end, expected, "{reports:?}");
        };
        check(&[R::Read, R::Delivered, R::Sent], S::Read);
        check(&[R::Delivered, R::Sent], S::Delivered);
        check(&[R::Failed, R::Sent], S::Failed);
        check(&[R::Delivered, R::Failed], S::Delivered);
    }
}
