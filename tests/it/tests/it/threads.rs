//! Which conversation a message joins (TH).
