//! The whole trait against the stand-in of Intercom, which checks every request by the published contract.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test itself")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mantle_egress::{Egress, EgressConfig, collect};
use mantle_inbox::{
    Access, Author, ChannelLabel, Fetched, Inbox, InboxError, Intercom, IntercomConfig, Part, Trail, Upload, Voice,
};
use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::failure::{Failure, Reason};
use mantle_model::inbound::{Alias, AliasKind, Person};
use mantle_model::secret::Secret;
use mantle_world::intercom::{ADMIN, Region, WORKSPACE, Workspace};
use mantle_world::{Fault, World};
use serde_json::json;

const NOW: i64 = 1_767_225_600;

struct Stage {
    world: World,
    workspace: Workspace,
    clock: ManualClock,
    inbox: Intercom,
    access: Access,
}

impl Stage {
    async fn set() -> Self {
        let world = World::start().await.unwrap();
        for line in world.unchecked() {
            mantle_world::needs::leave_out("contracts", "a comparison with the contracts", &line);
        }
        world.scene().set_clock(Some(NOW * 1000));
        let workspace = world.intercom.workspace(WORKSPACE);
        let clock = ManualClock::at(Time::from_unix_seconds(NOW));
        let redirects = world
            .redirects()
            .iter()
            .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()))
            .collect();
        let inbox = Intercom::new(
            IntercomConfig {
                client_secret: vec![Secret::new(world.intercom.client_secret())],
                egress: Arc::new(Egress::new(&EgressConfig { redirects }).unwrap()),
            },
            Arc::new(clock.clone()),
        );
        let access = Access {
            token: Secret::new(workspace.token()),
            facts: BTreeMap::new(),
        };
        Self {
            world,
            workspace,
            clock,
            inbox,
            access,
        }
    }

    /// Connected, with the attributes of the label.
    async fn ready() -> Self {
        let mut stage = Self::set().await;
        stage.access.facts = stage.inbox.connect(&stage.access.token).await.unwrap().facts;
        stage.inbox.prepare_channel(&stage.access, &label()).await.unwrap();
        stage
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.world.scene().set_clock(Some(self.clock.now().unix_ms()));
    }

    async fn lead(&self) -> String {
        self.inbox
            .create_contact(&self.access, &label(), &person())
            .await
            .unwrap()
            .id
    }

    fn part<'a>(&self, contact: &'a str, text: &'a str) -> Part<'a> {
        Part {
            contact,
            text,
            files: vec![],
            at: self.clock.now(),
        }
    }

    async fn open(&self, contact: &str, text: &str) -> String {
        let opened = self
            .inbox
            .open_conversation(&self.access, self.part(contact, text))
            .await;
        opened.unwrap().conversation
    }

    fn end(&self) {
        assert_eq!(self.world.violations(), []);
    }
}

fn label() -> ChannelLabel {
    ChannelLabel {
        attribute: "whatsapp".into(),
        title: "WhatsApp".into(),
        account: "+1 555 0100".into(),
    }
}

fn person() -> Person {
    Person {
        aliases: vec![
            Alias::new(AliasKind::Id, "353888888999"),
            Alias::new(AliasKind::Phone, "+353888888999"),
        ],
        name: Some("Aoife B.".into()),
        language: None,
    }
}

fn upload(name: &str, bytes: &'static [u8]) -> Upload {
    Upload {
        name: name.into(),
        content_type: "text/plain".into(),
        bytes: bytes.len() as u64,
        body: futures_util::stream::once(async move { Ok(Bytes::from_static(bytes)) }).boxed(),
    }
}

#[tokio::test]
async fn connecting_finds_the_region_and_prepares_attributes_again_and_again() {
    let stage = Stage::set().await;
    stage.workspace.set_region(Region::Au);
    for _ in 0..2 {
        let profile = stage.inbox.connect(&stage.access.token).await.unwrap();
        assert_eq!(
            (profile.platform_id.as_str(), profile.added_by.id.as_str()),
            (WORKSPACE, ADMIN)
        );
        assert_eq!(profile.facts["region"], "au");
        let access = Access {
            facts: profile.facts,
            ..stage.access.clone()
        };
        stage.inbox.prepare_channel(&access, &label()).await.unwrap();
    }
    assert_eq!(
        stage.workspace.contact_attributes(),
        ["mantle_channel", "mantle_origin", "mantle_whatsapp_id"]
    );
    let refused = stage.inbox.connect(&Secret::new("wrong".into())).await.unwrap_err();
    assert!(
        matches!(refused, InboxError::Failure(Failure::Unauthorized(_))),
        "{refused:?}"
    );
    stage.end();
}

