//! `brooklet losses`: what went, why, and whether it had been forwarded.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Spec},
    table::Table,
    term::{self, human_bytes, human_count},
    when,
};
use crate::executor::block_on;
use crate::{
    gateway::status::{Amount, GatewayStatus, Loss},
    json::{self, JsonObject},
};

pub(super) static SPEC: Spec = Spec {
    name: "losses",
    summary: "Show the loss ledger: what went, why, and what of it was never forwarded",
    positionals: &[],
    options: &[
        Opt::value("topic", "TOPIC", "Only of this topic"),
        Opt::switch("ranges", "Also the ranges of offsets, the newest of each partition"),
    ],
    shared: &[connect::OPTIONS, JSON],
    details: "For each topic: accepted = retained + lost, whatever the reason. For each uplink that follows it:\n\
              accepted = delivered + pending + lost. The internal topic brooklet.losses has each loss as a record.",
};

/// Arguments of `losses`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LossesArgs {
    pub target: Target,
    pub topic: Option<String>,
    pub ranges: bool,
    pub json: bool,
}

impl LossesArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<LossesArgs, CliError> {
        Ok(LossesArgs {
            target: Target::parse(args)?,
            topic: args.text("topic")?,
            ranges: args.switch("ranges"),
            json: args.switch("json"),
        })
    }
}

/// Runs `losses`.
///
/// # Errors
/// No gateway.
pub(super) fn run(args: &LossesArgs) -> Result<(), CliError> {
    let mut status = block_on(async {
        let mut connection = args.target.connect().await?;
        connect::status(&mut connection).await
    })?;
    if let Some(name) = &args.topic {
        status.topics.retain(|topic| topic.name == *name);
        status.deleted_topics.retain(|topic| topic.name == *name);
        status.losses.retain(|loss| loss.topic.as_ref() == Some(name));
    }
    if args.json {
        return term::print(&format!("{}\n", as_json(&status)));
    }
    let mut out = topics(&status);
    out.push_str(&uplinks(&status));
    if args.ranges {
        out.push_str(&ranges(&status.losses));
    }
    term::print(&out)
}

/// What went, a row for each topic and reason; what is retained where nothing went isn't of interest here.
fn topics(status: &GatewayStatus) -> String {
    let mut table = Table::new(&["TOPIC", ">ACCEPTED", ">RETAINED", "REASON", ">LOST", ">BYTES"]);
    let mut empty = true;
    let mut row = |name: &str, accepted: &Amount, retained: &Amount, reason: &str, lost: &Amount| {
        empty = false;
        let count = |amount: &Amount| human_count(amount.records);
        let (accepted, retained) = (count(accepted), count(retained));
        table.row([name.to_owned(), accepted, retained, reason.to_owned(), count(lost), human_bytes(lost.bytes)]);
    };
    for topic in &status.topics {
        for (reason, lost) in &topic.lost {
            row(&topic.name, &topic.accepted, &topic.retained, reason, lost);
        }
    }
    for topic in &status.deleted_topics {
        for (reason, lost) in &topic.lost {
            row(
                &format!("({} {})", topic.name, deleted(topic.time_ms)),
                &topic.accepted,
                &Amount::default(),
                reason,
                lost,
            );
        }
    }
    if empty { "nothing was ever lost\n".to_owned() } else { table.render() }
}

fn deleted(time_ms: i64) -> String {
    format!("deleted {}", when::format_time(time_ms))
}

