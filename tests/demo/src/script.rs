//! `cargo demo --once`: the round trip as a script, on every channel, in both directions.

use std::time::{Duration, Instant};

use mantle_world::intercom::Part;
use mantle_world::{File, samples};

use crate::stage::{Channel, Stage};
use crate::tell;

/// Longer than any honest delivery; a retry after a back-off fits in.
const HOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the world must stay still at the end: a double would come now.
const QUIET: Duration = Duration::from_millis(1500);

struct Step {
    what: &'static str,
    text: String,
    file: Option<File>,
}

fn steps(greeting: &str) -> Vec<Step> {
    let file = |what: &'static str, file: File| Step {
        what,
        text: String::new(),
        file: Some(file),
    };
    vec![
        Step {
            what: "text",
            text: greeting.to_owned(),
            file: None,
        },
        file("image", samples::photo()),
        file("document", samples::document()),
        file("voice", samples::voice()),
    ]
}

/// True when every message arrived exactly once with equal bytes.
pub async fn play(stage: &Stage) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut missing = Vec::new();
    for channel in Channel::ALL {
        tell::title(channel.title());
        let Some(conversation) = inbound(stage, channel, &steps(&greeting(channel)), &mut missing).await else {
            continue;
        };
        let answer = format!("Hi from the team, by {} ✅", channel.title());
        outbound(stage, channel, &conversation, &steps(&answer), &mut missing).await;
    }
    tokio::time::sleep(QUIET).await;
    doubles(stage, &mut missing);
    for violation in stage.world().violations() {
        missing.push(format!("against the provider's documents: {violation}"));
    }
    if missing.is_empty() {
        let count = Channel::ALL.len() * 8;
        tell::title(&format!(
            "All {count} messages arrived exactly once, byte for byte, in {:.1} s.",
            started.elapsed().as_secs_f32()
        ));
        return Ok(true);
    }
    tell::title("The round trip is not complete:");
    for line in &missing {
        tell::failure(line);
    }
    Ok(false)
}

/// What breaks when bytes are not kept: emoji, right-to-left letters, a line end, something like markup.
fn greeting(channel: Channel) -> String {
    format!("Hello over {} 👋\nמה שלומך? Grüße & <b>no markup</b>", channel.title())
}

fn described(step: &Step) -> String {
    match &step.file {
        None => format!("{}, {} bytes of UTF-8", step.what, step.text.len()),
        Some(file) => format!("{} {} ({} bytes)", step.what, file.name, file.bytes.len()),
    }
}

/// Whether a part or a bubble shows exactly what the step sent.
fn shows(step: &Step, text: &str, files: &[&File]) -> bool {
    match &step.file {
        None => text == step.text && files.is_empty(),
        Some(file) => files.iter().any(|known| known.bytes == file.bytes),
    }
}

fn part_shows(step: &Step, part: &Part) -> bool {
    shows(step, &part.body, &part.files.iter().collect::<Vec<_>>())
}

/// Answers with the conversation that the first message opened.
async fn inbound(stage: &Stage, channel: Channel, steps: &[Step], missing: &mut Vec<String>) -> Option<String> {
    let route = format!("{} → Intercom", channel.title());
    let mut conversation = None;
    for step in steps {
        let started = Instant::now();
        let delivered = stage.customer_says(channel, &step.text, step.file.as_ref()).await;
        if !delivered.is_good() {
            let answer = delivered
                .status
                .map_or(delivered.problem.unwrap_or_default(), |status| {
                    format!("status {status}")
                });
            missing.push(format!("{route}: {} was not taken: {answer}", described(step)));
            tell::hop(false, &route, &described(step), started.elapsed());
            continue;
        }
        let look = || {
            let all = stage.workspace().conversations();
            let fits = |id: &String| conversation.as_ref().is_none_or(|known| known == id);
            all.into_iter()
                .find(|known| fits(&known.id) && known.from_customer().iter().any(|part| part_shows(step, part)))
                .map(|known| known.id)
        };
        let arrived = stage.world().scene().until(&described(step), HOP_TIMEOUT, look).await;
        tell::hop(arrived.is_ok(), &route, &described(step), started.elapsed());
        match arrived {
            Ok(id) => conversation = Some(id),
            Err(_) => missing.push(format!("{route}: {} did not arrive", described(step))),
        }
    }
    conversation
}

async fn outbound(stage: &Stage, channel: Channel, conversation: &str, steps: &[Step], missing: &mut Vec<String>) {
    let route = format!("Intercom → {}", channel.title());
    for step in steps {
        let started = Instant::now();
        let html = if step.text.is_empty() {
            String::new()
        } else {
            format!("<p>{}</p>", escaped(&step.text))
        };
        let files: Vec<File> = step.file.iter().cloned().collect();
        stage.teammate().replies(conversation, &html, &files).await;
        let look = || (arrivals(stage, channel, step) > 0).then_some(());
        let arrived = stage
            .world()
            .scene()
            .until(&described(step), HOP_TIMEOUT, look)
            .await
            .is_ok();
        tell::hop(arrived, &route, &described(step), started.elapsed());
        if !arrived {
            let notes = stage
                .workspace()
                .conversation(conversation)
                .map(|known| known.notes())
                .unwrap_or_default();
            let why = notes
                .last()
                .map(|note| format!(" (note in the inbox: {})", note.plain()))
                .unwrap_or_default();
            missing.push(format!("{route}: {} did not arrive{why}", described(step)));
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\n', "<br>")
}

fn arrivals(stage: &Stage, channel: Channel, step: &Step) -> usize {
    let bubbles = stage.received(channel);
    bubbles
        .iter()
        .filter(|line| shows(step, &line.text, &line.file.iter().collect::<Vec<_>>()))
        .count()
}

/// Counts once more, now that nothing moves.
fn doubles(stage: &Stage, missing: &mut Vec<String>) {
    for channel in Channel::ALL {
        let bubbles = stage.received(channel).len();
        if bubbles > 4 {
            missing.push(format!(
                "{}: the customer got {bubbles} messages instead of 4",
                channel.title()
            ));
        }
    }
    for conversation in stage.workspace().conversations() {
        let parts = conversation.from_customer();
        let greetings = Channel::ALL.map(|channel| steps(&greeting(channel)).remove(0));
        for step in greetings.iter().chain(steps("").iter().skip(1)) {
            let count = parts.iter().filter(|part| part_shows(step, part)).count();
            if count > 1 {
                missing.push(format!(
                    "conversation {}: {} arrived {count} times",
                    conversation.id,
                    described(step)
                ));
            }
        }
    }
    let conversations = stage.workspace().conversations().len();
    if conversations > Channel::ALL.len() {
        missing.push(format!(
            "{conversations} conversations were opened instead of {}",
            Channel::ALL.len()
        ));
    }
}
