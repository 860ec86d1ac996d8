//! Files, both ways (AT).
