//! Orders of a test, one per line, each answered by one line; points that act are told as they do.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mantle_model::clock::{Clock, SystemClock, Time};

/// The machine's clock, moved ahead by a test.
#[derive(Debug, Clone, Default)]
pub struct Shifted(Arc<AtomicI64>);

impl Clock for Shifted {
    fn now(&self) -> Time {
        let ahead = self.0.load(Ordering::Relaxed);
        Time::from_unix_ms(SystemClock.now().unix_ms().saturating_add(ahead))
    }
}

/// Calls the test and obeys it from here on.
pub fn start(address: &str, clock: Shifted) -> io::Result<()> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an address"))?;
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "orders are taken from loopback alone",
        ));
    }
    let stream = TcpStream::connect(address)?;
    let orders = BufReader::new(stream.try_clone()?);
    let answers = Arc::new(Mutex::new(stream));
    let told = Arc::clone(&answers);
    // Nobody listens any more once the test has ended; the host is about to end then as well.
    mantle_failpoint::watch(move |point, hits| drop(say(&told, &format!("hit {} {hits}", point.name()))));
    std::thread::Builder::new()
        .name("faults-control".to_owned())
        .spawn(move || {
            for order in orders.lines().map_while(Result::ok) {
                let answer = match obey(&order, &clock) {
                    Ok(answer) => format!("ok {answer}"),
                    Err(problem) => format!("no {problem}"),
                };
                if say(&answers, &answer).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

fn say(to: &Mutex<TcpStream>, line: &str) -> io::Result<()> {
    let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
    to.write_all(format!("{line}\n").as_bytes())
}

fn obey(order: &str, clock: &Shifted) -> Result<String, String> {
    let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
    match verb {
        "arm" => mantle_failpoint::arm(rest).map(|()| String::new()),
        "disarm" => mantle_failpoint::disarm((!rest.is_empty()).then_some(rest)).map(|()| String::new()),
        "hits" => mantle_failpoint::hits(rest).map(|hits| hits.to_string()),
        "advance" => {
            let by: i64 = rest
                .parse()
                .map_err(|_| format!("`{rest}` is no number of milliseconds"))?;
            clock.0.fetch_add(by, Ordering::Relaxed);
            Ok(clock.now().unix_ms().to_string())
        }
        _ => Err(format!("`{verb}` is no order: arm, disarm, hits, advance")),
    }
}
