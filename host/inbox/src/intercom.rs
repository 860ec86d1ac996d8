//! Intercom.
