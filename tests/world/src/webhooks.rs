//! Deliveries to the host, with the habits of a provider on a good or a bad day: twice, late, lost, held back
//! and let go in another order, tried again.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::scene::{Scene, lock};
use crate::wire::Reply;

/// A webhook on its way: signed, complete.
#[derive(Debug, Clone)]
pub struct Post {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// How a delivery ended.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    /// None: held back, lost, or the host was not reached.
    pub status: Option<u16>,
    pub answer: Reply,
    /// Why there was no answer.
    pub problem: Option<String>,
    /// The provider's id of what was told: update_id, wamid, MessageSid, notification id.
    pub id: String,
    /// How often it went out.
    pub attempts: u32,
}

impl Delivered {
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// In which order held deliveries are let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    AsWritten,
    Reversed,
    /// All in the same instant, each over its own connection.
    AtOnce,
}

#[derive(Debug, Default)]
struct Habits {
    twice: bool,
    late: Duration,
    lose: u32,
    retries: u32,
    retry_pause: Duration,
    held: Option<Vec<(String, Post)>>,
}

/// One provider's deliveries.
pub struct Webhooks {
    scene: Scene,
    habits: Mutex<Habits>,
    log: Mutex<Vec<(Post, Delivered)>>,
}

impl Webhooks {
    pub(crate) fn new(scene: Scene) -> Self {
        Self {
            scene,
            habits: Mutex::default(),
            log: Mutex::default(),
        }
    }

    /// Every webhook goes out two times.
    pub fn twice(&self, on: bool) {
        lock(&self.habits).twice = on;
    }

    /// Every webhook goes out so much later.
    pub fn late(&self, by: Duration) {
        lock(&self.habits).late = by;
    }

    /// The next so many webhooks never go out.
    pub fn lose(&self, next: u32) {
        lock(&self.habits).lose = next;
    }

    /// A webhook that is not answered with 2xx is tried so many times more.
    pub fn retries(&self, times: u32, pause: Duration) {
        let mut habits = lock(&self.habits);
        habits.retries = times;
        habits.retry_pause = pause;
    }

    /// Nothing goes out until [`Webhooks::release`].
    pub fn hold(&self) {
        let mut habits = lock(&self.habits);
        habits.held.get_or_insert_default();
    }

    /// Ends [`Webhooks::hold`] and sends what has gathered.
    pub async fn release(&self, order: Order) -> Vec<Delivered> {
        let mut posts = lock(&self.habits).held.take().unwrap_or_default();
        if order == Order::Reversed {
            posts.reverse();
        }
        if order == Order::AtOnce {
            return futures_util::future::join_all(posts.into_iter().map(|(id, post)| self.send(id, post))).await;
        }
        let mut all = Vec::new();
        for (id, post) in posts {
            all.push(self.send(id, post).await);
        }
        all
    }

    /// What was sent, with the host's answers, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<(Post, Delivered)> {
        lock(&self.log).clone()
    }

    /// Sends the newest webhook that has this id once more, byte for byte.
    pub async fn again(&self, id: &str) -> Delivered {
        let found = lock(&self.log)
            .iter()
            .rev()
            .find(|(_, delivered)| delivered.id == id)
            .map(|(post, _)| post.clone());
        match found {
            Some(post) => self.send(id.to_owned(), post).await,
            None => Delivered {
                problem: Some(format!("nothing with the id {id} was delivered before")),
                ..Delivered::default()
            },
        }
    }

    pub(crate) async fn deliver(&self, id: impl Into<String>, post: Post) -> Delivered {
        let id = id.into();
        let (twice, late) = {
            let mut habits = lock(&self.habits);
            if habits.lose > 0 {
                habits.lose -= 1;
                return Delivered {
                    id,
                    problem: Some("lost on purpose".to_owned()),
                    ..Delivered::default()
                };
            }
            if let Some(held) = &mut habits.held {
                held.push((id.clone(), post));
                return Delivered {
                    id,
                    problem: Some("held back on purpose".to_owned()),
                    ..Delivered::default()
                };
            }
            (habits.twice, habits.late)
        };
        if !late.is_zero() {
            tokio::time::sleep(late).await;
        }
        let first = self.send(id.clone(), post.clone()).await;
        if twice {
            self.send(id, post).await;
        }
        first
    }

    async fn send(&self, id: String, post: Post) -> Delivered {
        let (retries, pause) = {
            let habits = lock(&self.habits);
            (habits.retries, habits.retry_pause)
        };
        let mut attempts = 0;
        let delivered = loop {
            attempts += 1;
            let answer = self
                .scene
                .client()
                .call(post.method.clone(), &post.url, &post.headers, post.body.clone())
                .await;
            let delivered = match answer {
                Ok(answer) => Delivered {
                    status: Some(answer.status),
                    answer,
                    problem: None,
                    id: id.clone(),
                    attempts,
                },
                Err(error) => Delivered {
                    problem: Some(format!("{error:#}")),
                    id: id.clone(),
                    attempts,
                    ..Delivered::default()
                },
            };
            if delivered.is_good() || attempts > retries {
                break delivered;
            }
            tokio::time::sleep(pause).await;
        };
        lock(&self.log).push((post, delivered.clone()));
        self.scene.ring();
        delivered
    }
}
