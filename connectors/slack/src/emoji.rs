//! Signs of reactions: Slack has names for them. The ones that people use most; any other name is shown between colons,
//! as Slack writes it.

/// The first name of a sign is the one that Slack gives itself.
const SIGNS: &[(&str, &str)] = &[
    ("+1", "👍"),
    ("thumbsup", "👍"),
    ("-1", "👎"),
    ("thumbsdown", "👎"),
    ("heart", "❤️"),
    ("white_check_mark", "✅"),
    ("heavy_check_mark", "✔️"),
    ("ballot_box_with_check", "☑️"),
    ("x", "❌"),
    ("eyes", "👀"),
    ("pray", "🙏"),
    ("raised_hands", "🙌"),
    ("clap", "👏"),
    ("wave", "👋"),
    ("ok_hand", "👌"),
    ("muscle", "💪"),
    ("point_up", "☝️"),
    ("raising_hand", "🙋"),
    ("tada", "🎉"),
    ("confetti_ball", "🎊"),
    ("rocket", "🚀"),
    ("fire", "🔥"),
    ("100", "💯"),
    ("star", "⭐"),
    ("sparkles", "✨"),
    ("bulb", "💡"),
    ("warning", "⚠️"),
    ("rotating_light", "🚨"),
    ("question", "❓"),
    ("exclamation", "❗"),
    ("heavy_plus_sign", "➕"),
    ("heavy_minus_sign", "➖"),
    ("arrow_up", "⬆️"),
    ("hourglass_flowing_sand", "⏳"),
    ("calendar", "📆"),
    ("email", "✉️"),
    ("phone", "☎️"),
    ("bug", "🐛"),
    ("gift", "🎁"),
    ("bell", "🔔"),
    ("lock", "🔒"),
    ("key", "🔑"),
    ("moneybag", "💰"),
    ("coffee", "☕"),
    ("green_heart", "💚"),
    ("blue_heart", "💙"),
    ("purple_heart", "💜"),
    ("yellow_heart", "💛"),
    ("broken_heart", "💔"),
    ("smile", "😄"),
    ("smiley", "😃"),
    ("grinning", "😀"),
    ("grin", "😁"),
    ("laughing", "😆"),
    ("joy", "😂"),
    ("rolling_on_the_floor_laughing", "🤣"),
    ("slightly_smiling_face", "🙂"),
    ("wink", "😉"),
    ("blush", "😊"),
    ("heart_eyes", "😍"),
    ("sunglasses", "😎"),
    ("thinking_face", "🤔"),
    ("open_mouth", "😮"),
    ("cry", "😢"),
    ("sob", "😭"),
    ("angry", "😠"),
    ("rage", "😡"),
    ("disappointed", "😞"),
    ("partying_face", "🥳"),
];

/// What a variation selector adds to a sign says only how it is drawn.
const VARIATION: char = '\u{fe0f}';

/// The sign of a name. Slack puts skin tones behind the name: `wave::skin-tone-3`.
pub fn sign(name: &str) -> String {
    let plain = name.split("::").next().unwrap_or(name);
    let known = SIGNS.iter().find(|(known, _)| *known == plain);
    known.map_or_else(|| format!(":{name}:"), |(_, sign)| (*sign).to_owned())
}

/// The name of a sign, or of a name between colons. None: Slack may have no such sign.
pub fn name(sign: &str) -> Option<&str> {
    let inside = sign.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    if let Some(name) = inside.filter(|name| is_name(name)) {
        return Some(name);
    }
    let bare = |sign: &str| sign.trim_end_matches(VARIATION).to_owned();
    let wanted = bare(sign);
    let known = SIGNS.iter().find(|(_, known)| bare(known) == wanted);
    known.map(|(name, _)| *name)
}

fn is_name(name: &str) -> bool {
    let allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '+' | '\'' | ':');
    !name.is_empty() && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::{SIGNS, name, sign};

    #[test]
    fn signs_survive_the_way_there_and_back() {
        for (_, known) in SIGNS {
            let there = name(known).unwrap();
            assert_eq!(&sign(there), known);
        }
        assert_eq!(name("❤"), Some("heart"));
        assert_eq!(
            (sign("thumbsup"), sign("wave::skin-tone-3")),
            ("👍".to_owned(), "👋".to_owned())
        );
        assert_eq!(
            (sign("acme-logo"), name(":acme-logo:")),
            (":acme-logo:".to_owned(), Some("acme-logo"))
        );
        for unknown in ["🦖", "::", ": x :", "thumbsup", ""] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }
}
