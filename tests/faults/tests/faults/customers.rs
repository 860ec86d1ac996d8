//! The customers: what they write, and what the provider was told of it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use mantle_world::intercom;
use mantle_world::telegram::Customer;
use tokio::task::JoinHandle;

use crate::process::PATIENCE;
use crate::stage::{BOT_TOKEN, RETRIES, RETRY_PAUSE, Stage};

/// Between two messages of one customer who keeps writing: several customers are a load and no flood.
const BREATH: Duration = Duration::from_millis(40);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What one customer wrote, and whether somebody told the provider that it arrived.
#[derive(Debug, Clone)]
pub struct Saying {
    pub customer: i64,
    pub text: String,
    pub acked: bool,
}

/// Everything that was said, in the order of saying.
pub type Said = Arc<Mutex<Vec<Saying>>>;

/// Customers who write one message after the other until they are told to stop.
pub struct Talk {
    stop: Arc<AtomicBool>,
    talking: JoinHandle<()>,
}

impl Talk {
    /// Returns when what was begun has been taken.
    pub async fn ends(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.talking.await?)
    }
}

async fn say(said: &Said, writer: &Customer, text: String) {
    let place = {
        let mut said = said.lock().unwrap();
        said.push(Saying {
            customer: writer.id(),
            text: text.clone(),
            acked: false,
        });
        said.len() - 1
    };
    let told = writer.writes(&text).await;
    said.lock().unwrap()[place].acked = told.delivered.is_good();
}

impl Stage {
    pub fn customer(&self, id: i64) -> Customer {
        self.world.telegram.bot(BOT_TOKEN).customer(id)
    }

    /// A customer writes and the provider tries until it is taken. What was sent is remembered.
    pub fn says(&self, customer: i64, text: String) -> impl Future<Output = ()> + Send + use<> {
        let (said, writer) = (Arc::clone(&self.said), self.customer(customer));
        async move { say(&said, &writer, text).await }
    }

    /// Each customer says these texts one after the other, all customers at once.
    pub fn all_say(&self, customers: Range<i64>, texts: &[String]) -> JoinHandle<()> {
        let each: Vec<_> = customers
            .map(|customer| {
                let all: Vec<_> = texts
                    .iter()
                    .map(|text| self.says(customer, format!("{customer} {text}")))
                    .collect();
                async move {
                    for one in all {
                        one.await;
                    }
                }
            })
            .collect();
        tokio::spawn(async move {
            futures_util::future::join_all(each).await;
        })
    }

    /// All of them write until the talk is ended.
    pub fn keep_saying(&self, customers: Range<i64>) -> Talk {
        let stop = Arc::new(AtomicBool::new(false));
        let each: Vec<_> = customers
            .map(|customer| {
                let (said, writer, stop) = (Arc::clone(&self.said), self.customer(customer), Arc::clone(&stop));
                async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        say(&said, &writer, format!("{customer} says {number}")).await;
                        tokio::time::sleep(BREATH).await;
                    }
                }
            })
            .collect();
        let talking = tokio::spawn(async move {
            futures_util::future::join_all(each).await;
        });
        Talk { stop, talking }
    }

    /// One try of the provider at a message, which counts only if it is taken: the answer's status.
    pub async fn knock(&self, customer: i64, text: &str) -> Option<u16> {
        let webhooks = self.world.telegram.webhooks();
        webhooks.retries(0, RETRY_PAUSE);
        let told = self.customer(customer).writes(text).await;
        webhooks.retries(RETRIES, RETRY_PAUSE);
        if told.delivered.is_good() {
            self.note_said(customer, text);
        }
        told.delivered.status
    }

    /// Somebody said this, and the provider was told that it arrived.
    pub fn note_said(&self, customer: i64, text: &str) {
        self.said.lock().unwrap().push(Saying {
            customer,
            text: text.to_owned(),
            acked: true,
        });
    }

    /// It is not asked for any more.
    pub fn forgets(&self, customer: i64, text: &str) {
        let other = |saying: &Saying| saying.customer != customer || saying.text != text;
        self.said.lock().unwrap().retain(other);
    }

    pub fn said(&self) -> Vec<Saying> {
        self.said.lock().unwrap().clone()
    }

    fn acked(&self) -> usize {
        self.said.lock().unwrap().iter().filter(|saying| saying.acked).count()
    }

    /// Waits until the provider has been told of so many more messages that they arrived.
    pub async fn more_acked(&self, more: usize) -> Result<()> {
        let (wanted, deadline) = (self.acked() + more, tokio::time::Instant::now() + PATIENCE);
        while self.acked() < wanted {
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{} of {wanted} messages were taken",
                self.acked()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Messages of customers that the inbox has.
    pub fn applied(&self) -> usize {
        let conversations = self.world.intercom.workspace(intercom::WORKSPACE).conversations();
        conversations.iter().map(|known| known.from_customer().len()).sum()
    }

    /// Waits until the inbox has so many more.
    pub async fn more_applied(&self, more: usize) -> Result<()> {
        let wanted = self.applied() + more;
        let what = format!("{wanted} messages in the inbox");
        let enough = || (self.applied() >= wanted).then_some(());
        self.world.scene().until(&what, PATIENCE, enough).await
    }
}
