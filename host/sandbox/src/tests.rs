//! The sandbox against guests that misbehave, and against one that does not. Guests are built from `tests/guests`.

mod bounds;
mod calls;
mod compiling;
mod hostile;
mod loading;
mod registry;
mod stage;
