//! Kafka's own programs that make load and say what became of it: ProducerPerformance, ConsumerPerformance,
//! VerifiableProducer.

use std::collections::BTreeSet;

use crate::{common::gateway::Gateway, driver::Client, records::assert_ordered, restarts::kill_in_the_middle, truth};

const PROGRAMS: &str = "kafka-tools";
const PARTITIONS: i32 = 4;
const RECORDS: usize = 20_000;
const VERIFIED: usize = 5_000;
/// Records a second: so that a kill finds it in the middle.
const PACE: &str = "2000";

fn programs() -> Option<Client> {
    let found = Client::all().into_iter().find(|client| client.name == PROGRAMS);
    if found.is_none() {
        println!("skipped: takes {PROGRAMS}");
    }
    found
}

fn tool(client: &Client, gateway: &Gateway, program: &str, args: &[&str]) -> String {
    let class = format!("org.apache.kafka.tools.{program}");
    client.call(gateway, "tool", &[&[&*class], args].concat()).unwrap()
}

#[test]
#[ignore = "started by scripts/interop.sh clients"]
fn what_the_performance_programs_count_is_there() {
    let Some(client) = programs() else { return };
    let gateway = Gateway::start("");
    truth::create(&gateway, "performance", PARTITIONS);
    let records = RECORDS.to_string();
    let load = ["--topic", "performance", "--num-records", &records, "--record-size", "100", "--throughput", "-1"];

    let produced = tool(&client, &gateway, "ProducerPerformance", &load);
    let consumed =
        tool(&client, &gateway, "ConsumerPerformance", &["--topic", "performance", "--num-records", &records]);

    assert!(produced.contains(&format!("{records} records sent")), "{produced}");
    assert_eq!(truth::ends(&gateway, "performance").values().sum::<i64>(), RECORDS as i64);
    // A heading and a line of figures: from, to, MB, MB/s, records, …
    let figures: Vec<&str> = consumed.lines().last().unwrap().split(", ").collect();
    assert_eq!(figures[4], records, "{consumed}");
}

#[test]
#[ignore = "started by scripts/interop.sh clients"]
fn what_the_verifiable_producer_was_told_is_there_once_over_a_kill() {
    let Some(client) = programs() else { return };
    let mut gateway = Gateway::start("");
    truth::create(&gateway, "verified", PARTITIONS);
    let count = VERIFIED.to_string();
    let load = ["--topic", "verified", "--max-messages", &count, "--throughput", PACE, "--repeating-keys", "50"];
    let program = [&["org.apache.kafka.tools.VerifiableProducer"], &load[..], &["--value-prefix", "0"]].concat();

    let mut producing = client.begin(&gateway, "tool", &program);
    assert!(kill_in_the_middle(&mut gateway, "verified", VERIFIED, &mut producing), "it was done before the kill");
    let said = producing.end_in_time().unwrap();

    // It sends nothing again, so what was under way at the kill may be missing, but nothing else.
    let told: Vec<usize> =
        said.lines().filter(|line| line.contains("\"producer_send_success\"")).map(number_told).collect();
    assert!((VERIFIED / 5..=VERIFIED).contains(&told.len()), "{} of {VERIFIED} were acknowledged", told.len());
    let stored: Vec<truth::Record> = truth::records(&gateway, "verified");
    assert_ordered(&stored);
    let numbers: BTreeSet<usize> = stored.iter().map(|record| record.value[2..].parse().unwrap()).collect();
    assert_eq!(numbers.len(), stored.len(), "a record is stored twice");
    let lost: Vec<&usize> = told.iter().filter(|number| !numbers.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged, and not there: {lost:?}");
}

/// Of a line of JSON with a value of "0.N": the prefix, a dot and the number.
fn number_told(line: &str) -> usize {
    let (_, value) = line.split_once("\"value\":\"0.").unwrap();
    value.split('"').next().unwrap().parse().unwrap()
}
