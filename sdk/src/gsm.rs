//! How many segments a text takes as an SMS: the GSM 7-bit alphabet of 3GPP TS 23.038, or UCS-2 when one character is
//! outside it.

/// Septets in a single SMS, and in each part of a longer one, which begins with a header.
const SEPTETS: (usize, usize) = (160, 153);
/// UTF-16 units, likewise.
const UCS2_UNITS: (usize, usize) = (70, 67);

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Behind an escape: two septets each.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Gsm7,
    Ucs2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    pub encoding: Encoding,
    /// Septets, or UTF-16 units.
    pub units: usize,
    pub count: usize,
}

/// The empty text is one segment.
#[must_use]
pub fn segments(text: &str) -> Segments {
    let septets: Option<Vec<usize>> = text.chars().map(septets_of).collect();
    let (encoding, widths, (single, part)) = match septets {
        Some(widths) => (Encoding::Gsm7, widths, SEPTETS),
        None => (Encoding::Ucs2, text.chars().map(char::len_utf16).collect(), UCS2_UNITS),
    };
    let units: usize = widths.iter().sum();
    let count = if units <= single { 1 } else { packed(&widths, part) };
    Segments { encoding, units, count }
}

/// An escaped character or a surrogate pair does not straddle two parts.
fn packed(widths: &[usize], part: usize) -> usize {
    let mut count = 1;
    let mut used = 0;
    for width in widths {
        if used + width > part {
            count += 1;
            used = 0;
        }
        used += width;
    }
    count
}

fn septets_of(letter: char) -> Option<usize> {
    if BASIC.contains(letter) {
        return Some(1);
    }
    EXTENSION.contains(letter).then_some(2)
}

#[cfg(test)]
mod tests {
    use super::{BASIC, Encoding, segments};

    #[test]
    fn the_basic_alphabet_is_whole() {
        // 128 codes, less the escape.
        assert_eq!(BASIC.chars().count(), 127);
    }

    #[test]
    fn segments_are_counted_as_carriers_do() {
        let check = |text: String, encoding: Encoding, units: usize, count: usize| {
            let found = segments(&text);
            assert_eq!(
                (found.encoding, found.units, found.count),
                (encoding, units, count),
                "{text}"
            );
        };
        check(String::new(), Encoding::Gsm7, 0, 1);
        check("a".repeat(160), Encoding::Gsm7, 160, 1);
        check("a".repeat(161), Encoding::Gsm7, 161, 2);
        check("a".repeat(307), Encoding::Gsm7, 307, 3);
        check("€".repeat(80), Encoding::Gsm7, 160, 1);
        // 76 escaped characters fill a part of 153 septets, with one left over.
        check("€".repeat(153), Encoding::Gsm7, 306, 3);
        check("я".repeat(70), Encoding::Ucs2, 70, 1);
        check("я".repeat(71), Encoding::Ucs2, 71, 2);
        check("👍".repeat(35), Encoding::Ucs2, 70, 1);
        // 33 pairs fill a part of 67 units, with one left over.
        check("👍".repeat(67), Encoding::Ucs2, 134, 3);
    }
}
