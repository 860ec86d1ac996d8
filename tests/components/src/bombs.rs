//! Components that cost their compiler time or memory, byte by byte: no compiler of ours would build them.

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// Where the host looks for the manifest.
const MANIFEST: &[u8] = b"mantle:manifest";
/// From a number to nothing.
const TYPE: &[u8] = &[1, 0x60, 1, 0x7f, 0];
/// `local.get 0`, `call 0`: nothing that a compiler may leave out.
const CALL: &[u8] = &[0x20, 0, 0x10, 0];
const END: u8 = 0x0b;

/// What a bomb is to use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fuse {
    /// Minutes of a compiler that needs little memory.
    Time,
    /// A gigabyte and more within seconds: one function, of nearly as many bytes as a function may have.
    Memory,
    /// Nothing: it is compiled at once.
    None,
}

impl Fuse {
    /// Functions, and calls in each.
    fn size(self) -> (usize, usize) {
        match self {
            Self::Time => (1_000, 10_000),
            Self::Memory => (1, 1_800_000),
            Self::None => (1, 1),
        }
    }
}

/// A component with this manifest that a host reads without complaint, until it has it compiled.
#[must_use]
pub fn bomb(manifest: &str, fuse: Fuse) -> Vec<u8> {
    let (functions, calls) = fuse.size();
    // No locals.
    let body = sized(&[&[0], &*CALL.repeat(calls), &[END]].concat());
    let count = length(functions);
    let module = [
        MODULE,
        &section(1, TYPE),
        &section(3, &[&*count, &vec![0; functions]].concat()),
        &section(10, &[&*count, &body.repeat(functions)].concat()),
    ];
    let named = [&*sized(MANIFEST), manifest.as_bytes()].concat();
    [COMPONENT, &section(0, &named), &section(1, &module.concat())].concat()
}

fn section(id: u8, bytes: &[u8]) -> Vec<u8> {
    [&[id], &*sized(bytes)].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&*length(bytes.len()), bytes].concat()
}

/// LEB128.
fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
