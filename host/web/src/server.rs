//! The listening socket: connections within limits, and an orderly end.
//!
//! Two tokens end it: `stop` takes no more connections and lets the requests under way finish, `force` drops them.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
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
        let connection = connection(stream, router.clone(), stop.stop.clone());
        let cut = cut.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cut.cancelled() => {}
                () = connection => {}
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
        () = tasks.wait() => {}
        () = tokio::time::sleep(DRAIN_TIME_MAX) => {
            tracing::warn!("Some requests took longer than {DRAIN_TIME_MAX:?} to end and were cut off");
        }
    }
    cut.cancel();
    tasks.wait().await;
}

/// One caller, until it goes or, at a stop, its request is answered. Who was accepted and has not asked yet still may:
/// it would take a closed connection for a refusal.
async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let asked = CancellationToken::new();
    let (asks, router) = (asked.clone(), TowerToHyperService::new(router));
    let service = service_fn(move |request| {
        asks.cancel();
        router.call(request)
    });
    let mut connection = pin!(builder().serve_connection(TokioIo::new(stream), service));
    let stopped = async {
        stop.cancelled().await;
        asked.cancelled().await;
    };
    // What ends badly here is the client's: a reset, a bad head, a slow one. It has been answered.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = stopped => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
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
        // Looking meanwhile whether the caller has gone costs a read and a new buffer for each request, and who only
        // ended its own side still waits for its answer.
        .half_close(true);
    builder
}
