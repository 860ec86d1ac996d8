//! What teammates send (OUT).
