//! From Slack's text to what people saw. Marks and names of emoji stay as they are: they are what was typed.

/// Decoded, with references written out: `<@U1|ada>` is `@ada`, `<https://a.example|here>` is `here (https://a.example)`.
pub fn read(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('<') {
        out.push_str(&decoded(before));
        match behind.split_once('>') {
            Some((inside, after)) => {
                out.push_str(&reference(inside));
                rest = after;
            }
            // Slack escapes every bracket of its own; this one is nobody's.
            None => {
                out.push('<');
                rest = behind;
            }
        }
    }
    out.push_str(&decoded(rest));
    out
}

/// `&amp;` last: `&amp;lt;` is what somebody typed as `&lt;`.
fn decoded(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn reference(inside: &str) -> String {
    let (name, label) = match inside.split_once('|') {
        Some((name, label)) if !label.is_empty() => (decoded(name), Some(decoded(label))),
        Some((name, _)) => (decoded(name), None),
        None => (decoded(inside), None),
    };
    match name.chars().next() {
        Some(sign @ ('@' | '#')) => match label {
            Some(label) => format!("{sign}{}", label.trim_start_matches(sign)),
            None => name,
        },
        Some('!') => command(&name[1..], label),
        _ => link(&name, label),
    }
}

/// `<!here>`, `<!subteam^S1|@support>`, `<!date^1767225599^{date}|1 January>`
fn command(name: &str, label: Option<String>) -> String {
    let (kind, rest) = name.split_once('^').unwrap_or((name, ""));
    match (kind, label) {
        (_, Some(label)) => label,
        ("subteam", None) => format!("@{rest}"),
        (kind, None) => format!("@{kind}"),
    }
}

/// Slack itself makes links of what looks like an address: those say nothing twice.
fn link(address: &str, label: Option<String>) -> String {
    let bare = ["mailto:", "tel:"]
        .into_iter()
        .find_map(|scheme| address.strip_prefix(scheme));
    let shown = bare.unwrap_or(address);
    match label {
        None => shown.to_owned(),
        Some(label) if label == shown || shown.is_empty() => label,
        Some(label) if is_same(&label, address) => address.to_owned(),
        Some(label) => format!("{label} ({shown})"),
    }
}

fn is_same(label: &str, address: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim_end_matches('/');
        let schemes = ["https://", "http://"];
        schemes
            .into_iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .unwrap_or(text)
            .to_owned()
    };
    bare(label) == bare(address)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn in_14_text_is_what_people_saw() {
        for (sent, expected) in [
            ("Hi &amp; hello :wave:", "Hi & hello :wave:"),
            ("See <https://a.example|this> &lt;3", "See this (https://a.example) <3"),
            ("&amp;lt; and &amp;amp;", "&lt; and &amp;"),
            ("<https://a.example/x?a=1&amp;b=2>", "https://a.example/x?a=1&b=2"),
            ("<http://a.example|a.example>", "http://a.example"),
            ("<https://a.example/|a.example>", "https://a.example/"),
            ("<mailto:ada@a.example|ada@a.example>", "ada@a.example"),
            ("<mailto:ada@a.example|Ada &amp; co>", "Ada & co (ada@a.example)"),
            ("<tel:+4930555010|+4930555010>", "+4930555010"),
            ("<@U0CUST001> <@U1|ada> <@W1|@ada>", "@U0CUST001 @ada @ada"),
            ("<#C1|general> <#C1|> <#C1>", "#general #C1 #C1"),
            ("<!here> <!channel> <!everyone>", "@here @channel @everyone"),
            ("<!subteam^S1|@support> <!subteam^S1>", "@support @S1"),
            ("<!date^1767225599^{date_num}|2026-01-01>", "2026-01-01"),
            ("a < b and <", "a < b and <"),
            ("<> <|x>", " x"),
            ("*bold* _it_ `a`", "*bold* _it_ `a`"),
        ] {
            assert_eq!(read(sent), expected, "{sent}");
        }
    }
}
