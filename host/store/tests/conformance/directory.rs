use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use mantle_model::failure::Cause;
use mantle_model::ids::{ChannelId, WorkspaceId};
use mantle_model::inbound::{Notice, NoticeLevel};
use mantle_model::secret::{Secret, Secrets};
use mantle_store::directory::{
    ChannelChange, ChannelSettings, ChannelStatus, GroupPolicy, Known, Rest, Signature, WorkspaceChange,
    WorkspaceSettings, WorkspaceStatus,
};
use mantle_store::{Conflict, StoreError};

use crate::desk::{CHANNEL, Desk, OTHER_CHANNEL, WORKSPACE};

pub async fn a_workspace_is_connected_once(desk: &Desk<'_>) {
    let (first, second) = (WorkspaceId(1), WorkspaceId(2));
    desk.store
        .create_workspace(&desk.new_workspace(first, "app"))
        .await
        .unwrap();
    let taken = desk.store.create_workspace(&desk.new_workspace(second, "app")).await;
    assert!(matches!(taken, Err(StoreError::Conflict(Conflict::Workspace { by })) if by == first));
    desk.store
        .create_workspace(&desk.new_workspace(WorkspaceId(3), "other"))
        .await
        .unwrap();
    let archive = WorkspaceChange {
        status: Some((WorkspaceStatus::Archived, None)),
        ..WorkspaceChange::default()
    };
    desk.store.change_workspace(first, archive, desk.now()).await.unwrap();
    desk.store
        .create_workspace(&desk.new_workspace(second, "app"))
        .await
        .unwrap();
    let all = desk.store.workspaces().await.unwrap();
    assert_eq!(all.iter().map(|one| one.id.0).collect::<Vec<_>>(), [2, 3]);
    // It cannot come back to a place that is taken.
    let back = WorkspaceChange {
        status: Some((WorkspaceStatus::Active, None)),
        ..WorkspaceChange::default()
    };
    let back = desk.store.change_workspace(first, back, desk.now()).await;
    assert!(matches!(back, Err(StoreError::Conflict(_))));
    let kept = desk.store.workspace(first).await.unwrap().unwrap();
    assert_eq!(kept.status, WorkspaceStatus::Archived);
}

