use std::time::Duration;

use mantle_model::ids::IdentityId;
use mantle_model::inbound::{Alias, AliasKind, Reach};
use mantle_store::intake::{LaneKey, NewEvent};
use mantle_store::lanes::Change;
use mantle_store::people::{ContactLink, ThreadLink};

use crate::desk::{CHANNEL, Desk, OTHER_CHANNEL, WORKSPACE, alias, id};

async fn from(desk: &Desk<'_>, key: &str, aliases: &[Alias]) -> IdentityId {
    let event = NewEvent {
        lane: LaneKey::Person {
            aliases: aliases.to_vec(),
            name: None,
            language: None,
        },
        ..desk.message(key, "unused")
    };
    desk.put(event).await.1.unwrap()
}

fn phone(value: &str) -> Alias {
    alias(AliasKind::Phone, value)
}

fn handle(value: &str) -> Alias {
    alias(AliasKind::Handle, value)
}

fn thread(desk: &Desk<'_>, identity: IdentityId, conversation: &str) -> ThreadLink {
    ThreadLink {
        identity,
        workspace: WORKSPACE,
        conversation: conversation.into(),
        opened_at: desk.now(),
        last_part_at: desk.now(),
        parts: 1,
    }
}

fn contact(identity: IdentityId, contact: &str) -> Change {
    Change::Contact(ContactLink {
        identity,
        contact: contact.into(),
        written_name: Some("Ann".into()),
    })
}

