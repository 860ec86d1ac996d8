//! Other versions of one component: the same code with other words in its manifest.

use anyhow::{Context, Result, ensure};

/// The component with each of these texts of its manifest replaced by one of the same length, so that nothing moves.
///
/// # Errors
/// A text is not there, or the two differ in length.
pub fn variant(component: &[u8], words: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut made = component.to_vec();
    for (from, to) in words {
        ensure!(from.len() == to.len(), "`{from}` and `{to}` differ in length");
        let place = made.windows(from.len()).position(|found| found == from.as_bytes());
        let mut place = Some(place.with_context(|| format!("the component has no `{from}`"))?);
        // The manifest may stand there as a section and as data.
        while let Some(at) = place {
            made[at..at + from.len()].copy_from_slice(to.as_bytes());
            place = made.windows(from.len()).position(|found| found == from.as_bytes());
        }
    }
    Ok(made)
}