/// The accounts of uplinks that lost something.
fn uplinks(status: &GatewayStatus) -> String {
    let mut table = Table::new(&["UPLINK", "TOPIC", ">ACCEPTED", ">DELIVERED", ">PENDING", ">LOST", "REASONS"]);
    let mut empty = true;
    for topic in &status.topics {
        for follower in topic.followed_by.iter().filter(|follower| !follower.lost_records.is_empty()) {
            empty = false;
            let reasons: Vec<_> =
                follower.lost_records.iter().map(|(reason, lost)| format!("{reason} {}", human_count(*lost))).collect();
            table.row([
                follower.uplink.clone(),
                topic.name.clone(),
                human_count(topic.accepted.records),
                human_count(follower.delivered_records),
                human_count(follower.lag_records),
                human_count(follower.lost_records.values().sum()),
                reasons.join(", "),
            ]);
        }
    }
    if empty { String::new() } else { format!("\nnever forwarded:\n{}", table.render()) }
}

fn ranges(losses: &[Loss]) -> String {
    if losses.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new(&["LOST TO", "TOPIC", ">PARTITION", ">RECORDS", "OFFSETS", "REASON", "WHEN", "APPENDED"]);
    for loss in losses {
        let appended = [loss.appended_from_ms, loss.appended_to_ms].map(when::format_time);
        table.row([
            if loss.uplink.is_empty() { "(all)".to_owned() } else { loss.uplink.clone() },
            loss.topic.clone().unwrap_or_else(|| "(deleted)".to_owned()),
            loss.partition.map_or("-".to_owned(), |partition| partition.to_string()),
            human_count(loss.records),
            format!("{}-{}", loss.first_offset, loss.last_offset),
            loss.reason.clone(),
            when::format_time(loss.time_ms),
            appended.join(" to "),
        ]);
    }
    format!("\nranges:\n{}", table.render())
}

/// `{"topics":[…],"deleted_topics":[…],"losses":[…]}`, each as in the status; only topics that lost something.
fn as_json(status: &GatewayStatus) -> String {
    let lost = status.topics.iter().filter(|topic| !topic.lost.is_empty());
    let mut object = JsonObject::new();
    object.raw("topics", &json::array(lost.map(json::to_string)));
    object.raw("deleted_topics", &json::array(status.deleted_topics.iter().map(json::to_string)));
    object.raw("losses", &json::array(status.losses.iter().map(json::to_string)));
    object.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gateway::status::{DeletedTopicFigures, Follower, TopicFigures};

    #[test]
    fn accounts_are_shown_and_told() {
        let amount = |records| Amount { records, bytes: records * 10 };
        let lost = BTreeMap::from([("evicted".to_owned(), amount(40))]);
        let follower = Follower {
            uplink: "centre".to_owned(),
            lag_records: 50,
            delivered_records: 20,
            lost_records: BTreeMap::from([("evicted".to_owned(), 30)]),
        };
        let topic = TopicFigures {
            name: "temp".to_owned(),
            accepted: amount(100),
            retained: amount(60),
            lost: lost.clone(),
            followed_by: vec![follower],
            ..TopicFigures::default()
        };
        let quiet = TopicFigures { name: "quiet".to_owned(), accepted: amount(7), ..TopicFigures::default() };
        let gone = DeletedTopicFigures { name: "old".to_owned(), accepted: amount(40), lost, ..Default::default() };
        let loss = Loss { topic: Some("temp".to_owned()), records: 40, last_offset: 39, ..Loss::default() };
        let status = GatewayStatus {
            topics: vec![topic, quiet],
            deleted_topics: vec![gone],
            losses: vec![loss],
            ..GatewayStatus::default()
        };
        let text = topics(&status) + &uplinks(&status) + &ranges(&status.losses);
        for said in ["temp", "(old deleted", "evicted 30", "(all)", "0-39"] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("quiet"));
        let json: serde_json::Value = serde_json::from_str(&as_json(&status)).unwrap();
        assert_eq!(json["topics"][0]["followed_by"][0]["lost_records"]["evicted"], 30);
        assert_eq!(json["deleted_topics"][0]["accepted"]["records"], 40);
        assert_eq!(json["losses"][0]["last_offset"], 39);
        assert_eq!(topics(&GatewayStatus::default()), "nothing was ever lost\n");
    }
}
