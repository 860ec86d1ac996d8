//! The sandbox against guests that misbehave, and against one that does not. Guests are built from `tests/guests`.

mod calls;
mod hostile;
mod loading;
mod registry;
mod stage;
