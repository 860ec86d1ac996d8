//! The ad, link or plugin that led a customer here, in one readable line.

use mantle_sdk::values::Referral;

use super::{Unread, short};
use crate::wire::{self, Parts};

pub fn of(parts: &Parts<'_>, unread: &mut Unread) -> Option<Referral> {
    let referral: wire::Referral = parts.take("referral", unread)?;
    let mark = referral.mark.0;
    Some(Referral {
        summary: summary(
            referral.source.as_deref().unwrap_or_default(),
            mark.as_deref(),
            referral.ads_context_data.and_then(|ad| ad.ad_title),
            referral.product.and_then(|product| product.id.0),
        ),
        url: referral.referer_uri.filter(|url| url.starts_with("https://")),
        id: referral.ad_id.0.or(mark),
    })
}

pub fn by_mark(mark: String) -> Referral {
    Referral {
        summary: summary("", Some(&mark), None, None),
        url: None,
        id: Some(mark),
    }
}

/// Values of `source` vary, so an unknown one is shown as it is.
fn summary(source: &str, mark: Option<&str>, ad: Option<String>, product: Option<String>) -> String {
    let ad = ad.filter(|title| !title.trim().is_empty());
    let from = match (ad, product, source) {
        (Some(title), _, _) => format!("Came from the ad “{}”", short(&title)),
        (None, Some(product), _) => format!("Came from the product {}", short(&product)),
        (None, None, "ADS") => "Came from an ad".to_owned(),
        (None, None, "" | "SHORTLINK" | "IGME-SOURCE-LINK") => "Came by a link".to_owned(),
        (None, None, other) => format!("Came from {}", short(other).to_lowercase().replace('_', " ")),
    };
    match mark {
        Some(mark) => format!("{from} with the mark “{}”", short(mark)),
        None => from,
    }
}
