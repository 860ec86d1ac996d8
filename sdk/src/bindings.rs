//! What wit-bindgen makes of `wit/`: one set of types, and one export macro for every interface a connector may have.
//!
//! A component has an ability when it exports the interface, so each optional interface is a world of its own and
//! is generated on its own. The shared interfaces are generated once, in [`minimal`]; the others point there, so that
//! a `CallError` is the same type everywhere. Nothing here is written by hand.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

/// The imports, the shared values and the interface that every connector exports.
pub mod minimal {
    wit_bindgen::generate!({
        path: "../wit",
        world: "minimal",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_minimal",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        // The golden files spell cases as the interface does, with underscores.
        additional_type_attributes: {
            "mantle:connector/values@1.0.0/alias-kind": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/chat": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/author": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/attachment-kind": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/content": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/delivery-state": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/refusal-reason": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/reach": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/notice-level": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/event-body": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/text-style": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/span-kind": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/template-parameter": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/outgoing-content": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/values@1.0.0/call-error": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/http@1.0.0/method": [#[serde(rename_all = "UPPERCASE")]],
            "mantle:connector/http@1.0.0/error-kind": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/connector@1.0.0/receive-error": [#[serde(rename_all = "snake_case")]],
            "mantle:connector/log@1.0.0/level": [#[serde(rename_all = "snake_case")]],
        },
        // What a golden file may leave out.
        additional_member_attributes: {
            "mantle:connector/values@1.0.0/rich-text.spans": [#[serde(default)]],
            "mantle:connector/values@1.0.0/outgoing.recipient": [#[serde(default)]],
            "mantle:connector/values@1.0.0/outgoing.extras": [#[serde(default)]],
            "mantle:connector/values@1.0.0/template-use.values": [#[serde(default)]],
        },
    });
}

/// Generates the world of one optional interface upon the shared types of [`minimal`].
macro_rules! optional_world {
    ($(#[$doc:meta])* $module:ident, $world:literal, $macro_name:literal, { $($selector:literal),* $(,)? }) => {
        $(#[$doc])*
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $macro_name,
                generate_all,
                with: {
                    "mantle:connector/values@1.0.0": crate::bindings::minimal::mantle::connector::values,
                    "mantle:connector/http@1.0.0": crate::bindings::minimal::mantle::connector::http,
                    "mantle:connector/media@1.0.0": crate::bindings::minimal::mantle::connector::media,
                    "mantle:connector/crypto@1.0.0": crate::bindings::minimal::mantle::connector::crypto,
                    "mantle:connector/kv@1.0.0": crate::bindings::minimal::mantle::connector::kv,
                    "mantle:connector/config@1.0.0": crate::bindings::minimal::mantle::connector::config,
                    "mantle:connector/log@1.0.0": crate::bindings::minimal::mantle::connector::log,
                },
                additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
                additional_type_attributes: { $($selector: [#[serde(rename_all = "snake_case")]]),* },
            });
        }
    };
}

optional_world!(
    /// Connecting a channel to the provider.
    lifecycle, "with-lifecycle", "export_lifecycle",
    {
        "mantle:connector/lifecycle@1.0.0/connect-error",
        "mantle:connector/lifecycle@1.0.0/readiness",
        "mantle:connector/lifecycle@1.0.0/health",
    }
);
optional_world!(
    /// Files of inbound messages.
    inbound_media, "with-inbound-media", "export_inbound_media", {}
);
optional_world!(
    /// What became of a message whose answer was lost.
    reconcile, "with-reconcile", "export_reconcile", { "mantle:connector/reconcile@1.0.0/finding" }
);
optional_world!(
    /// What the provider tells about a person.
    profile, "with-profile", "export_profile", {}
);
optional_world!(
    /// Approved message templates.
    templates, "with-templates", "export_templates",
    {
        "mantle:connector/templates@1.0.0/template-state",
        "mantle:connector/templates@1.0.0/header-kind",
        "mantle:connector/templates@1.0.0/button-kind",
    }
);
