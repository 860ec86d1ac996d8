//! Each simulated host finds out about limits by itself: what hosts tell each other has tests of its own.

use async_trait::async_trait;
use mantle_model::clock::Time;
use mantle_store::StoreError;
use mantle_store::budgets::{Ask, BudgetKey, Budgets, Lease, Standing, Told};

use super::MemoryStore;

const NOT_SHARED: &str = "nothing is shared here";

#[async_trait]
impl Budgets for MemoryStore {
    fn shares_budgets(&self) -> bool {
        false
    }

    async fn lease(&self, _: BudgetKey, _: Ask, _: Time) -> Result<Lease, StoreError> {
        Err(StoreError::Busy(NOT_SHARED.to_owned()))
    }

    async fn tell(&self, _: BudgetKey, _: i64, _: Told, _: Time) -> Result<Standing, StoreError> {
        Err(StoreError::Busy(NOT_SHARED.to_owned()))
    }

    async fn standings(&self, _: Time) -> Result<Vec<(BudgetKey, Standing)>, StoreError> {
        Ok(Vec::new())
    }

    async fn budgets_told(&self) {
        std::future::pending().await
    }
}
