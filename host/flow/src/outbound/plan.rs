//! A reply becomes provider messages: which texts, which files, in which order.

use mantle_model::capabilities::{Capabilities, Unfit};
use mantle_model::inbound::AttachmentKind;
use mantle_model::outbound::{File, OutgoingAttachment, OutgoingContent};
use mantle_model::text::{self, RichText};

use super::words;
use crate::job::digest;
use crate::note;

/// A note names so many types of files at most: more would hide the sentence's end.
const TYPES_SHOWN_MAX: usize = 20;

/// One provider message of a reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    pub content: OutgoingContent,
    /// Tells in the ledger what it was: a digest of the words, or the file's name.
    pub mark: String,
}

/// What goes and what does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    pub units: Vec<Unit>,
    /// One sentence for each file that the channel does not take.
    pub left_out: Vec<String>,
}

/// Text first, unless it fits as the caption of the first file; then the files in order.
pub(super) fn plan(title: &str, capabilities: &Capabilities, words: &RichText, files: &[File]) -> Plan {
    let mut plan = Plan::default();
    let mut fitting = Vec::new();
    for file in files {
        match capabilities.attachment_kind(&file.content_type, file.bytes) {
            Ok(kind) => fitting.push((file.clone(), kind)),
            Err(unfit) => plan
                .left_out
                .push(unfit_line(title, &file.name, (file.bytes, capabilities), &unfit)),
        }
    }
    let mut caption = fitting
        .first()
        .and_then(|(_, kind)| caption(capabilities, words, *kind));
    if caption.is_none() {
        let pieces = text::pieces(words, &capabilities.text, capabilities.text.limit);
        plan.units.extend(pieces.into_iter().map(text_unit));
    }
    for (file, kind) in fitting {
        plan.units.push(Unit {
            mark: words::file_mark(&file.name),
            content: OutgoingContent::Attachment(OutgoingAttachment {
                file,
                kind,
                caption: caption.take(),
            }),
        });
    }
    plan
}

fn text_unit(text: RichText) -> Unit {
    Unit {
        mark: format!("text:{}", digest(&[&text.text])),
        content: OutgoingContent::Text(text),
    }
}

/// The words as a caption, if this kind of file takes one of this length.
fn caption(capabilities: &Capabilities, words: &RichText, kind: AttachmentKind) -> Option<RichText> {
    let rule = capabilities.caption.as_ref()?;
    if words.is_empty() || !rule.kinds.contains(&kind) {
        return None;
    }
    let rendered = text::render(words, &capabilities.text);
    (text::measure(&rendered.text, capabilities.text.unit) <= rule.limit).then_some(rendered)
}

/// Why the channel does not take a file, and what to do instead.
pub(super) fn unfit_line(
    title: &str,
    name: &str,
    (bytes, capabilities): (u64, &Capabilities),
    unfit: &Unfit,
) -> String {
    match unfit {
        Unfit::TooLarge { max_bytes } => format!(
            "{name} ({}) is larger than {title} allows ({}). Send a smaller file, or share a link.",
            note::size(bytes),
            note::size(*max_bytes)
        ),
        Unfit::Refused { why } => format!("{name}: {} Or share a link.", note::sentence(why)),
        Unfit::NoRule if capabilities.attachments.is_empty() => {
            format!("{name}: {title} does not take files. Share a link instead.")
        }
        Unfit::NoRule => format!(
            "{name}: {title} does not take files of this type. Send it as {}, or share a link.",
            taken(capabilities)
        ),
    }
}

/// The types that the channel takes, in the manifest's order.
fn taken(capabilities: &Capabilities) -> String {
    let mut types: Vec<&str> = Vec::new();
    for name in capabilities.attachments.iter().flat_map(|rule| &rule.types) {
        if !types.contains(&name.as_str()) {
            types.push(name);
        }
    }
    let shown = types.len().min(TYPES_SHOWN_MAX);
    let last = if types.len() > shown {
        "another type that it takes"
    } else {
        types[shown - 1]
    };
    let before = if types.len() > shown {
        &types[..shown]
    } else {
        &types[..shown - 1]
    };
    if before.is_empty() {
        return last.to_owned();
    }
    format!("{} or {last}", before.join(", "))
}

#[cfg(test)]
mod tests {
    use mantle_model::capabilities::{
        AttachmentRule, CaptionRule, Delivery, Formatting, RefusedTypes, RetrySafety, TextRule,
    };
    use mantle_model::ids::MediaId;
    use mantle_model::text::Unit as Measure;

    use super::*;

