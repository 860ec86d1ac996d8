//! The listening socket: connections within limits, and an orderly end.
//!
//! Two tokens end it: `stop` takes no more connections and lets the requests under way finish, `force` drops them.

use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{
    CONNECTION_TIME_MAX, CONNECTIONS_MAX, DRAIN_TIME_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX, HEADERS_MAX, READ_BUFFER_BYTES,
};

/// How the server is told to end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    pub stop: CancellationToken,
    pub force: CancellationToken,
}

/// Serves until told to stop; returns when the last connection has ended.
pub async fn serve(listener: TcpListener, router: Router, stop: Stop) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    // Ends the connections alone: what else listens to `force` has a time of its own to finish.
    let cut = stop.force.child_token();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.stop.cancelled() => break,
            () = stop.force.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder().serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        let cut = cut.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                // What ends badly here is the client's: a reset, a bad head, a slow one. It has been answered.
                _ = connection => {}
                () = tokio::time::sleep(CONNECTION_TIME_MAX) => {}
            }
            drop(place);
        });
    }
    drop(listener);
    tasks.close();
    tokio::select! {
        biased;
        () = stop.force.cancelled() => {}
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(DRAIN_TIME_MAX) => {
            tracing::warn!("Some requests took longer than {DRAIN_TIME_MAX:?} to end and were cut off");
        }
    }
    cut.cancel();
    tasks.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and whole; waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            // Out of file descriptors, mostly: the connections under way free them.
            tracing::warn!(%error, "A connection could not be accepted");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            None
        }
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Without a timer hyper's time-outs are silently without effect.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(READ_BUFFER_BYTES)
        .keep_alive(true)
        .half_close(false);
    builder
}
