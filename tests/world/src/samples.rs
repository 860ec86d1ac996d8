//! Small real files for tests and the demo. Made for this project.

use crate::multipart::File;

/// A JPEG, 320 × 200.
#[must_use]
pub fn photo() -> File {
    File::new(
        "parcel.jpg",
        "image/jpeg",
        include_bytes!("../assets/parcel.jpg").as_slice(),
    )
}

/// A PNG, 240 × 160.
#[must_use]
pub fn picture() -> File {
    File::new(
        "picture.png",
        "image/png",
        include_bytes!("../assets/picture.png").as_slice(),
    )
}

/// A PDF with one page.
#[must_use]
pub fn document() -> File {
    File::new(
        "invoice.pdf",
        "application/pdf",
        include_bytes!("../assets/invoice.pdf").as_slice(),
    )
}

/// One second of silence, Opus in Ogg.
#[must_use]
pub fn voice() -> File {
    File::new(
        "voice.ogg",
        "audio/ogg",
        include_bytes!("../assets/voice.ogg").as_slice(),
    )
}