pub async fn racing_channels_of_one_account_have_one_winner(desk: &Desk<'_>) {
    let channels: Vec<_> = (0..20).map(|id| desk.new_channel(ChannelId(100 + id), "bot")).collect();
    let outcomes = join_all(channels.iter().map(|channel| desk.store.create_channel(channel))).await;
    let all = desk.store.channels(None).await.unwrap();
    assert_eq!(all.len(), 1);
    let mut winners = 0;
    for outcome in outcomes {
        match outcome {
            Ok(()) => winners += 1,
            Err(StoreError::Conflict(Conflict::Account { by, workspace })) => {
                assert_eq!((by, workspace), (all[0].id, WORKSPACE));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners, 1);
    // The same account of another plugin is another account.
    let mut elsewhere = desk.new_channel(ChannelId(200), "bot");
    elsewhere.plugin = "whatsapp".into();
    desk.store.create_channel(&elsewhere).await.unwrap();
}

pub async fn channels_being_set_up_do_not_collide(desk: &Desk<'_>) {
    for id in [CHANNEL, OTHER_CHANNEL] {
        desk.store.create_channel(&desk.new_channel(id, "")).await.unwrap();
    }
    let learnt = || ChannelChange {
        external_id: Some("bot".into()),
        status: Some((ChannelStatus::Connected, None)),
        ..ChannelChange::default()
    };
    desk.store.change_channel(CHANNEL, learnt(), desk.now()).await.unwrap();
    let taken = desk.store.change_channel(OTHER_CHANNEL, learnt(), desk.now()).await;
    assert!(matches!(taken, Err(StoreError::Conflict(Conflict::Account { by, .. })) if by == CHANNEL));
    let kept = desk.store.channel(OTHER_CHANNEL).await.unwrap().unwrap();
    assert_eq!(
        (kept.external_id.as_str(), kept.status),
        ("", ChannelStatus::Connecting)
    );
    let archive = ChannelChange {
        status: Some((ChannelStatus::Archived, Some("removed".into()))),
        ..ChannelChange::default()
    };
    desk.store.change_channel(CHANNEL, archive, desk.now()).await.unwrap();
    desk.store
        .change_channel(OTHER_CHANNEL, learnt(), desk.now())
        .await
        .unwrap();
    let all = desk.store.channels(Some(WORKSPACE)).await.unwrap();
    assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [OTHER_CHANNEL]);
    assert!(desk.store.channels(Some(WorkspaceId(9))).await.unwrap().is_empty());
}

pub async fn changes_touch_what_they_name(desk: &Desk<'_>) {
    desk.connect().await;
    let start = desk.now();
    desk.pass(10);
    let channel = desk.store.channel(CHANNEL).await.unwrap().unwrap();
    let values: Vec<&str> = channel.secrets.all("bot_token").iter().map(Secret::expose).collect();
    assert_eq!(values, ["canary-bot-token", "canary-bot-token-before"]);

    let mut secrets = Secrets::default();
    secrets.add("bot_token", Secret::new("new".into()));
    let notice = Notice {
        level: NoticeLevel::Broken,
        cause: Cause::new("token", "The token was refused."),
    };
    let change = ChannelChange {
        name: Some("Sales".into()),
        fields: Some(BTreeMap::new()),
        secrets: Some(secrets),
        status: Some((ChannelStatus::Disconnected, Some("token".into()))),
        notices: Some(vec![notice.clone()]),
        settings: Some(ChannelSettings {
            groups: GroupPolicy::Group,
            signature: Signature::Name,
            held_for: 90,
            pin: Some("ab".repeat(32)),
        }),
        refused_groups: 2,
        ..ChannelChange::default()
    };
    desk.store.change_channel(CHANNEL, change, desk.now()).await.unwrap();
    desk.pass(10);
    // The same status again does not begin anew.
    let change = ChannelChange {
        status: Some((ChannelStatus::Disconnected, Some("token".into()))),
        refused_groups: 1,
        ..ChannelChange::default()
    };
    let answered = desk.store.change_channel(CHANNEL, change, desk.now()).await.unwrap();
    let read = desk.store.channel(CHANNEL).await.unwrap().unwrap();
    assert_eq!(format!("{answered:?}"), format!("{read:?}"));
    assert_eq!((read.name.as_str(), read.external_id.as_str()), ("Sales", "bot"));
    assert_eq!(read.secrets.all("bot_token").len(), 1);
    assert_eq!((read.notices, read.refused_groups), (vec![notice], 3));
    assert_eq!(read.status_since, start.after(Duration::from_secs(10)));
    assert_eq!((read.updated_at, read.created_at), (desk.now(), start));

    let settings = WorkspaceSettings {
        default_operator: Some("814".into()),
        new_conversation_after: Some(7_200),
        new_conversation_measure: Rest::SinceLastMessage,
        ..WorkspaceSettings::default()
    };
    let change = WorkspaceChange {
        token: Some(Secret::new("fresh".into())),
        settings: Some(settings.clone()),
        warning: Some(Some("The operator left.".into())),
        ..WorkspaceChange::default()
    };
    desk.store
        .change_workspace(WORKSPACE, change, desk.now())
        .await
        .unwrap();
    let read = desk.store.workspace(WORKSPACE).await.unwrap().unwrap();
    assert_eq!((read.token.expose(), &read.settings), ("fresh", &settings));
    assert_eq!(
        (read.warning.as_deref(), read.name.as_str()),
        (Some("The operator left."), "Shop")
    );
    let change = WorkspaceChange {
        warning: Some(None),
        ..WorkspaceChange::default()
    };
    let read = desk
        .store
        .change_workspace(WORKSPACE, change, desk.now())
        .await
        .unwrap();
    assert_eq!((read.warning, read.settings), (None, settings));
    let nothing = ChannelChange::default();
    let nobody = desk.store.change_channel(ChannelId(1), nothing, desk.now()).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
}

pub async fn a_forgotten_channel_leaves_nothing(desk: &Desk<'_>) {
    desk.connect().await;
    let (message, identity) = desk.person("1", "ann").await;
    desk.store
        .kv_set(CHANNEL, "k", None, Some(b"v"), None, desk.now())
        .await
        .unwrap();
    desk.store.forget_channel(CHANNEL).await.unwrap();
    assert!(desk.store.channel(CHANNEL).await.unwrap().is_none());
    assert!(desk.store.trace(message).await.unwrap().is_none());
    assert!(desk.store.identity(identity).await.unwrap().is_none());
    assert_eq!(desk.store.kv_count(CHANNEL).await.unwrap(), 0);
    desk.nothing_to_claim().await;
    // Its account is free again.
    desk.store
        .create_channel(&desk.new_channel(OTHER_CHANNEL, "bot"))
        .await
        .unwrap();
}

pub async fn pv_4_a_renewed_secret_takes_the_place_of_the_one_in_use(desk: &Desk<'_>) {
    let mut channel = desk.new_channel(CHANNEL, "bot");
    channel.secrets = Secrets::default();
    channel.secrets.add("app_secret", Secret::new("app".to_owned()));
    desk.store.create_channel(&channel).await.unwrap();
    let known = Known {
        until: desk.now().after(Duration::from_secs(60)),
        held_max: 3,
    };
    let renew = |token: String| {
        let pair = [("token", token.clone()), ("refresh", format!("{token}-refresh"))];
        let pair = pair.map(|(name, value)| (name.to_owned(), Secret::new(value)));
        desk.store.renew_secrets(CHANNEL, pair.to_vec(), known, desk.now())
    };
    // Whoever is the last, both of its secrets are in use.
    let racing = join_all((0..8).map(|host| renew(format!("of-host-{host}")))).await;
    assert!(racing.into_iter().all(|renewed| renewed.is_ok()));
    let kept = desk.store.channel(CHANNEL).await.unwrap().unwrap().secrets;
    let token = kept.get("token").unwrap().expose();
    assert_eq!(kept.get("refresh").unwrap().expose(), format!("{token}-refresh"));
    assert_eq!(kept.all("token").len(), 3, "the newest ones are known");
    assert_eq!(kept.get("app_secret").unwrap().expose(), "app");
    desk.clock.advance(Duration::from_secs(60));
    renew("late".to_owned()).await.unwrap();
    let kept = desk.store.channel(CHANNEL).await.unwrap().unwrap().secrets;
    let held: Vec<_> = kept
        .with_ends("token")
        .map(|(secret, end)| (secret.expose(), end))
        .collect();
    assert_eq!(held[0], ("late", None));
    assert!(held[1..].iter().all(|(_, end)| *end == Some(known.until)), "{held:?}");
    let gone = desk
        .store
        .renew_secrets(OTHER_CHANNEL, Vec::new(), known, desk.now())
        .await;
    assert!(matches!(gone, Err(StoreError::NotFound(_))), "{gone:?}");
}