pub async fn any_alias_but_the_handle_finds_the_identity(desk: &Desk<'_>) {
    let ann = from(desk, "1", &[id("a"), phone("+491"), handle("@ann")]).await;
    assert_eq!(from(desk, "2", &[phone("+491")]).await, ann);
    // What the second message adds, the third is found by.
    assert_eq!(
        from(desk, "3", &[phone("+491"), alias(AliasKind::ParentId, "p")]).await,
        ann
    );
    assert_eq!(
        from(desk, "4", &[alias(AliasKind::ParentId, "p"), id("new")]).await,
        ann
    );
    assert_ne!(from(desk, "5", &[id("b"), handle("@ann")]).await, ann);
    // Aliases are a channel's own.
    assert!(
        desk.store
            .identity_of(OTHER_CHANNEL, &[id("a")])
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        desk.store
            .identity_of(CHANNEL, &[handle("@ann")])
            .await
            .unwrap()
            .is_none()
    );
    let found = desk.store.identity_of(CHANNEL, &[id("new")]).await.unwrap().unwrap();
    assert_eq!(found.id, ann);
    assert_eq!(desk.store.find_identities(Some(CHANNEL), "+491").await.unwrap(), [ann]);
    assert!(
        desk.store
            .find_identities(Some(OTHER_CHANNEL), "+491")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(desk.store.find_identities(None, "+491").await.unwrap(), [ann]);
}

pub async fn aliases_of_two_people_go_by_the_lasting_id(desk: &Desk<'_>) {
    let ann = from(desk, "1", &[id("a"), phone("+491")]).await;
    let bob = from(desk, "2", &[id("b"), phone("+492")]).await;
    // The number has changed hands, whatever comes first in the list.
    assert_eq!(from(desk, "3", &[phone("+491"), id("b")]).await, bob);
    let ann_now = desk.store.identity(ann).await.unwrap().unwrap();
    assert_eq!(ann_now.aliases, [id("a"), phone("+491")]);
    let bob_now = desk.store.identity(bob).await.unwrap().unwrap();
    assert_eq!(bob_now.aliases, [id("b"), phone("+492")]);
}

pub async fn a_handle_moves_on_with_its_user(desk: &Desk<'_>) {
    let ann = from(desk, "1", &[id("a"), handle("@one")]).await;
    desk.pass(1);
    from(desk, "2", &[id("a"), handle("@two")]).await;
    let aliases = desk.store.identity(ann).await.unwrap().unwrap().aliases;
    assert_eq!(aliases, [id("a"), handle("@two"), handle("@one")]);
    let bob = from(desk, "3", &[id("b"), handle("@one")]).await;
    assert_eq!(desk.store.find_identities(None, "@one").await.unwrap(), [bob]);
}

pub async fn identities_are_joined_into_the_older(desk: &Desk<'_>) {
    desk.connect().await;
    let old = from(desk, "1", &[phone("+491")]).await;
    let lane = desk.claim().await;
    desk.pass(5);
    let new = from(desk, "2", &[phone("+492")]).await;
    let changes = vec![contact(new, "c-new"), Change::Thread(thread(desk, new, "t-new"))];
    desk.store.commit(lane.claim, changes).await.unwrap();
    let joined = desk
        .store
        .join_aliases(CHANNEL, &[phone("+491")], &[phone("+492"), id("x")])
        .await
        .unwrap();
    assert_eq!(joined, Some(old));
    let one = desk.store.identity(old).await.unwrap().unwrap();
    assert_eq!(one.aliases, [id("x"), phone("+492"), phone("+491")]);
    assert_eq!(one.last_inbound_at, Some(desk.now()));
    assert_eq!(one.contact.unwrap().contact, "c-new");
    assert_eq!(one.thread.unwrap().conversation, "t-new");
    // The other id still leads there, in reads and in lanes.
    assert_eq!(desk.store.identity(new).await.unwrap().unwrap().id, old);
    let (_, addressed) = desk.put(desk.reply("3", new)).await;
    assert_eq!(addressed, Some(old));
    let owner = desk
        .store
        .conversation_owner(WORKSPACE, "t-new")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((owner.identity, owner.current), (old, true));

    // Told again it changes nothing; of people nobody knows nothing is made.
    let again = desk
        .store
        .join_aliases(CHANNEL, &[phone("+491")], &[phone("+492")])
        .await
        .unwrap();
    assert_eq!(again, Some(old));
    let added = desk
        .store
        .join_aliases(CHANNEL, &[phone("+491")], &[phone("+493")])
        .await
        .unwrap();
    assert_eq!(added, Some(old));
    assert_eq!(from(desk, "4", &[phone("+493")]).await, old);
    assert_eq!(
        desk.store.join_aliases(CHANNEL, &[id("q")], &[id("r")]).await.unwrap(),
        None
    );
}

pub async fn a_conversation_leads_to_its_identity_even_when_left(desk: &Desk<'_>) {
    let (_, ann) = desk.person("1", "ann").await;
    let lane = desk.claim().await;
    let owner = async |conversation: &str| {
        let owner = desk.store.conversation_owner(WORKSPACE, conversation).await.unwrap();
        owner.map(|owner| (owner.identity, owner.channel, owner.current))
    };
    desk.store
        .commit(lane.claim, vec![Change::Thread(thread(desk, ann, "t1"))])
        .await
        .unwrap();
    assert_eq!(owner("t1").await, Some((ann, CHANNEL, true)));
    let second = ThreadLink {
        parts: 7,
        ..thread(desk, ann, "t2")
    };
    desk.store
        .commit(lane.claim, vec![Change::Thread(second.clone())])
        .await
        .unwrap();
    assert_eq!(owner("t1").await, Some((ann, CHANNEL, false)));
    assert_eq!(owner("t2").await, Some((ann, CHANNEL, true)));
    assert_eq!(owner("t3").await, None);
    assert_eq!(desk.store.identity(ann).await.unwrap().unwrap().thread, Some(second));
}

pub async fn of_two_conversations_in_one_commit_the_later_one_is_current(desk: &Desk<'_>) {
    let (_, ann) = desk.person("1", "ann").await;
    let lane = desk.claim().await;
    for names in [["t1", "t2"], ["t4", "t3"]] {
        let links = names.map(|name| Change::Thread(thread(desk, ann, name)));
        desk.store.commit(lane.claim, links.to_vec()).await.unwrap();
        let current = desk.store.identity(ann).await.unwrap().unwrap().thread.unwrap();
        assert_eq!(current.conversation, names[1]);
    }
}

pub async fn a_merged_contact_moves_its_links(desk: &Desk<'_>) {
    desk.connect().await;
    let (_, ann) = desk.person("1", "ann").await;
    let lane = desk.claim().await;
    desk.store.commit(lane.claim, vec![contact(ann, "c1")]).await.unwrap();
    let read = async || {
        desk.store
            .identity(ann)
            .await
            .unwrap()
            .unwrap()
            .contact
            .map(|link| link.contact)
    };
    assert_eq!(desk.store.relink_contact(WORKSPACE, "c1", Some("c2")).await.unwrap(), 1);
    assert_eq!(read().await.as_deref(), Some("c2"));
    assert_eq!(desk.store.relink_contact(WORKSPACE, "c1", None).await.unwrap(), 0);
    let elsewhere = mantle_model::ids::WorkspaceId(99);
    assert_eq!(desk.store.relink_contact(elsewhere, "c2", None).await.unwrap(), 0);
    assert_eq!(desk.store.relink_contact(WORKSPACE, "c2", None).await.unwrap(), 1);
    assert_eq!(read().await, None);
}

pub async fn own_parts_are_known(desk: &Desk<'_>) {
    desk.connect().await;
    desk.person("1", "ann").await;
    let lane = desk.claim().await;
    let part = || Change::OwnPart { part: "p1".into() };
    assert!(!desk.store.is_own_part(WORKSPACE, "p1").await.unwrap());
    desk.store.commit(lane.claim, vec![part(), part()]).await.unwrap();
    assert!(desk.store.is_own_part(WORKSPACE, "p1").await.unwrap());
    assert!(!desk.store.is_own_part(WORKSPACE, "p2").await.unwrap());
}

pub async fn an_older_word_on_reach_does_not_undo_a_newer(desk: &Desk<'_>) {
    let (_, identity) = desk.person("1", "ann").await;
    let lane = desk.claim().await;
    let at = desk.now();
    let reach = |reach, at| Change::Reach { identity, reach, at };
    let earlier = at.before(Duration::from_secs(1));
    let changes = vec![reach(Reach::Blocked, at), reach(Reach::Reachable, earlier)];
    desk.store.commit(lane.claim, changes).await.unwrap();
    let read = desk.store.identity(identity).await.unwrap().unwrap();
    assert_eq!(read.reach, Reach::Blocked);
    let more = Change::Aliases {
        identity,
        aliases: vec![phone("+49")],
    };
    desk.store.commit(lane.claim, vec![more]).await.unwrap();
    let read = desk.store.identity_of(CHANNEL, &[phone("+49")]).await.unwrap().unwrap();
    assert_eq!(read.id, identity);
}
