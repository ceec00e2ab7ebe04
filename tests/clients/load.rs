//! Kafka's own programs that make load and say what became of it: ProducerPerformance, ConsumerPerformance,
//! VerifiableProducer.

use std::collections::BTreeSet;

use crate::{common::gateway::Gateway, driver::Client, records::assert_ordered, restarts::kill_in_the_middle, truth};

const PROGRAMS: &str = "kafka-tools";
const PARTITIONS: i32 = 4;
const RECORDS: usize = 20_000;
/// More, if all were stored before the kill: what its start took too long for, the program sends at once.
const VERIFIED: [usize; 3] = [5_000, 20_000, 80_000];
/// Records a second: so that a kill finds it in the middle.
const PACE: &str = "2000";
/// It gives up when nothing came for so long, the time until the first record included.
const CONSUME_MS: &str = "120000";

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
    let all = ["--topic", "performance", "--num-records", &records, "--timeout", CONSUME_MS];
    let consumed = tool(&client, &gateway, "ConsumerPerformance", &all);

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
    let killed = VERIFIED.into_iter().find_map(|count| verify_over_a_kill(&client, &mut gateway, count));
    let (topic, count, said) = killed.expect("it was done before the kill, each time");

    // It sends nothing again, so what was under way at the kill may be missing, but nothing else.
    let told: Vec<usize> =
        said.lines().filter(|line| line.contains("\"producer_send_success\"")).map(number_told).collect();
    assert!((count / 5..=count).contains(&told.len()), "{} of {count} were acknowledged", told.len());
    let stored: Vec<truth::Record> = truth::records(&gateway, &topic);
    assert_ordered(&stored);
    let numbers: BTreeSet<usize> = stored.iter().map(|record| record.value[2..].parse().unwrap()).collect();
    assert_eq!(numbers.len(), stored.len(), "a record is stored twice");
    let lost: Vec<&usize> = told.iter().filter(|number| !numbers.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged, and not there: {lost:?}");
}

/// The topic, how many were to be sent, what the program said; nothing where all was stored before the kill.
fn verify_over_a_kill(client: &Client, gateway: &mut Gateway, count: usize) -> Option<(String, usize, String)> {
    let topic = format!("verified-{count}");
    truth::create(gateway, &topic, PARTITIONS);
    let messages = count.to_string();
    let load = ["--topic", &topic, "--max-messages", &messages, "--throughput", PACE, "--repeating-keys", "50"];
    let program = [&["org.apache.kafka.tools.VerifiableProducer"], &load[..], &["--value-prefix", "0"]].concat();
    let mut producing = client.begin(gateway, "tool", &program);
    let in_the_middle = kill_in_the_middle(gateway, &topic, count, &mut producing);
    let said = producing.end_in_time().unwrap();
    in_the_middle.then_some((topic, count, said))
}

/// Of a line of JSON with a value of "0.N": the prefix, a dot and the number.
fn number_told(line: &str) -> usize {
    let (_, value) = line.split_once("\"value\":\"0.").unwrap();
    value.split('"').next().unwrap().parse().unwrap()
}
