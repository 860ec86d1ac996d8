//! What the demo says on the terminal.

use std::io::IsTerminal;
use std::time::Duration;

fn paint(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

pub fn title(text: &str) {
    println!("\n{}", paint("1", text));
}

pub fn step(text: &str) {
    println!("{} {text}", paint("36", "·"));
}

pub fn note(text: &str) {
    println!("  {}", paint("2", text));
}

pub fn failure(text: &str) {
    eprintln!("{} {text}", paint("31", "✗"));
}

/// One hop of the script: where from, where to, what, how long.
pub fn hop(arrived: bool, route: &str, what: &str, took: Duration) {
    let mark = if arrived {
        paint("32", "✓")
    } else {
        paint("31", "✗")
    };
    println!("  {mark} {route:<24} {what:<46} {:>6} ms", took.as_millis());
}
