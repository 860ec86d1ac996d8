//! The sandbox against guests that misbehave, and against one that does not. Guests are built from `tests/guests`.

mod bounds;
mod calls;
mod compiling;
mod contained;
mod hostile;
mod loading;
mod reaching;
mod registry;
mod renewing;
mod stage;
mod told;
mod versions;
mod wat;
