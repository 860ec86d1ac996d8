//! Both journeys on a real store: what the customer, the team and the provider see.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so"
)]

mod budgets;
mod inward;
mod line;
mod outward;
mod together;
mod world;
