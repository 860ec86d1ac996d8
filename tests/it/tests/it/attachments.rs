//! Files in both directions: whole, safe, in order, and never in silence.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use mantle_it::{Bridge, PUBLIC_URL};
use mantle_world::{Delivered, Fault, File, Reply, samples, telegram, twilio, whatsapp};

use crate::replies::{On, Talk, listed, pass};

/// Bytes that begin like a film and are one in nothing else.
fn film() -> File {
    let mut bytes = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    bytes.resize(20_000, 7);
    File::new("film.mp4", "video/mp4", bytes)
}

fn gif() -> File {
    let mut bytes =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
            .to_vec();
    bytes.resize(400, 0);
    File::new("dance.gif", "image/gif", bytes)
}

/// A picture of this many bytes.
fn large_picture(name: &str, bytes: usize) -> File {
    let mut content = samples::photo().bytes.to_vec();
    content.resize(bytes, 0);
    File::new(name, "image/jpeg", content)
}

/// The files that the customer's parts hold, in order.
fn files_in(bridge: &Bridge) -> Result<Vec<File>> {
    let parts = bridge.only_conversation()?.from_customer();
    Ok(parts.into_iter().flat_map(|part| part.files).collect())
}

fn texts_in(bridge: &Bridge) -> Result<Vec<String>> {
    let parts = bridge.only_conversation()?.from_customer();
    Ok(parts.into_iter().map(|part| part.body).collect())
}

fn notes_in(bridge: &Bridge) -> Result<Vec<String>> {
    let notes = bridge.only_conversation()?.notes();
    Ok(notes.into_iter().map(|note| note.body).collect())
}

/// Whatever the team sees names no place of the provider and no secret.
fn assert_no_traces(bridge: &Bridge) -> Result<()> {
    let all = format!("{:?}", bridge.only_conversation()?);
    let access = bridge
        .world
        .whatsapp
        .number(whatsapp::PHONE_NUMBER_ID)
        .setup()
        .access_token;
    for secret in [
        telegram::TOKEN,
        twilio::AUTH_TOKEN,
        access.as_str(),
        "api.telegram.org",
        "lookaside",
        "graph.facebook.com",
        "api.twilio.com",
        "twiliocdn",
    ] {
        ensure!(!all.contains(secret), "`{secret}` shows in the conversation");
    }
    Ok(())
}

fn good(delivered: &Delivered) -> Result<()> {
    ensure!(delivered.is_good(), "{delivered:?}");
    Ok(())
}

fn same(found: &[File], sent: &[File]) {
    let bare = |files: &[File]| {
        files
            .iter()
            .map(|file| {
                (
                    file.content_type.split(';').next().unwrap_or_default().to_owned(),
                    file.bytes.clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert!(bare(found) == bare(sent), "types and bytes differ: {:?}", kinds(found));
}

mod addresses;
pub mod inward;
mod outward;

fn kinds(files: &[File]) -> Vec<(String, String, usize)> {
    let of = |file: &File| (file.name.clone(), file.content_type.clone(), file.bytes.len());
    files.iter().map(of).collect()
}
