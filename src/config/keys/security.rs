//! Keys of rights.

use super::super::{
    security::{IfNoRule, user},
    types::Config,
    value::{Kind, SpecialList},
};
use super::{Key, live};

const DOC: &str = "What clients may do with what no rule is about; auto: nothing if they show who they are, else all.";

pub(super) const SECURITY: &[Key<Config>] = &[
    live(
        "security.super_users",
        "none",
        Kind::SpecialList(SpecialList {
            allowed: "\"none\" or a list of users' names, such as [\"admin\"]",
            set: |c, texts| {
                let named = texts.iter().copied().filter(|text| *text != "none");
                let users: Vec<String> = named.map(user).collect::<Option<_>>()?;
                c.security.super_users.clone_from(&users);
                Some(if users.is_empty() { vec!["none".to_owned()] } else { users })
            },
        }),
        "Users who may do everything, whatever the rules say.",
    ),
    live(
        "security.enforce",
        "true",
        Kind::Boolean(|c, v| c.security.enforce = v),
        "Whether what isn't allowed is refused; false: it is counted and logged, and done all the same.",
    ),
    live(
        "security.bind_client_ids",
        "true",
        Kind::Boolean(|c, v| c.security.bind_client_ids = v),
        "Whether a client id, with its session and sequences, is for the user only who came with it first.",
    ),
    live("listen.native.if_no_rule", "auto", choice!(IfNoRule, |c| c.listen.native.if_no_rule), DOC),
    live("listen.kafka.if_no_rule", "auto", choice!(IfNoRule, |c| c.listen.kafka.if_no_rule), DOC),
    live("listen.mqtt.if_no_rule", "auto", choice!(IfNoRule, |c| c.listen.mqtt.if_no_rule), DOC),
];
