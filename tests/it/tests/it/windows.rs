//! When a free answer may go out (WI).
