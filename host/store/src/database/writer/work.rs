//! What the writer is given to do, and who waits for it.

use async_trait::async_trait;
use mantle_failpoint::{Point, reach};
use tokio::sync::oneshot;

use super::super::Context;
use super::super::accept::{self, Taken};
use super::super::commit::{self, Learnt};
use super::super::handing::Offer;
use super::super::known::Waits;
use super::Queued;
use crate::StoreError;
use crate::intake::Accepted;
use crate::sql::Connection;

/// One job.
pub(super) enum Work {
    /// A hook to be stored.
    Take(Grouped<Taken, Accepted>),
    /// What a worker learnt. Tells what waits in its lane, if it was given back with more to do.
    Learn(Grouped<Learnt, Option<Waits>>),
    /// Whatever happens seldom.
    Other(Box<dyn Job>),
}

/// Runs all of them. Those of one group were asked for at the same time, so none needs to see what another did, and
/// those of one kind run together.
pub(super) async fn run(
    tx: &mut Connection,
    context: &Context,
    batch: &mut [Queued],
    offer: &mut Offer,
) -> Result<(), StoreError> {
    let taken: Vec<&Taken> = batch.iter().filter_map(|queued| queued.work.taken()).collect();
    let mut accepted = accept::receipts(tx, context, &taken, offer).await?.into_iter();
    let learnt: Vec<&Learnt> = batch.iter().filter_map(|queued| queued.work.learnt()).collect();
    let ready = commit::learn(tx, context, &learnt).await?;
    for queued in batch {
        match &mut queued.work {
            Work::Take(take) => take.output = accepted.next(),
            Work::Learn(learn) => {
                let waits = ready.get(&learn.input.claim.lane).copied();
                learn.output = Some(waits.filter(|_| learn.input.frees));
            }
            Work::Other(job) => job.attempt(tx).await?,
        }
        reach(Point::JobRun).await;
    }
    Ok(())
}

impl Work {
    fn taken(&self) -> Option<&Taken> {
        match self {
            Self::Take(take) => Some(&take.input),
            Self::Learn(_) | Self::Other(_) => None,
        }
    }

    fn learnt(&self) -> Option<&Learnt> {
        match self {
            Self::Learn(learn) => Some(&learn.input),
            Self::Take(_) | Self::Other(_) => None,
        }
    }

    /// Whether a lane was given back that others may take on with.
    pub(super) fn leaves_work(&self) -> bool {
        matches!(self, Self::Learn(learn) if learn.output.flatten().is_some())
    }

    /// On disk: the result of the last attempt goes out.
    pub(super) fn committed(self) {
        match self {
            Self::Take(take) => take.waiting.committed(take.output, take.input),
            Self::Learn(learn) => learn.waiting.committed(learn.output, learn.input),
            Self::Other(job) => job.committed(),
        }
    }

    pub(super) fn refuse(&mut self, error: StoreError) {
        match self {
            Self::Take(take) => take.waiting.refuse(error),
            Self::Learn(learn) => learn.waiting.refuse(error),
            Self::Other(job) => job.refuse(error),
        }
    }
}

/// A job that runs together with others of its kind.
pub(super) struct Grouped<I, T> {
    input: I,
    output: Option<T>,
    waiting: Waiting<T, I>,
}

impl<I, T> Grouped<I, T> {
    pub(super) fn new(input: I, waiting: Waiting<T, I>) -> Self {
        Self {
            input,
            output: None,
            waiting,
        }
    }
}

/// What follows from a result.
type Follows<T> = Box<dyn FnOnce(&T) + Send>;

/// A result, and what it was made of: whoever gave that takes it back, since letting go of it costs the writer, for
/// which all wait, more than it costs them.
pub(super) type Answer<T, I> = Result<(T, I), StoreError>;

/// Who waits for a result, and what follows from it whether or not they still do.
pub(super) struct Waiting<T, I = ()> {
    committed: Option<Follows<T>>,
    answer: Option<oneshot::Sender<Answer<T, I>>>,
}

impl<T, I> Waiting<T, I> {
    pub(super) fn new(committed: impl FnOnce(&T) + Send + 'static) -> (Self, oneshot::Receiver<Answer<T, I>>) {
        let (answer, answered) = oneshot::channel();
        let waiting = Self {
            committed: Some(Box::new(committed)),
            answer: Some(answer),
        };
        (waiting, answered)
    }

    fn committed(self, output: Option<T>, input: I) {
        let Some(output) = output else { return };
        if let Some(committed) = self.committed {
            committed(&output);
        }
        if let Some(answer) = self.answer {
            // The caller has gone; what it wanted is done.
            let _ = answer.send(Ok((output, input)));
        }
    }

    fn refuse(&mut self, error: StoreError) {
        // What it holds is let go before the caller hears of it.
        self.committed.take();
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(Err(error));
        }
    }
}

/// A task with its types forgotten. Not `Send` while running: all run on the writer's thread.
#[async_trait(?Send)]
pub(super) trait Job: Send {
    async fn attempt(&mut self, connection: &mut Connection) -> Result<(), StoreError>;
    /// On disk: the result of the last attempt goes out.
    fn committed(self: Box<Self>);
    fn refuse(&mut self, error: StoreError);
}

pub(super) struct Task<T, F> {
    pub apply: F,
    pub output: Option<T>,
    pub waiting: Waiting<T>,
}

#[async_trait(?Send)]
impl<T, F> Job for Task<T, F>
where
    T: Send + 'static,
    F: AsyncFn(&mut Connection) -> Result<T, StoreError> + Send + 'static,
{
    async fn attempt(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        self.output = None;
        self.output = Some((self.apply)(connection).await?);
        Ok(())
    }

    fn committed(self: Box<Self>) {
        self.waiting.committed(self.output, ());
    }

    fn refuse(&mut self, error: StoreError) {
        self.waiting.refuse(error);
    }
}
