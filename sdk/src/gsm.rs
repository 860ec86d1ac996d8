//! GSM.
