//! The front over a real socket, with a real store and a desk that notes what it is asked.

mod api;
mod document;
mod limits;
mod resend;
mod stand_in;