#[tokio::test]
async fn a_wrong_token_is_called_wrong_though_a_region_is_out_of_reach() {
    let stage = Stage::set().await;
    let redirects = stage.world.redirects();
    let redirects = redirects
        .iter()
        .map(|(from, to)| {
            let is_other_region = from.contains(".eu.") || from.contains(".au.");
            let to = if is_other_region {
                "http://127.0.0.1:9"
            } else {
                to.as_str()
            };
            (from.parse().unwrap(), to.parse().unwrap())
        })
        .collect();
    let inbox = Intercom::new(
        IntercomConfig {
            client_secret: Vec::new(),
            egress: Arc::new(Egress::new(&EgressConfig { redirects }).unwrap()),
        },
        Arc::new(stage.clock.clone()),
    );
    let refused = inbox.connect(&Secret::new("wrong".into())).await.unwrap_err();
    assert!(
        matches!(refused, InboxError::Failure(Failure::Unauthorized(_))),
        "{refused:?}"
    );
    stage.end();
}

#[tokio::test]
async fn ct_2_ct_3_a_contact_is_found_by_any_spelling() {
    let stage = Stage::ready().await;
    let spellings = ["+353 888 888 999", "00353888888999", "088 888 8999", "353888888999"];
    let lead = stage
        .workspace
        .add_contact(&json!({"role": "lead", "phone": "+353888888999", "name": "Old lead"}));
    for stored in spellings {
        let id = stage
            .workspace
            .add_contact(&json!({"role": "user", "external_id": stored, "phone": stored}));
        let found = stage
            .inbox
            .find_contact(&stage.access, &label(), &person(), true)
            .await
            .unwrap();
        assert_eq!(found.chosen.unwrap().id, id, "{stored}");
        assert_eq!(found.others, [(lead.clone(), "Old lead".to_owned())]);
        stage.workspace.archive_contact(&id);
    }
    stage.end();
}

#[tokio::test]
async fn ct_4_ct_5_a_lead_is_made_with_attributes_and_found_by_them() {
    let stage = Stage::ready().await;
    let nameless = Person {
        aliases: vec![Alias::new(AliasKind::Id, "77001122")],
        name: None,
        language: None,
    };
    let none = stage
        .inbox
        .find_contact(&stage.access, &label(), &nameless, true)
        .await
        .unwrap();
    assert_eq!(none.chosen, None);
    let made = stage
        .inbox
        .create_contact(&stage.access, &label(), &nameless)
        .await
        .unwrap();
    let stored = stage.workspace.contact(&made.id).unwrap();
    let shown = (&stored["role"], &stored["name"], &stored["phone"]);
    assert_eq!(shown, (&json!("lead"), &json!("77001122"), &json!(null)));
    let attributes = json!({"mantle_channel": "whatsapp", "mantle_whatsapp_id": "77001122"});
    assert_eq!(stored["custom_attributes"], attributes);
    let found = stage
        .inbox
        .find_contact(&stage.access, &label(), &nameless, true)
        .await
        .unwrap();
    assert_eq!(found.chosen, Some(made));

    let with_phone = stage.workspace.contact(&stage.lead().await).unwrap();
    assert_eq!(
        (&with_phone["name"], &with_phone["phone"]),
        (&json!("Aoife B."), &json!("+353888888999"))
    );
    stage.end();
}

