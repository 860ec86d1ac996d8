//! Telling a phone number from an id by its form.

/// E.164 with the plus sign, if the place holds digits and nothing else: business-scoped ids have been seen where
/// numbers belong.
pub fn of(place: &str) -> Option<String> {
    let digits = place.strip_prefix('+').unwrap_or(place);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| mantle_sdk::phone::normalise(digits)).flatten()
}
