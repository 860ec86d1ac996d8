//! C12, C17 and C18: what the inbox says of its conversations and contacts, says more than once, and repeats to us of
//! what we wrote ourselves. Two hosts, so that whoever hears it is often not the one that it is about.

use anyhow::{Context, Result, ensure};
use mantle_world::intercom::{self, Conversation, Workspace};
use mantle_world::whatsapp;
use serde_json::json;

use crate::setup::database;
use crate::stage::{BOT_TOKEN, PUBLIC_URL, Setup, Stage};

const VERIFY_TOKEN: &str = "faults-verify-token";

fn workspace(stage: &Stage) -> Workspace {
    stage.world.intercom.workspace(intercom::WORKSPACE)
}

/// The conversation that this customer began with `before`.
fn begun_by(stage: &Stage, customer: i64) -> Result<Conversation> {
    let opening = format!("{customer} before");
    let all = workspace(stage).conversations();
    let found = all.into_iter().find(|known| known.source.body == opening);
    found.with_context(|| format!("{customer} has no conversation"))
}

/// What the customer wrote, with the conversation in which it is, in the inbox's order.
fn written_by(stage: &Stage, customer: i64) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for conversation in workspace(stage).conversations() {
        for part in conversation.from_customer() {
            // A new conversation says in a line above the words that the one before is gone.
            let words = part.body.lines().last().unwrap_or_default().to_owned();
            if words.starts_with(&format!("{customer} ")) {
                all.push((conversation.id.clone(), words));
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c12_what_is_closed_deleted_merged_or_archived_costs_one_new_conversation_and_no_message() -> Result<()> {
    const CLOSED: i64 = 1;
    const DELETED: i64 = 2;
    const MERGED: i64 = 3;
    const ARCHIVED: i64 = 4;
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
    stage.all_say(CLOSED..ARCHIVED + 1, &["before".to_owned()]).await?;
    stage.quiet().await?;
    let mut old = Vec::new();
    for customer in CLOSED..=ARCHIVED {
        old.push(begun_by(&stage, customer)?);
    }
    let (inbox, teammate) = (workspace(&stage), workspace(&stage).admin(intercom::ADMIN));
    teammate.closes(&old[0].id, "").await;
    stage.world.settled().await;
    // The others are learnt from the answers of the inbox alone.
    stage.world.intercom.webhooks().lose(2);
    inbox.delete_conversation(&old[1].id).await;
    let user = inbox.add_contact(&json!({"role": "user", "email": "c@mail.example", "name": "C"}));
    inbox.merge_contacts(&old[2].contact, &user).await;
    inbox.archive_contact(&old[3].contact);
    stage.forgets(DELETED, "2 before");

    let texts = ["one", "two", "three"].map(str::to_owned);
    stage.all_say(CLOSED..ARCHIVED + 1, &texts).await?;
    stage.assert_promises().await?;
    for customer in CLOSED..=ARCHIVED {
        let written = written_by(&stage, customer);
        let last: Vec<&str> = written.iter().rev().take(3).map(|(_, words)| words.as_str()).collect();
        let wanted = ["three", "two", "one"].map(|word| format!("{customer} {word}"));
        ensure!(last == wanted, "{customer}: {written:?}");
        let place = &written[written.len() - 1].0;
        ensure!(
            written
                .iter()
                .rev()
                .take(3)
                .all(|(conversation, _)| conversation == place),
            "{customer} writes into two conversations: {written:?}"
        );
        let known = &old[usize::try_from(customer - CLOSED)?];
        let goes_on = [CLOSED, MERGED].contains(&customer);
        ensure!(
            (*place == known.id) == goes_on,
            "{customer} goes on in {place} after {}",
            known.id
        );
    }
    ensure!(inbox.conversations().len() == 5, "one new conversation for each of two");
    let new = |id: &str| inbox.conversation(id).map(|known| known.contact);
    let deleted = written_by(&stage, DELETED).pop().context("nothing")?.0;
    ensure!(new(&deleted) == Some(old[1].contact.clone()), "the same contact");
    ensure!(new(&old[2].id) == Some(user), "the survivor of the merge");
    ensure!(inbox.contacts().len() == 4, "nobody was made twice");
    Ok(())
}

/// xorshift64*
fn shuffle<T>(items: &mut [T], mut state: u64) {
    for last in (1..items.len()).rev() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let place = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % (last + 1);
        items.swap(last, place);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c17_a_reply_that_is_told_three_times_to_two_hosts_goes_out_once() -> Result<()> {
    const REPLIES: [&str; 3] = ["first", "second", "third"];
    let customers = 1..5;
    for seed in [7, 1_234_567] {
        let Some(database) = database().await? else {
            return Ok(());
        };
        let mut stage = Stage::whole(Setup::hosts(&database, 2)).await?;
        stage.all_say(customers.clone(), &["before".to_owned()]).await?;
        stage.quiet().await?;
        stage.street().keeps();
        let teammate = workspace(&stage).admin(intercom::ADMIN);
        for customer in customers.clone() {
            let conversation = begun_by(&stage, customer)?.id;
            for words in REPLIES {
                teammate
                    .replies(&conversation, &format!("<p>{words} to {customer}</p>"), &[])
                    .await;
            }
        }
        let told = stage.street().kept();
        ensure!(told.len() == 12, "{} notifications", told.len());
        let mut told: Vec<_> = told.iter().cycle().take(3 * told.len()).collect();
        shuffle(&mut told, seed);
        let calls = told.iter().enumerate();
        let calls = calls.map(|(place, request)| stage.street().hands(place % 2, request));
        for status in futures_util::future::try_join_all(calls).await? {
            ensure!(status == 200, "a notification was answered {status}");
        }
        stage.assert_promises().await?;
        for customer in customers.clone() {
            let mut received: Vec<_> = stage
                .customer(customer)
                .received()
                .into_iter()
                .map(|sent| sent.text)
                .collect();
            received.sort();
            let wanted = REPLIES.map(|words| format!("{words} to {customer}"));
            ensure!(
                received == wanted,
                "{customer} received {received:?} with the seed {seed}"
            );
        }
        ensure!(stage.world.telegram.bot(BOT_TOKEN).sent().len() == 12);
    }
    Ok(())
}

/// An answer that was typed in the business app is written into the inbox as the team's, of which the inbox tells us as
/// of any reply of the team. Told early, it comes before we know the part's id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c18_what_we_wrote_ourselves_is_not_sent_when_the_inbox_tells_of_it() -> Result<()> {
    const CUSTOMERS: [&str; 5] = [
        "4915155501231",
        "4915155501232",
        "4915155501233",
        "4915155501234",
        "4915155501235",
    ];
    let Some(database) = database().await? else {
        return Ok(());
    };
    let mut setup = Setup::hosts(&database, 2);
    setup.plugins = &["whatsapp"];
    let mut stage = Stage::telegram(setup).await?;
    let number = stage.world.whatsapp.number(whatsapp::PHONE_NUMBER_ID);
    let own = number.setup();
    let fields = json!({"phone_number_id": own.phone_number_id, "business_account_id": own.business_account_id,
        "access_token": own.access_token, "app_secret": own.app_secret, "verify_token": VERIFY_TOKEN});
    stage.connected("whatsapp", &fields).await?;
    stage.start_others().await?;
    // Several at once: what the inbox tells and what we write down meet at every distance.
    for customer in CUSTOMERS {
        let told = number
            .customer(customer)
            .writes(&format!("Hello from {customer}"))
            .await;
        ensure!(told.delivered.is_good(), "{:?}", told.delivered);
        stage.note_said(customer.parse()?, &format!("Hello from {customer}"));
    }
    stage.quiet().await?;
    for (early, words) in [
        (false, "typed in the app"),
        (true, "and more of it"),
        (true, "and the last"),
    ] {
        stage.world.intercom.echo_first(early);
        let echoes = CUSTOMERS.map(|customer| number.echo(customer, words));
        for told in futures_util::future::join_all(echoes).await {
            ensure!(told.is_good(), "{told:?}");
        }
        stage.quiet().await?;
        stage.world.settled().await;
    }
    stage.assert_promises().await?;
    let conversations = workspace(&stage).conversations();
    let parts = conversations.iter().flat_map(|known| &known.parts);
    let team = parts.filter(|part| part.author.kind == "admin" && part.part_type == "comment");
    ensure!(team.count() == 3 * CUSTOMERS.len(), "each was shown once");
    ensure!(
        number.sent().is_empty(),
        "it went to the customer again: {:?}",
        number.sent()
    );
    let told = stage.world.intercom.webhooks().log();
    let told = told.iter().filter(|(post, delivered)| {
        post.url.starts_with(PUBLIC_URL)
            && delivered.is_good()
            && String::from_utf8_lossy(&post.body).contains("conversation.admin.replied")
    });
    ensure!(told.count() >= 3 * CUSTOMERS.len(), "the inbox told of each");
    Ok(())
}