#[tokio::test]
async fn ct_6_a_name_changes_only_while_it_is_ours() {
    let stage = Stage::ready().await;
    let id = stage.lead().await;
    let renamed = Person {
        name: Some("Aoife Byrne".into()),
        ..person()
    };
    let refresh = async |written: Option<&str>| {
        let refreshed = stage
            .inbox
            .refresh_contact(&stage.access, &label(), &id, &renamed, written)
            .await;
        refreshed.unwrap().name.unwrap()
    };
    assert_eq!(refresh(None).await, "Aoife B.");
    assert_eq!(refresh(Some("Somebody")).await, "Aoife B.");
    assert_eq!(refresh(Some("Aoife B.")).await, "Aoife Byrne");

    let old = stage
        .workspace
        .add_contact(&json!({"role": "user", "external_id": "u", "name": "Own name"}));
    stage
        .inbox
        .refresh_contact(&stage.access, &label(), &old, &person(), None)
        .await
        .unwrap();
    let stored = stage.workspace.contact(&old).unwrap();
    assert_eq!(stored["name"], "Own name");
    assert_eq!(stored["custom_attributes"]["mantle_whatsapp_id"], "353888888999");
    stage.end();
}

#[tokio::test]
async fn in_1_in_11_at_1_a_conversation_opens_and_grows_byte_for_byte() {
    let stage = Stage::ready().await;
    let contact = stage.lead().await;
    let text = "Hi 👋,\n\nis <b>blue</b> & \"in stock\"? مرحبا";
    let at = stage.clock.now().before(Duration::from_secs(40 * 60));
    let first = Part {
        at,
        ..stage.part(&contact, text)
    };
    let opened = stage.inbox.open_conversation(&stage.access, first).await.unwrap();
    let files = vec![upload("label.txt", b"hello"), upload("b.txt", b"world!")];
    let second = Part {
        files,
        ..stage.part(&contact, "")
    };
    let part = stage
        .inbox
        .append(&stage.access, &opened.conversation, second)
        .await
        .unwrap();
    let third = stage.part(&contact, "ok");
    let again = stage
        .inbox
        .append(&stage.access, &opened.conversation, third)
        .await
        .unwrap();
    let stored = stage
        .workspace
        .conversation(&opened.conversation)
        .unwrap()
        .from_customer();
    let ids: Vec<_> = stored.iter().map(|part| Some(part.id.clone())).collect();
    assert_eq!(ids, [opened.part, part, again]);
    assert_eq!(
        (stored[0].body.as_str(), stored[0].created_at),
        (text, at.unix_seconds())
    );
    let files: Vec<_> = stored[1]
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.bytes.as_ref()))
        .collect();
    assert_eq!(files, [("label.txt", b"hello".as_slice()), ("b.txt", b"world!")]);
    stage.end();
}

#[tokio::test]
async fn th_16_the_conversation_shows_channel_and_customer() {
    let stage = Stage::ready().await;
    let contact = stage.lead().await;
    let conversation = stage.open(&contact, "Hi").await;
    for tag in [false, true] {
        let labelled = stage
            .inbox
            .label_conversation(&stage.access, &conversation, &label(), &person(), tag)
            .await;
        labelled.unwrap();
        let stored = stage.workspace.conversation(&conversation).unwrap();
        assert_eq!(stored.title.as_deref(), Some("WhatsApp +353888888999 → +1 555 0100"));
        assert_eq!(stored.custom_attributes["Channel"], "WhatsApp");
        assert_eq!(stored.tags.len(), usize::from(tag));
    }
    stage.end();
}

