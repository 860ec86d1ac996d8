//! To be written.
#[allow(missing_docs)]
pub mod probe {
    wit_bindgen::generate!({ path: "../wit", world: "minimal", generate_all });
}