    fn capabilities() -> Capabilities {
        let rule = |kind, types: &str, max_bytes| AttachmentRule {
            kind,
            types: vec![types.into()],
            max_bytes,
        };
        Capabilities {
            text: TextRule {
                limit: 20,
                unit: Measure::Characters,
                formatting: Formatting::Plain,
                markers: None,
            },
            caption: Some(CaptionRule {
                limit: 10,
                kinds: vec![AttachmentKind::Image],
            }),
            attachments: vec![
                rule(AttachmentKind::Image, "image/*", 5_000_000),
                rule(AttachmentKind::Document, "application/pdf", 100_000_000),
            ],
            refused: vec![RefusedTypes {
                types: vec!["image/gif".into()],
                why: "No GIF images. Send it as a video".into(),
            }],
            window: None,
            delivery: Delivery {
                receipts: Vec::new(),
                proactive: false,
                templates: false,
                retry: RetrySafety::None,
                per_recipient_per_second: None,
                per_second: None,
                recipient_limits: Vec::new(),
                unclear_limits: Vec::new(),
            },
        }
    }

    fn file(name: &str, content_type: &str, bytes: u64) -> File {
        File {
            media: MediaId(1),
            name: name.into(),
            content_type: content_type.into(),
            bytes,
        }
    }

    fn check(words: &str, files: &[File], expected: &[&str], left_out: &[&str]) {
        let plan = plan("Shop", &capabilities(), &RichText::plain(words), files);
        let told: Vec<String> = plan
            .units
            .iter()
            .map(|unit| match &unit.content {
                OutgoingContent::Text(text) => text.text.clone(),
                OutgoingContent::Attachment(sent) => match &sent.caption {
                    Some(caption) => format!("{} + {}", sent.file.name, caption.text),
                    None => sent.file.name.clone(),
                },
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(told, expected);
        assert_eq!(plan.left_out, left_out);
    }

    #[test]
    fn at_7_a_short_text_is_the_caption_of_the_first_file_only() {
        let (a, b) = (file("a.png", "image/png", 9), file("b.png", "image/png", 9));
        check("Look", &[a.clone(), b.clone()], &["a.png + Look", "b.png"], &[]);
        check(
            "Longer than ten",
            std::slice::from_ref(&a),
            &["Longer than ten", "a.png"],
            &[],
        );
        let pdf = file("c.pdf", "application/pdf", 9);
        check("Look", &[pdf.clone(), a], &["Look", "c.pdf", "a.png"], &[]);
        check("", &[pdf], &["c.pdf"], &[]);
    }

    #[test]
    fn at_5_what_is_too_large_stays_and_the_rest_goes() {
        let (large, pdf) = (
            file("a.png", "image/png", 5_300_000),
            file("c.pdf", "application/pdf", 9),
        );
        let line = "a.png (5.3 MB) is larger than Shop allows (5 MB). Send a smaller file, or share a link.";
        check("Hi", &[large, pdf], &["Hi", "c.pdf"], &[line]);
    }

    #[test]
    fn at_6_refused_kinds_are_named_with_their_reason() {
        let (gif, zip) = (file("a.gif", "image/gif", 9), file("b.zip", "application/zip", 9));
        let lines = [
            "a.gif: No GIF images. Send it as a video. Or share a link.",
            "b.zip: Shop does not take files of this type. Send it as image/* or application/pdf, or share a link.",
        ];
        check("Hi", &[gif, zip], &["Hi"], &lines);
    }

    #[test]
    fn at_6_a_channel_without_files_and_one_with_many_types_say_so() {
        let line = |types: Vec<String>| {
            let rules = types.into_iter().map(|kind| AttachmentRule {
                kind: AttachmentKind::Document,
                types: vec![kind],
                max_bytes: 9,
            });
            let capabilities = Capabilities {
                attachments: rules.collect(),
                ..capabilities()
            };
            unfit_line("Shop", "b.zip", (1, &capabilities), &Unfit::NoRule)
        };
        assert_eq!(
            line(Vec::new()),
            "b.zip: Shop does not take files. Share a link instead."
        );
        let one = line(vec!["text/csv".into(), "text/csv".into()]);
        assert!(one.ends_with("Send it as text/csv, or share a link."), "{one}");
        let many = line((0..TYPES_SHOWN_MAX + 1).map(|number| format!("x/{number}")).collect());
        assert!(
            many.ends_with("x/19 or another type that it takes, or share a link."),
            "{many}"
        );
    }

    #[test]
    fn out_13_a_long_text_is_split_in_order() {
        check(
            "One two three four. Five six seven",
            &[],
            &["One two three four.", "Five six seven"],
            &[],
        );
    }
}
