//! Files into Intercom: base64 inside JSON, written while the files are read, so that none is held in memory.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use mantle_egress::ByteStream;
use mantle_model::failure::{Cause, Reason};
use serde_json::Value;

use super::api::Content;
use super::trouble::{Trouble, refused};
use crate::Upload;

/// Bytes of all files of one request before base64. Intercom gives no limit; above about 25 MB requests fail.
const FILES_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// Files of one part.
const FILES_MAX: usize = 10;

/// A name without separators, control and direction characters; the same for the same name, never empty.
pub fn safe_name(name: &str) -> String {
    let unsafe_char = |c: char| {
        c.is_control()
            || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let safe: String = name.chars().map(|c| if unsafe_char(c) { '_' } else { c }).collect();
    let safe = safe.trim().trim_start_matches('.');
    if safe.is_empty() {
        "file".to_owned()
    } else {
        safe.to_owned()
    }
}

/// The text that a part is given: Intercom wants one, and a file without a caption has none but its name.
pub fn body_text(text: &str, names: &[String]) -> String {
    if text.trim().is_empty() && !names.is_empty() {
        names.join(", ")
    } else {
        text.to_owned()
    }
}

/// The body of a reply with its files.
pub fn with_files(reply: &Value, files: Vec<Upload>) -> Result<Content<'static>, Trouble> {
    if files.len() > FILES_MAX {
        let cause = Cause::new(
            "too_many_files",
            format!("Intercom takes {FILES_MAX} files in one part."),
        );
        return Err(Trouble::Failure(refused(Reason::Unsupported, cause, None)));
    }
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    if total > FILES_BYTES_MAX {
        let cause = Cause::new(
            "too_large",
            format!("The files have {total} bytes; Intercom takes {FILES_BYTES_MAX}."),
        );
        return Err(Trouble::Failure(refused(Reason::TooLarge, cause, None)));
    }
    let mut head = reply.to_string();
    head.pop();
    head.push_str(",\"attachment_files\":[");
    let mut length = head.len() as u64;
    let mut pieces: Vec<ByteStream> = vec![once(head)];
    for (place, file) in files.into_iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let open = format!(
            "{comma}{{\"content_type\":{},\"name\":{},\"data\":\"",
            Value::String(file.content_type),
            Value::String(safe_name(&file.name)),
        );
        length += open.len() as u64 + file.bytes.div_ceil(3) * 4 + 2;
        pieces.extend([once(open), encoded(file.body), once("\"}".to_owned())]);
    }
    length += 2;
    pieces.push(once("]}".to_owned()));
    Ok(Content::Stream {
        bytes: length,
        stream: stream::iter(pieces).flatten().boxed(),
    })
}

fn once(text: String) -> ByteStream {
    stream::once(async move { Ok(Bytes::from(text)) }).boxed()
}

/// Base64 without line breaks. Up to two bytes wait for the next chunk, so that padding stands at the end alone.
fn encoded(body: ByteStream) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(Some((body, BytesMut::new())), |state| async move {
        let (mut body, mut rest) = state?;
        loop {
            match body.next().await {
                Some(Ok(chunk)) => {
                    rest.extend_from_slice(&chunk);
                    let whole = rest.len() - rest.len() % 3;
                    if whole > 0 {
                        let ready = rest.split_to(whole);
                        return Some((Ok(Bytes::from(STANDARD.encode(ready))), Some((body, rest))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None if rest.is_empty() => return None,
                None => return Some((Ok(Bytes::from(STANDARD.encode(rest))), None)),
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn upload(name: &str, chunks: Vec<&'static [u8]>) -> Upload {
        Upload {
            name: name.into(),
            content_type: "text/plain".into(),
            bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            body: stream::iter(chunks).map(|chunk| Ok(Bytes::from_static(chunk))).boxed(),
        }
    }

    #[tokio::test]
    async fn at_1_files_arrive_byte_for_byte_whatever_their_chunks() {
        let files = vec![
            upload("a.txt", vec![b"h", b"el", b"", b"lo wor", b"ld"]),
            upload("../ü\".txt", vec![b"\xff\x00"]),
            upload("", vec![]),
        ];
        let Ok(Content::Stream { bytes, stream }) = with_files(&json!({"body": "x"}), files) else {
            panic!("not a stream");
        };
        let body = mantle_egress::collect(stream, 10_000).await.unwrap();
        assert_eq!(body.len() as u64, bytes);
        let found: Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({"body": "x", "attachment_files": [
            {"content_type": "text/plain", "name": "a.txt", "data": "aGVsbG8gd29ybGQ="},
            {"content_type": "text/plain", "name": "_ü_.txt", "data": "/wA="},
            {"content_type": "text/plain", "name": "file", "data": ""},
        ]});
        assert_eq!(found, expected);
    }

    #[test]
    fn names_are_made_safe() {
        let check = |name: &str, expected: &str| assert_eq!(safe_name(name), expected, "{name}");
        check("invoice (1).pdf", "invoice (1).pdf");
        check("../../etc/passwd", "_.._etc_passwd");
        check("C:\\x\0y.png", "C__x_y.png");
        check("grüße 👍.txt", "grüße 👍.txt");
        check("a\u{202e}gpj.exe", "a_gpj.exe");
        check("..", "file");
        check("", "file");
    }

    #[test]
    fn at_4_what_is_too_large_is_refused_before_a_call() {
        let mut large = upload("a", vec![]);
        large.bytes = FILES_BYTES_MAX + 1;
        let Err(Trouble::Failure(mantle_model::failure::Failure::Refused(refusal))) =
            with_files(&json!({}), vec![large])
        else {
            panic!("was taken");
        };
        assert_eq!(refusal.reason, Reason::TooLarge);
    }
}
