//! Every spelling under which a workspace may have stored a phone number.

use phonenumber::Mode;

/// Filters that one group of a search may have; one is left for the attribute of the platform id.
const SPELLINGS_MAX: usize = 14;

/// A change of a country's numbers that providers and address books follow at different times: the national
/// number has a long form with `inserts` at `at`, and a short one without.
struct Renumbering {
    country: &'static str,
    long: usize,
    at: usize,
    inserts: &'static [&'static str],
}

const RENUMBERINGS: [Renumbering; 5] = [
    // Brazil: mobile numbers got a 9 behind the area code.
    Renumbering {
        country: "55",
        long: 11,
        at: 2,
        inserts: &["9"],
    },
    // Mexico: a 1 stood before mobile numbers until 2019, and WhatsApp still writes it.
    Renumbering {
        country: "52",
        long: 11,
        at: 0,
        inserts: &["1"],
    },
    // Argentina: a 9 stands before mobile numbers called from abroad.
    Renumbering {
        country: "54",
        long: 11,
        at: 0,
        inserts: &["9"],
    },
    // Benin: 01 before every number since 2024.
    Renumbering {
        country: "229",
        long: 10,
        at: 0,
        inserts: &["01"],
    },
    // Ivory Coast: a prefix by operator since 2021.
    Renumbering {
        country: "225",
        long: 10,
        at: 0,
        inserts: &["01", "05", "07"],
    },
];

impl Renumbering {
    /// The other forms of a national number, none if it is not of this plan.
    fn others(&self, national: &str) -> Vec<String> {
        let Some((head, tail)) = national.split_at_checked(self.at) else {
            return Vec::new();
        };
        for insert in self.inserts {
            if national.len() == self.long
                && let Some(rest) = tail.strip_prefix(insert)
            {
                return vec![format!("{head}{rest}")];
            }
            if national.len() + insert.len() == self.long {
                return self
                    .inserts
                    .iter()
                    .map(|insert| format!("{head}{insert}{tail}"))
                    .collect();
            }
        }
        Vec::new()
    }
}

/// The E.164 number first, then by how likely somebody wrote it so.
pub fn spellings(e164: &str) -> Vec<String> {
    let digits: String = e164.chars().filter(char::is_ascii_digit).collect();
    let mut all = vec![format!("+{digits}"), digits.clone(), format!("00{digits}")];
    let variants: Vec<String> = RENUMBERINGS
        .iter()
        .filter_map(|plan| Some((plan, digits.strip_prefix(plan.country)?)))
        .flat_map(|(plan, national)| {
            plan.others(national)
                .into_iter()
                .map(|other| format!("+{}{other}", plan.country))
        })
        .collect();
    if let Ok(number) = phonenumber::parse(None, format!("+{digits}")) {
        let national = number.format().mode(Mode::National).to_string();
        let national_digits: String = national.chars().filter(char::is_ascii_digit).collect();
        let code = number.country().code().to_string();
        let significant = digits.strip_prefix(&code).unwrap_or(&digits);
        let trunk = national_digits.strip_suffix(significant).unwrap_or_default();
        let threes = in_threes(significant);
        all.push(number.format().mode(Mode::International).to_string());
        all.push(format!("+{code} {threes}"));
        all.push(national_digits.clone());
        all.push(national);
        all.extend(variants);
        all.push(format!("{trunk}{threes}"));
        all.push(format!("00{code} {threes}"));
    } else {
        all.extend(variants);
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|spelling| !spelling.is_empty() && seen.insert(spelling.clone()));
    all.truncate(SPELLINGS_MAX);
    all
}

/// `888888999` as `888 888 999`: how people write numbers down that they do not know the grouping of.
fn in_threes(digits: &str) -> String {
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ct_2_every_spelling_of_a_phone_is_asked_for() {
        let found = spellings("+353888888999");
        for expected in [
            "+353888888999",
            "353888888999",
            "00353888888999",
            "+353 888 888 999",
            "+353 88 888 8999",
            "088 888 8999",
            "0888888999",
        ] {
            assert!(
                found.iter().any(|spelling| spelling == expected),
                "{expected} in {found:?}"
            );
        }
        assert_eq!(found[0], "+353888888999");
        assert!(found.len() <= SPELLINGS_MAX);
    }

    #[test]
    fn ct_13_renumbered_countries_are_asked_for_in_both_forms() {
        let check = |given: &str, expected: &[&str]| {
            let found = spellings(given);
            for other in expected {
                assert!(found.iter().any(|spelling| spelling == other), "{other} in {found:?}");
            }
        };
        check("+5511987654321", &["+551187654321"]);
        check("+551187654321", &["+5511987654321"]);
        check("+5215512345678", &["+525512345678"]);
        check("+525512345678", &["+5215512345678"]);
        check("+5491123456789", &["+541123456789"]);
        check("+541123456789", &["+5491123456789"]);
        check("+22990011234", &["+2290190011234"]);
        check("+2290190011234", &["+22990011234"]);
        check("+22507012345", &["+2250107012345", "+2250507012345", "+2250707012345"]);
        check("+2250707012345", &["+22507012345"]);
    }

    #[test]
    fn a_number_that_no_plan_knows_is_asked_for_as_it_is() {
        assert_eq!(spellings("+999123")[0], "+999123");
    }
}