#[tokio::test]
async fn th_8_ct_7_ct_9_what_is_gone_is_told_apart() {
    let stage = Stage::ready().await;
    let append = async |conversation: &str, contact: &str| {
        let appended = stage
            .inbox
            .append(&stage.access, conversation, stage.part(contact, "x"))
            .await;
        appended.unwrap_err()
    };
    let contact = stage.lead().await;
    let conversation = stage.open(&contact, "Hi").await;
    stage.workspace.delete_conversation(&conversation).await;
    assert_eq!(append(&conversation, &contact).await, InboxError::ConversationGone);

    let conversation = stage.open(&contact, "Hi again").await;
    assert_eq!(
        append(&conversation, "6762f0dd1bb69f9f21ffffff").await,
        InboxError::ContactGone
    );
    let user = stage
        .workspace
        .add_contact(&json!({"role": "user", "external_id": "u", "name": "User"}));
    stage.workspace.merge_contacts(&contact, &user).await;
    let merged = InboxError::ContactMerged { into: user.clone() };
    assert_eq!(append(&conversation, &contact).await, merged);
    let refreshed = stage
        .inbox
        .refresh_contact(&stage.access, &label(), &contact, &person(), None)
        .await;
    assert_eq!(refreshed, Err(merged));

    stage.advance(Duration::from_secs(120));
    stage.workspace.archive_contact(&user);
    assert_eq!(append(&conversation, &user).await, InboxError::ContactGone);
    let opened = stage
        .inbox
        .open_conversation(&stage.access, stage.part(&user, "x"))
        .await;
    assert_eq!(opened, Err(InboxError::ContactGone));
    stage.end();
}

#[tokio::test]
async fn out_5_out_7_notes_find_somebody_to_speak() {
    let stage = Stage::ready().await;
    stage.workspace.add_admin("2", "Second", true);
    stage.workspace.add_admin("3", "No seat", false);
    let contact = stage.lead().await;
    let conversation = stage.open(&contact, "Hi").await;
    let voice = |explicit: Option<&str>, default: Option<&str>| Voice {
        explicit: explicit.map(Into::into),
        default_operator: default.map(Into::into),
    };
    let note = async |voice: Voice| {
        let html = "<p><b>Not</b> delivered &amp; so on</p>";
        stage
            .inbox
            .note(&stage.access, &conversation, &voice, html)
            .await
            .unwrap()
    };
    let first = note(voice(None, Some("2"))).await;
    assert_eq!(first.fell_back_to, None);
    assert_eq!(note(voice(None, Some("3"))).await.fell_back_to.unwrap().id, ADMIN);
    // The list of teammates is seconds old, and this one left since.
    stage.workspace.remove_admin("2");
    assert!(note(voice(None, Some("2"))).await.part.is_some());
    let notes = stage.workspace.conversation(&conversation).unwrap().notes();
    let authors: Vec<_> = notes.iter().map(|note| note.author.id.as_str()).collect();
    assert_eq!(authors, ["2", ADMIN, ADMIN]);
    assert_eq!(first.part.as_deref(), Some(notes[0].id.as_str()));

    let files = vec![upload("a.txt", b"a")];
    let said = stage
        .inbox
        .comment(
            &stage.access,
            &conversation,
            &voice(Some(ADMIN), None),
            "from the app",
            files,
        )
        .await;
    assert!(said.unwrap().part.is_some());
    stage.end();
}

#[tokio::test]
async fn in_8_c14_an_unknown_outcome_is_looked_up() {
    let stage = Stage::ready().await;
    let contact = stage.lead().await;
    let trail = |conversation: Option<&str>, text: &str, known_equal| Trail {
        contact: contact.clone(),
        as_team: false,
        conversation: conversation.map(Into::into),
        text: text.into(),
        files: vec![],
        at: stage.clock.now(),
        known_equal,
        except: Vec::new(),
    };
    let look = async |trail: Trail| stage.inbox.locate(&stage.access, &trail).await.unwrap();
    let is_unknown = |error: &InboxError| matches!(error, InboxError::Failure(Failure::Unknown(_)));

    assert_eq!(look(trail(None, "Hi <there>", 0)).await, None);
    stage.world.intercom.faults().next_on("create", Fault::ResetAfter);
    let lost = stage
        .inbox
        .open_conversation(&stage.access, stage.part(&contact, "Hi <there>"))
        .await;
    assert!(is_unknown(lost.as_ref().unwrap_err()), "{lost:?}");
    let conversation = look(trail(None, "Hi <there>", 0)).await.unwrap().conversation;
    assert_eq!(look(trail(None, "Hi <there>", 1)).await, None);

    stage
        .inbox
        .append(&stage.access, &conversation, stage.part(&contact, "ok"))
        .await
        .unwrap();
    assert_eq!(look(trail(Some(&conversation), "ok", 1)).await, None);
    for (fault, known) in [(Fault::RefuseAfter(500), 1), (Fault::Garbage, 2)] {
        stage.world.intercom.faults().next_on("reply", fault);
        let lost = stage
            .inbox
            .append(&stage.access, &conversation, stage.part(&contact, "ok"))
            .await;
        assert!(is_unknown(lost.as_ref().unwrap_err()), "{lost:?}");
        let found = look(trail(Some(&conversation), "ok", known)).await.unwrap();
        let parts = stage.workspace.conversation(&conversation).unwrap().parts;
        assert_eq!(found.part.as_deref(), parts.last().map(|part| part.id.as_str()));
    }
    stage.end();
}

