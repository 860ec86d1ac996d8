//! How long a sound lasts: LINE wants to be told. Read from the file itself, a few pieces of it; a file that does not
//! tell goes as a link.

use mantle_sdk::Host;
use mantle_sdk::values::MediaId;

/// Boxes that an MP4 file is searched through; usual files have a handful on each level.
const BOXES_MAX: usize = 64;
/// The head of a box, with a long length.
const BOX_HEAD: u64 = 16;
/// What is looked at behind the tags of an MP3 file: its first frame, in bytes.
const FRAME_HEAD: u32 = 2_048;
/// The head of an ID3 tag, and its footer.
const TAG_HEAD: u64 = 10;

/// In kbit/s, layer III of MPEG 1, and of MPEG 2 and 2.5.
const BITRATES: [[u64; 14]; 2] = [
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// In Hz, of MPEG 1; MPEG 2 halves and 2.5 quarters them.
const RATES: [u64; 3] = [44_100, 48_000, 32_000];

/// In milliseconds.
pub fn of(file: MediaId, bytes: u64, host: &dyn Host) -> Option<u64> {
    let read = |offset: u64, length: u32| host.media_read(file, offset, length).ok();
    mp4(bytes, &read).or_else(|| mp3(bytes, &read)).filter(|ms| *ms > 0)
}

type Read<'a> = &'a dyn Fn(u64, u32) -> Option<Vec<u8>>;

fn mp4(bytes: u64, read: Read) -> Option<u64> {
    let (_, first, _) = head(0, bytes, read)?;
    if &first != b"ftyp" {
        return None;
    }
    let (movie, movie_end) = find(*b"moov", 0, bytes, read)?;
    let (header, header_end) = find(*b"mvhd", movie, movie_end, read)?;
    let body = read(header, u32::try_from((header_end - header).min(32)).ok()?)?;
    let (scale, length) = match body.first()? {
        0 => (number(&body, 12, 4)?, number(&body, 16, 4)?),
        _ => (number(&body, 20, 4)?, number(&body, 24, 8)?),
    };
    length.checked_mul(1_000)?.checked_div(scale)
}

/// Where the inside of the box of that name begins and ends.
fn find(name: [u8; 4], mut at: u64, end: u64, read: Read) -> Option<(u64, u64)> {
    for _ in 0..BOXES_MAX {
        let (inside, found, next) = head(at, end, read)?;
        if found == name {
            return Some((inside, next));
        }
        at = next;
    }
    None
}

/// Inside, name and end of the box that begins here.
fn head(at: u64, end: u64, read: Read) -> Option<(u64, [u8; 4], u64)> {
    let length = u32::try_from(end.checked_sub(at)?.min(BOX_HEAD)).ok()?;
    let head = read(at, length)?;
    let name: [u8; 4] = head.get(4..8)?.try_into().ok()?;
    let (inside, size) = match number(&head, 0, 4)? {
        0 => (8, end - at),
        1 => (16, number(&head, 8, 8)?),
        size => (8, size),
    };
    let next = at.checked_add(size)?;
    (size >= inside && next <= end).then_some((at + inside, name, next))
}

fn mp3(bytes: u64, read: Read) -> Option<u64> {
    let tag = read(0, u32::try_from(TAG_HEAD).ok()?)?;
    let start = if tag.starts_with(b"ID3") {
        let size = tag
            .get(6..10)?
            .iter()
            .fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
        let footer = if tag.get(5)? & 0x10 == 0 { 0 } else { TAG_HEAD };
        TAG_HEAD + size + footer
    } else {
        0
    };
    let frame = read(start, FRAME_HEAD)?;
    let sync = number(&frame, 0, 4)?;
    // Eleven bits of sync, then layer III.
    if sync >> 21 != 0x7ff || sync >> 17 & 3 != 1 {
        return None;
    }
    let version = sync >> 19 & 3;
    let is_one = version == 3;
    let index = usize::try_from(sync >> 12 & 15).ok()?;
    let kbits = *BITRATES[usize::from(!is_one)].get(index.checked_sub(1)?)?;
    let rate = RATES.get(usize::try_from(sync >> 10 & 3).ok()?)?;
    let rate = match version {
        3 => *rate,
        2 => rate / 2,
        0 => rate / 4,
        _ => return None,
    };
    let is_mono = sync >> 6 & 3 == 3;
    match frames(&frame, is_one, is_mono) {
        Some(frames) => {
            let samples = if is_one { 1_152 } else { 576 };
            frames.checked_mul(samples * 1_000)?.checked_div(rate)
        }
        // All frames of one bitrate.
        None => bytes.checked_sub(start)?.checked_mul(8)?.checked_div(kbits),
    }
}

/// How many frames there are, where the first one says it: files of changing bitrate do.
fn frames(frame: &[u8], is_one: bool, is_mono: bool) -> Option<u64> {
    let side = match (is_one, is_mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    };
    let at = 4 + side;
    if matches!(frame.get(at..at + 4)?, b"Xing" | b"Info") && number(frame, at + 4, 4)? & 1 == 1 {
        return number(frame, at + 8, 4);
    }
    // The other encoder's place for it.
    (frame.get(36..40)? == b"VBRI").then(|| number(frame, 50, 4)).flatten()
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let digits = bytes.get(at..at.checked_add(length)?)?;
    Some(digits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::{mp3, mp4};

    fn of(file: &[u8]) -> Option<u64> {
        let read = |offset: u64, length: u32| {
            let from = usize::try_from(offset).ok()?;
            let to = from.checked_add(usize::try_from(length).ok()?)?.min(file.len());
            file.get(from..to).map(<[u8]>::to_vec)
        };
        let bytes = u64::try_from(file.len()).ok()?;
        mp4(bytes, &read).or_else(|| mp3(bytes, &read))
    }

    fn boxed(name: &[u8], inside: &[u8]) -> Vec<u8> {
        let size = u32::try_from(inside.len() + 8).unwrap();
        [&size.to_be_bytes(), name, inside].concat()
    }

    fn frame(head: [u8; 4], bytes: usize) -> Vec<u8> {
        let mut frame = head.to_vec();
        frame.resize(bytes, 0);
        frame
    }

    #[test]
    fn an_mp4_file_tells_its_length_wherever_its_header_stands() {
        let short = [&[0; 12][..], &1_000_u32.to_be_bytes(), &4_200_u32.to_be_bytes()].concat();
        let long = [&[1], &[0; 19][..], &600_u32.to_be_bytes(), &1_200_u64.to_be_bytes()].concat();
        for (header, expected) in [(short, 4_200), (long, 2_000)] {
            let movie = boxed(b"moov", &[boxed(b"iods", b"xx"), boxed(b"mvhd", &header)].concat());
            let start = boxed(b"ftyp", b"M4A ");
            let sound = boxed(b"mdat", &[7; 100]);
            assert_eq!(
                of(&[start.clone(), movie.clone(), sound.clone()].concat()),
                Some(expected)
            );
            assert_eq!(of(&[start, sound, movie].concat()), Some(expected));
        }
    }

    #[test]
    fn an_mp3_file_tells_its_length_by_its_frames_or_its_bitrate() {
        // MPEG 1, layer III, 128 kbit/s, 44.1 kHz: 16 bytes a millisecond.
        let plain = frame([0xff, 0xfb, 0x90, 0x00], 16_000);
        assert_eq!(of(&plain), Some(1_000));
        let tagged = [b"ID3\x04\x00\x00\x00\x00\x01\x00", &[0; 128][..], &plain].concat();
        assert_eq!(of(&tagged), Some(1_000));
        let mut counted = plain.clone();
        counted[36..48].copy_from_slice(b"Xing\0\0\0\x01\0\0\x03\xe8");
        assert_eq!(of(&counted), Some(1_000 * 1_152 * 1_000 / 44_100));
        // MPEG 2, 64 kbit/s, 22.05 kHz, mono.
        assert_eq!(of(&frame([0xff, 0xf3, 0x80, 0xc0], 8_000)), Some(1_000));
    }

    #[test]
    fn what_tells_no_length_is_none() {
        for file in [
            &b""[..],
            b"OggS",
            b"RIFF....WAVE",
            &[0xff; 64],
            &boxed(b"ftyp", b"M4A "),
            // A box that is longer than the file, one of no length, and a scale of nothing.
            b"\x00\x00\x00\x08ftyp\x7f\xff\xff\xffmoov",
            b"\x00\x00\x00\x08ftyp\x00\x00\x00\x04moov",
            &[boxed(b"ftyp", b""), boxed(b"moov", &boxed(b"mvhd", &[0; 20]))].concat(),
        ] {
            assert_eq!(of(file), None, "{file:?}");
        }
    }
}
