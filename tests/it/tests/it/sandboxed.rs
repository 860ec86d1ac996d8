//! Connectors that misbehave (XT).