#[tokio::test]
async fn c1_c11_limits_and_tokens_are_told_as_such() {
    let stage = Stage::ready().await;
    let contact = stage.lead().await;
    let open = async || {
        let opened = stage
            .inbox
            .open_conversation(&stage.access, stage.part(&contact, "x"))
            .await;
        opened.map(drop)
    };
    let after = |result: Result<(), InboxError>| match result {
        Err(InboxError::Failure(Failure::RateLimited { after, .. })) => after,
        other => panic!("{other:?}"),
    };
    stage
        .world
        .intercom
        .faults()
        .next_on("create", Fault::Limit(Some("7".into())));
    assert_eq!(after(open().await), Some(Duration::from_secs(7)));
    let calls = stage.world.intercom.calls().len();
    stage.advance(Duration::from_secs(3));
    assert_eq!(after(open().await), Some(Duration::from_secs(4)));
    assert_eq!(stage.world.intercom.calls().len(), calls);
    stage.advance(Duration::from_secs(4));
    open().await.unwrap();

    stage.world.intercom.faults().next_on("create", Fault::Refuse(422));
    assert!(matches!(open().await, Err(InboxError::Failure(Failure::Refused(_)))));
    stage.workspace.revoke_token();
    assert!(matches!(
        open().await,
        Err(InboxError::Failure(Failure::Unauthorized(_)))
    ));
}

#[tokio::test]
async fn at_4_a_file_over_the_limit_is_refused_as_too_large() {
    let stage = Stage::ready().await;
    stage.workspace.file_limit(3);
    let contact = stage.lead().await;
    let conversation = stage.open(&contact, "Hi").await;
    let part = Part {
        files: vec![upload("a.txt", b"four")],
        ..stage.part(&contact, "x")
    };
    match stage.inbox.append(&stage.access, &conversation, part).await {
        Err(InboxError::Failure(Failure::Refused(refusal))) => assert_eq!(refusal.reason, Reason::TooLarge),
        other => panic!("{other:?}"),
    }
    stage.end();
}

#[tokio::test]
async fn out_1_a_reply_is_read_with_its_files() {
    let stage = Stage::ready().await;
    let contact = stage.lead().await;
    let conversation = stage.open(&contact, "Hi").await;
    let file = mantle_world::File::new("blue.txt", "text/plain", Bytes::from_static(b"blue"));
    let dana = stage.workspace.admin(ADMIN);
    let replied = dana.replies(&conversation, "<p>Yes, <b>blue</b>.</p>", &[file]).await;
    let fetched = stage
        .inbox
        .fetch_reply(&stage.access, &conversation, &replied.part)
        .await
        .unwrap();
    let Fetched::Reply(reply) = fetched else {
        panic!("{fetched:?}")
    };
    assert_eq!(reply.text.text, "Yes, blue.");
    assert!(matches!(&reply.author, Author::Teammate { id, .. } if id == ADMIN));
    assert_eq!(reply.attachments[0].name, "blue.txt");
    let body = stage.inbox.download(&reply.attachments[0]).await.unwrap();
    assert_eq!(collect(body, 100).await.unwrap(), "blue");

    let note = dana.notes(&conversation, "<p>secret</p>").await;
    let fetch = async |part: &str| {
        stage
            .inbox
            .fetch_reply(&stage.access, &conversation, part)
            .await
            .unwrap()
    };
    assert_eq!(fetch(&note.part).await, Fetched::Silent);
    assert_eq!(fetch("1").await, Fetched::Missing);
    stage.end();
}
