//! Phone numbers as providers write them, to the E.164 form of the interface.

/// Shortest and longest E.164 number, in digits (ITU-T E.164; national short codes are shorter and no number).
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// `4915155501234`, `+49 151 555-01234`, `whatsapp:+49…` or `0049…` → `+4915155501234`. None: not an international
/// number. A number without its country code cannot be told from one with it; providers that write such are not served.
#[must_use]
pub fn normalise(number: &str) -> Option<String> {
    let bare = number.trim();
    let bare = bare.rsplit_once(':').map_or(bare, |(_, rest)| rest).trim();
    if bare
        .chars()
        .any(|c| !c.is_ascii_digit() && !matches!(c, '+' | ' ' | '-' | '(' | ')' | '.' | '/' | '\u{a0}'))
    {
        return None;
    }
    let digits: String = bare.chars().filter(char::is_ascii_digit).collect();
    let digits = match bare.starts_with('+') {
        true => digits.as_str(),
        false => digits.strip_prefix("00").unwrap_or(&digits),
    };
    (DIGITS.contains(&digits.len()) && !digits.starts_with('0')).then(|| format!("+{digits}"))
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn numbers_get_one_form() {
        for spelling in [
            "4915155501234",
            "+4915155501234",
            "+49 (151) 555-01234",
            "004915155501234",
            "whatsapp:+4915155501234",
        ] {
            assert_eq!(normalise(spelling).as_deref(), Some("+4915155501234"), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_international_number_is_none() {
        for spelling in [
            "",
            "12345",
            "0151555",
            "Mantle",
            "+0123456789",
            "1234567890123456",
            "user@example.com",
        ] {
            assert_eq!(normalise(spelling), None, "{spelling}");
        }
    }
}
