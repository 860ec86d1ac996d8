//! C4 to C9: the inbox's answers are cut, slow, endless, packed, wrong or lead elsewhere. Whatever is told of a write,
//! it is in the inbox exactly once, and memory and sockets come back.

use std::time::Duration;

use anyhow::Result;

use crate::proxy::{Answer, Manner, Proxy};
use crate::stage::{Setup, Stage};

const API: &str = "https://api.intercom.io";
const PAGE: &str = "<!doctype html><html><body><h1>Service temporarily moved</h1></body></html>";

fn told(applied: bool, answer: Answer) -> Manner {
    Manner::Says { applied, answer }
}

/// One customer for each manner: the first message opens a conversation in peace, the second meets the fault, a third
/// comes behind it. With `opening` the first one meets it.
async fn survives(manners: Vec<Manner>, opening: bool) -> Result<()> {
    let world = mantle_world::World::start().await?;
    let target = world.redirects().iter().find(|(origin, _)| origin == API);
    let address = target
        .map(|(_, to)| to.trim_start_matches("http://").parse())
        .unwrap()?;
    let proxy = Proxy::before(address).await?;
    let mut stage = Stage::telegram(Setup {
        detours: vec![(API.to_owned(), proxy.origin.clone())],
        world: Some(world),
        ..Setup::default()
    })
    .await?;
    let customers = 0..i64::try_from(manners.len())?;
    if !opening {
        stage.all_say(customers.clone(), &["before".to_owned()]).await?;
        stage.quiet().await?;
    }
    for (customer, manner) in manners.into_iter().enumerate() {
        proxy.next(&format!("{customer} meets it"), manner);
    }
    stage
        .all_say(customers, &["meets it".to_owned(), "comes behind".to_owned()])
        .await?;
    stage.assert_promises().await?;
    assert_eq!(proxy.left(), 0, "every fault was met");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_a_connection_that_breaks_anywhere_loses_and_doubles_nothing() -> Result<()> {
    let requests = [1, 40, 300, 5000].map(Manner::CutRequest);
    let answers = [0, 1, 30, 200, 5000].map(Manner::CutAnswer);
    survives(requests.into_iter().chain(answers).collect(), false).await
}

/// The deadline of a call is 30 s and covers the whole of the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_an_answer_of_a_byte_a_second_and_a_head_without_end_are_given_up() -> Result<()> {
    let slow = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"type\":\"conversation\"".to_vec();
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    survives(
        vec![
            told(true, Answer::Drip(slow, Duration::from_secs(1))),
            told(true, Answer::Endless(head.clone(), b"x-more: of the same\r\n".to_vec())),
            told(false, Answer::Endless(head, b"x".to_vec())),
        ],
        false,
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_an_answer_that_is_too_long_or_lies_about_its_length_is_cut_off() -> Result<()> {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"4000\r\n".to_vec(), vec![b' '; 0x4000], b"\r\n".to_vec()].concat();
    let huge = b"HTTP/1.1 200 OK\r\ncontent-length: 2147483648\r\n\r\n".to_vec();
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"type\":".to_vec();
    let twice = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\n{}".to_vec();
    survives(
        vec![
            told(true, Answer::Endless(chunked, chunk)),
            told(true, Answer::Endless(huge, vec![b' '; 1 << 14])),
            told(true, Answer::Whole(short)),
            told(true, Answer::Whole(twice)),
        ],
        false,
    )
    .await
}

/// Nobody asked for packed answers: they are not unpacked, whatever they say they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_a_packed_answer_is_not_unpacked() -> Result<()> {
    // The end of a member of ten gigabytes of zeros looks like its middle: a run of the same deflate block.
    let bomb = [
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..],
        &[0xec, 0xc1, 1, 1, 0, 0, 0][..],
        &[0; 10_000],
    ]
    .concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    survives(
        vec![told(true, Answer::Whole([head.into_bytes(), bomb].concat()))],
        false,
    )
    .await
}

fn nonsense(applied: bool) -> Vec<Manner> {
    let answers = [
        Answer::ok("text/html", PAGE),
        Answer::ok("application/json", ""),
        Answer::ok("application/json", "{\"type\": \"conversa"),
        Answer::ok("application/json", "[]"),
        Answer::ok("application/json", "null"),
    ];
    answers.into_iter().map(|answer| told(applied, answer)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_nonsense_with_200_is_neither_taken_for_done_nor_repeated() -> Result<()> {
    survives([nonsense(true), nonsense(false)].concat(), false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_nonsense_with_200_opens_one_conversation() -> Result<()> {
    survives([nonsense(true), nonsense(false)].concat(), true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c9_an_answer_that_leads_elsewhere_is_not_followed() -> Result<()> {
    let elsewhere = [
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "https://api.intercom.io/conversations/1/reply",
        "//example.net/",
    ];
    let manners = elsewhere.iter().map(|to| told(false, Answer::redirect(to)));
    survives(manners.collect(), false).await
}
