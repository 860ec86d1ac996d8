//! Reads multipart/form-data as strictly as the providers do.

use bytes::Bytes;

/// A file, wherever it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct File {
    pub name: String,
    pub content_type: String,
    pub bytes: Bytes,
}

impl File {
    #[must_use]
    pub fn new(name: &str, content_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            bytes: bytes.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    /// Some: a file part.
    pub file_name: Option<String>,
    pub content_type: String,
    pub bytes: Bytes,
}

/// The fields in order.
pub(crate) fn read(content_type: &str, body: &Bytes) -> Result<Vec<Field>, String> {
    let boundary = content_type
        .split(';')
        .filter_map(|piece| piece.trim().strip_prefix("boundary="))
        .map(|boundary| boundary.trim_matches('"'))
        .next()
        .ok_or("multipart without a boundary")?;
    let opening = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(opening.as_bytes()).map_or_else(
        || find(body, between.as_bytes()).map(|at| at + between.len()),
        |_| Some(opening.len()),
    );
    let mut fields = Vec::new();
    while let Some(start) = rest {
        if body[start..].starts_with(b"--") {
            return Ok(fields);
        }
        let part = start + 2;
        if !body[start..].starts_with(b"\r\n") {
            return Err("a boundary is not followed by a line end".to_owned());
        }
        let head_length = find(&body[part..], b"\r\n\r\n").ok_or("a part without an end of its head")?;
        let content = part + head_length + 4;
        let length = find(&body[content..], between.as_bytes()).ok_or("the last boundary is missing")?;
        fields.push(field(
            &String::from_utf8_lossy(&body[part..part + head_length]),
            body.slice(content..content + length),
        )?);
        rest = Some(content + length + between.len());
    }
    Err("no boundary in the body".to_owned())
}

fn field(head: &str, bytes: Bytes) -> Result<Field, String> {
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(known, _)| known.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let disposition = header("content-disposition").ok_or("a part without Content-Disposition")?;
    let attribute = |name: &str| {
        let (_, after) = disposition.split_once(&format!("; {name}=\""))?;
        after.split_once('"').map(|(value, _)| value.to_owned())
    };
    Ok(Field {
        name: attribute("name").ok_or("a part without a name")?,
        file_name: attribute("filename").or_else(|| disposition.contains("filename*=").then(|| "file".to_owned())),
        content_type: header("content-type").unwrap_or_default(),
        bytes,
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_files_are_read_byte_for_byte() {
        let body = Bytes::from_static(b"--B\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n55\r\n--B\r\ncontent-disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--x\r\n--B--\r\n");
        let fields = read("multipart/form-data; boundary=B", &body).unwrap();
        assert_eq!(fields.len(), 2);
        assert_eq!(
            (fields[0].name.as_str(), fields[0].bytes.as_ref()),
            ("chat_id", b"55".as_ref())
        );
        assert_eq!(fields[1].file_name.as_deref(), Some("a.jpg"));
        assert_eq!(fields[1].content_type, "image/jpeg");
        assert_eq!(fields[1].bytes.as_ref(), b"\xff\xd8\r\n--x");
    }

    #[test]
    fn a_body_without_its_last_boundary_is_refused() {
        let body = Bytes::from_static(b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n55");
        assert!(read("multipart/form-data; boundary=B", &body).is_err());
    }
}
