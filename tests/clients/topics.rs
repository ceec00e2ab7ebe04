//! Topics: created, described, altered, cut short, deleted.

use crate::{
    common::gateway::Gateway,
    driver::{Client, Played},
    records::assert_once,
    truth,
};

pub fn create(client: &Client, gateway: &Gateway) -> Played<String> {
    client.call(gateway, "create", &["created", "5"])?;
    assert_eq!(truth::partitions(gateway, "created"), Some(5));
    Ok(String::new())
}

pub fn describe(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "described", 3);
    let printed = client.call(gateway, "describe", &["described"])?;
    let mut wanted = vec!["partitions 3".to_owned()];
    for name in ["retention.ms", "max.message.bytes", "compression.type"] {
        wanted.push(format!("config {name} {}", truth::setting(gateway, "described", name)));
    }
    for line in wanted {
        assert!(printed.lines().any(|printed| printed == line), "describe lacks the line {line:?}:\n{printed}");
    }
    Ok(String::new())
}

pub fn alter(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "altered", 1);
    client.call(gateway, "alter", &["altered", "retention.ms", "3600000"])?;
    assert_eq!(truth::setting(gateway, "altered", "retention.ms"), "3600000");
    Ok(String::new())
}

pub fn delete_records(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "shortened", 1);
    client.produce(gateway, "shortened", 0, 100)?;
    client.call(gateway, "delete-records", &["shortened", "0", "40"])?;
    assert_eq!(truth::starts(gateway, "shortened").get(&0), Some(&40));
    let printed = client.call(gateway, "consume", &["shortened", "60"])?;
    assert!(printed.starts_with("0 40 "), "consumed after the deletion: {:?}", printed.lines().next());
    Ok(String::new())
}

/// Deleted, and made again: another topic of the same name.
pub fn delete(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "deleted", 2);
    client.produce(gateway, "deleted", 0, 50)?;
    client.call(gateway, "delete", &["deleted"])?;
    assert_eq!(truth::partitions(gateway, "deleted"), None, "the topic is still there");
    truth::create(gateway, "deleted", 2);
    client.produce(gateway, "deleted", 0, 20)?;
    assert_once(&truth::records(gateway, "deleted"), 0..20);
    Ok(String::new())
}
