//! Patterns of paths: which paths of a host a rule allows.
//!
//! A pattern is the beginning of a path, letter by letter. `<digits>` in it stands for one or more digits, `<segment>`
//! for the rest of a segment, which is not empty, and `<end>` behind it for the end of the path. Angle brackets never
//! stand in a path as it is sent, so that a pattern cannot be mistaken. Dot segments, backslashes and control
//! characters never come this far: see [`crate::destination`].

const DIGITS: &str = "<digits>";
const SEGMENT: &str = "<segment>";
const END: &str = "<end>";

/// # Errors
/// One sentence with the fix.
pub fn check(pattern: &str) -> Result<(), String> {
    if !pattern.starts_with('/') {
        return Err(format!("`{pattern}` must start with a slash"));
    }
    let mut rest = pattern;
    while let Some(at) = rest.find(['<', '>']) {
        rest = &rest[at..];
        rest = if let Some(after) = rest.strip_prefix(DIGITS) {
            if after.starts_with(|c: char| c.is_ascii_digit())
                || after.starts_with(DIGITS)
                || after.starts_with(SEGMENT)
            {
                return Err(format!(
                    "`{pattern}` has digits behind `{DIGITS}`, which takes all there are"
                ));
            }
            after
        } else if let Some(after) = rest.strip_prefix(SEGMENT) {
            if !(after.is_empty() || after.starts_with('/') || after == END) {
                return Err(format!(
                    "`{pattern}` goes on behind `{SEGMENT}`, which takes the rest of its segment; only a slash, \
                     `{END}` or nothing may follow"
                ));
            }
            after
        } else if rest == END {
            return Ok(());
        } else {
            return Err(format!(
                "`{pattern}` has an angle bracket that is none of `{DIGITS}`, `{SEGMENT}` and, at its end, `{END}`"
            ));
        };
    }
    Ok(())
}

/// Whether the path, placeholders unfilled, is one of the pattern's.
pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern, path);
    loop {
        let literal = pattern.find('<').unwrap_or(pattern.len());
        let Some(rest) = path.strip_prefix(&pattern[..literal]) else {
            return false;
        };
        (pattern, path) = (&pattern[literal..], rest);
        let length;
        (pattern, length) = if pattern.is_empty() {
            return true;
        } else if pattern == END {
            return path.is_empty();
        } else if let Some(after) = pattern.strip_prefix(DIGITS) {
            (after, path.find(|c: char| !c.is_ascii_digit()).unwrap_or(path.len()))
        } else if let Some(after) = pattern.strip_prefix(SEGMENT) {
            (after, segment(path))
        } else {
            // No pattern that was checked: it allows nothing.
            return false;
        };
        if length == 0 {
            return false;
        }
        path = &path[length..];
    }
}

/// Length of the segment that the path begins with. An encoded slash has two readings, so none that holds one counts.
fn segment(path: &str) -> usize {
    let length = path.find('/').unwrap_or(path.len());
    let lower = path[..length].to_ascii_lowercase();
    if lower.contains("%2f") { 0 } else { length }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Destination;

    const ID: &str = "/v<digits>.0/<digits><end>";
    const EDGE: &str = "/v<digits>.0/<digits>/messages<end>";
    const FILE: &str = "/file/<segment><end>";

    /// As a request is judged: the address is read first, and what has two readings is refused there.
    #[track_caller]
    fn allows(pattern: &str, path: &str, expected: bool) {
        check(pattern).unwrap();
        let read = Destination::parse(&format!("https://api.example{path}"));
        let found = read.is_ok_and(|to| fits(pattern, &to.path));
        assert_eq!(found, expected, "`{path}` by `{pattern}`");
    }

    #[test]
    fn d8_a_pattern_allows_what_it_says() {
        allows("/v", "/v25.0/me", true);
        allows("/file/", "/file/a/b", true);
        allows(ID, "/v25.0/110987654321098", true);
        allows(ID, "/v25.0/110987654321098?fields=id", true);
        allows(EDGE, "/v25.0/110987654321098/messages", true);
        allows(FILE, "/file/a-b_c.pdf", true);
        allows("/a/<segment>/b", "/a/x/b/c", true);
        allows("/bot{token}/<segment><end>", "/bot{token}/getMe", true);
        for path in [
            "/",
            "/v25.0",
            "/v25.0/",
            "/v25.0/me",
            "/v25.0/debug_token",
            "/v25.0/110987654321098/",
            "/v25.0/110987654321098/messages",
            "/v25.0/110987654321098x",
            "/v25.0/110987654321098;x",
            "/v.0/110987654321098",
            "/v25/110987654321098",
            "/25.0/110987654321098",
            "/v25.0/١٢٣",
        ] {
            allows(ID, path, false);
        }
    }

    #[test]
    fn d8_no_trick_leads_out_of_a_pattern() {
        for path in [
            "/v25.0/1/../me",
            "/v25.0/1/%2e%2e/me",
            "/v25.0/1/.%2E/me",
            "/v25.0/..%2f1",
            "/v25.0/1%2f..%2fme",
            "/v25.0/1%2fme",
            "/v25.0/1%2Fmessages",
            "/v25.0//1",
            "//v25.0/1",
            "/v25.0/1//",
            "/v25.0/1/.",
            "/v25.0/./1",
            "/v25.0/1%00",
            "/v25.0/1%20",
            "/v25.0/1\\me",
            "/v25.0/1%5cme",
            "/%76%32%35.0/1",
            "/v25.0/%31",
            "/V25.0/1",
        ] {
            allows(ID, path, false);
        }
        for path in [
            "/file/",
            "/file//a",
            "/file/a/b",
            "/file/a%2fb",
            "/file/a%2Fb",
            "/file/..",
            "/file/%2e%2e",
        ] {
            allows(FILE, path, false);
        }
        allows("/a/<segment>/b", "/a//b", false);
        allows("/a/<segment>/b", "/a/x/y/b", false);
    }

    #[test]
    fn a_pattern_that_cannot_mean_anything_is_refused() {
        let check = |pattern: &str, expected: &str| {
            let problem = check(pattern).unwrap_err();
            assert!(problem.contains(expected), "{pattern}: {problem}");
        };
        check("v25.0", "must start with a slash");
        check("/<digits>5", "has digits behind");
        check("/<segment>.json", "goes on behind");
        check("/<any>", "angle bracket");
        check("/a<end>/b", "angle bracket");
        check("/a>b", "angle bracket");
    }
}
