//! Both journeys on a real store: what the customer, the team and the provider see.

mod inward;
mod outward;
mod world;
