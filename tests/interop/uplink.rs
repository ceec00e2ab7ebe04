//! Brooklet's uplink into a real Apache Kafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    common::{
        free_addr,
        gateway::{Gateway, brooklet, expect_ok, run},
        peers::{Recorder, Seen, consume, have_kcat, kafka, kafka_nodes, kcat_ok},
        wait_for,
        wire::{Batch, batches, create_topic, grow_topic, leaders},
    },
    kcat::{CODECS, as_input, lines},
};

const ARRIVAL: Duration = Duration::from_secs(120);
/// `batch.min_bytes` of an uplink unless configured: from here on a batch passes through as it is.
const PASS_THROUGH_BYTES: usize = 16 << 10;

/// A name that no earlier run has left in the same Kafka.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    format!("{name}-{seconds}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn uplink_config(kafka: &str, more: &str) -> String {
    let bootstrap: Vec<String> = kafka.split(',').map(|address| format!("{address:?}")).collect();
    format!("[uplink.central]\nbootstrap = [{}]\n{more}\n", bootstrap.join(", "))
}

fn arrived(kafka: &str, topic: &str) -> i64 {
    batches(kafka, topic).iter().flatten().map(|batch| i64::from(batch.record_count())).sum()
}

pub(crate) fn wait_arrived(kafka: &str, topic: &str, count: usize) {
    let count = i64::try_from(count).unwrap();
    wait_for(&format!("{count} records of {topic} at the centre"), ARRIVAL, || {
        (arrived(kafka, topic) >= count).then_some(())
    });
}

#[test]
fn a_large_batch_arrives_with_the_payload_that_the_client_compressed() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    // Clients are told the recorder's address, so that what they really sent is known.
    let port = free_addr();
    let recorder = Recorder::start(port);
    let advertised = format!("[listen.kafka]\nadvertised = \"{}\"\n", recorder.addr);
    let gateway = Gateway::start_on(port, &(advertised + &uplink_config(&kafka, "provenance = \"never\"")));
    let local = gateway.kafka.to_string();
    let sent = lines(300, 400);
    for (codec, number) in CODECS {
        let topic = unique(codec);
        create_topic(&kafka, &topic, 1);
        kcat_ok(&["-P", "-b", &local, "-t", &topic, "-K:", "-z", codec, "-X", "linger.ms=500"], &as_input(&sent));
        wait_arrived(&kafka, &topic, sent.len());

        let (stored, upstream) = (batches(&local, &topic), batches(&kafka, &topic));

        let large: Vec<&Batch> = stored[0].iter().filter(|batch| batch.raw.len() >= PASS_THROUGH_BYTES).collect();
        assert!(large.iter().any(|batch| batch.codec() == number), "kcat made no large {codec} batch");
        for batch in large {
            assert!(recorder.saw(batch.payload()), "{codec}: stored otherwise than kcat sent it");
            let twin = upstream[0].iter().find(|other| other.payload() == batch.payload());
            let twin = twin.unwrap_or_else(|| panic!("{codec}: no batch upstream has this payload"));
            assert_eq!((twin.codec(), twin.record_count()), (batch.codec(), batch.record_count()), "{codec}");
        }
        assert_same_records(&local, &kafka, &topic);
    }
}

#[test]
fn small_batches_arrive_record_by_record() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let gateway = Gateway::start(&uplink_config(&kafka, "provenance = \"never\""));
    let local = gateway.kafka.to_string();
    let topic = unique("small");
    create_topic(&kafka, &topic, 1);
    let mut count = 0;
    for (round, (codec, _)) in CODECS.iter().cycle().take(20).enumerate() {
        let header = format!("round={round}");
        kcat_ok(
            &["-P", "-b", &local, "-t", &topic, "-K:", "-z", codec, "-H", &header],
            &as_input(&lines(round + 1, 60)),
        );
        count += round + 1;
    }
    wait_arrived(&kafka, &topic, count);

    assert_same_records(&local, &kafka, &topic);
}

fn assert_same_records(local: &str, kafka: &str, topic: &str) {
    let (stored, upstream) = (consume(local, topic, &[]), consume(kafka, topic, &[]));
    let contents = |records: &[Seen]| records.iter().map(|r| format!("{:?}", r.content())).collect::<Vec<_>>();
    assert_eq!(contents(&upstream), contents(&stored), "{topic}");
}

#[test]
fn each_local_partition_keeps_its_order_whatever_the_counts() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    for local_count in [1, 4] {
        for upstream_count in [1, 6, 48] {
            let topic = unique(&format!("{local_count}-to-{upstream_count}"));
            create_topic(&kafka, &topic, upstream_count);
            let gateway = Gateway::start(&(partitions(&topic, local_count) + &uplink_config(&kafka, "")));
            let sent = produce_everywhere(&gateway, &topic, local_count);
            wait_arrived(&kafka, &topic, sent);

            let homes = assert_in_order(&consume(&kafka, &topic, &[]), local_count);

            assert!(homes.values().all(|homes| homes.len() == 1), "{topic}: {homes:?}");
        }
    }
}

#[test]
fn a_changed_count_at_the_centre_takes_effect_and_loses_nothing() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("grows");
    create_topic(&kafka, &topic, 1);
    let mut gateway = Gateway::start(&(partitions(&topic, 4) + &uplink_config(&kafka, "")));
    let first = produce_everywhere(&gateway, &topic, 4);
    wait_arrived(&kafka, &topic, first);

    grow_topic(&kafka, &topic, 48);
    // A running uplink asks every five minutes, one that starts at once.
    gateway.stop();
    gateway.launch();
    for partition in ["0", "1", "2", "3"] {
        kcat_ok(&["-P", "-b", &gateway.kafka.to_string(), "-t", &topic, "-p", partition], b"later\n");
    }
    wait_for("a record in one of the new partitions", ARRIVAL, || {
        batches(&kafka, &topic).iter().skip(1).any(|batches| !batches.is_empty()).then_some(())
    });

    let seen: Vec<Seen> = consume(&kafka, &topic, &[]).into_iter().filter(|record| record.value != "later").collect();
    assert_in_order(&seen, 4);
}

#[test]
fn by_key_chooses_what_a_kafka_producer_would() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let (through, direct) = (unique("by-key"), unique("direct"));
    create_topic(&kafka, &through, 6);
    create_topic(&kafka, &direct, 6);
    let config = partitions(&through, 4) + &uplink_config(&kafka, "partitioning = \"by-key\"");
    let gateway = Gateway::start(&config);
    let sent = lines(200, 20);
    kcat_ok(&["-P", "-b", &gateway.kafka.to_string(), "-t", &through, "-K:"], &as_input(&sent));
    kcat_ok(&["-P", "-b", &kafka, "-t", &direct, "-K:", "-X", "partitioner=murmur2_random"], &as_input(&sent));
    wait_arrived(&kafka, &through, sent.len());

    let place = |topic| -> BTreeMap<String, (i32, String)> {
        consume(&kafka, topic, &[]).into_iter().map(|r| (r.key, (r.partition, r.value))).collect()
    };

    assert_eq!(place(&through), place(&direct));
}

#[test]
fn same_needs_as_many_partitions_at_the_centre() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("same");
    create_topic(&kafka, &topic, 2);
    let config = partitions(&topic, 4) + &uplink_config(&kafka, "partitioning = \"same\"\nbackoff.max = \"2s\"");
    let gateway = Gateway::start(&config);
    let sent = produce_everywhere(&gateway, &topic, 4);
    thread::sleep(Duration::from_secs(4));
    let early = consume(&kafka, &topic, &[]);
    assert!(early.is_empty(), "a part of the topic was forwarded, which looks like all of it");

    grow_topic(&kafka, &topic, 4);
    wait_arrived(&kafka, &topic, sent);

    let homes = assert_in_order(&consume(&kafka, &topic, &[]), 4);
    for (local, upstream) in homes {
        assert_eq!(upstream, BTreeSet::from([local]));
    }
}

#[test]
fn follows_when_the_leader_is_another_node() {
    let (true, Some(mut nodes)) = (have_kcat(), kafka_nodes()) else { return };
    let kafka = nodes.bootstrap.clone();
    let topic = unique("moves");
    create_topic(&kafka, &topic, 1);
    let gateway = Gateway::start(&(partitions(&topic, 1) + &uplink_config(&kafka, "backoff.max = \"2s\"")));
    let broker = gateway.kafka.to_string();
    kcat_ok(&["-P", "-b", &broker, "-t", &topic], b"before\n");
    wait_arrived(&kafka, &topic, 1);

    nodes.kill(&leaders(&kafka, &topic).unwrap()[0]);
    kcat_ok(&["-P", "-b", &broker, "-t", &topic], b"while it is away\n");
    wait_for("another leader", ARRIVAL, || leaders(&kafka, &topic));
    wait_arrived(&kafka, &topic, 2);
    nodes.restore();

    let values: Vec<String> = consume(&kafka, &topic, &[]).into_iter().map(|record| record.value).collect();
    assert_eq!(values, ["before", "while it is away"]);
}

#[test]
fn a_batch_damaged_on_flash_is_not_sent_with_a_fresh_checksum() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("damaged");
    let other = unique("sound");
    create_topic(&kafka, &topic, 1);
    create_topic(&kafka, &other, 1);
    // First without an uplink, so that the records are still to be forwarded when the damage is done; and with small
    // segments, of which the damaged one is long sealed.
    let small = "[store]\nsegment_bytes = \"1MiB\"\nmax_bytes = \"64MiB\"\n\n";
    let mut gateway = Gateway::start(small);
    let local = gateway.kafka.to_string();
    let mark = format!("MARK{}", unique("x"));
    let input: String = (0..200).map(|i| format!("{i} {mark} {}\n", "y".repeat(200))).collect();
    kcat_ok(&["-P", "-b", &local, "-t", &topic, "-X", "linger.ms=500"], input.as_bytes());
    let apart = ["-P", "-b", &local, "-t", &other, "-K:", "-X", "batch.size=100000"];
    kcat_ok(&apart, &as_input(&lines(4_000, 1_000)));
    gateway.stop();
    assert!(flip_bit(&gateway.data_dir(), mark.as_bytes()), "the records aren't found on disk");

    gateway.configure(&(small.to_owned() + &uplink_config(&kafka, "")));
    gateway.launch();
    wait_arrived(&kafka, &other, 4_000);
    thread::sleep(Duration::from_secs(3));

    let seen = consume(&kafka, &topic, &[]);
    assert!(seen.iter().all(|record| record.value.contains(&mark)), "damaged records arrived");
    assert!(seen.len() < 200, "all arrived, yet one was damaged");
}

/// Flips the lowest bit of the first byte of `mark` wherever it is first found below `dir`.
fn flip_bit(dir: &Path, mark: &[u8]) -> bool {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            if flip_bit(&path, mark) {
                return true;
            }
            continue;
        }
        let Ok(mut bytes) = fs::read(&path) else { continue };
        if let Some(at) = bytes.windows(mark.len()).position(|window| window == mark) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            return true;
        }
    }
    false
}

fn partitions(topic: &str, count: i32) -> String {
    format!("[topic.{topic:?}]\npartitions = {count}\n\n")
}

const ROUNDS: usize = 3;
const PER_ROUND: usize = 40;

/// Values "<local partition> <number>", numbers rising within each partition. The count of all.
fn produce_everywhere(gateway: &Gateway, topic: &str, local_count: i32) -> usize {
    let broker = gateway.kafka.to_string();
    for round in 0..ROUNDS {
        for partition in 0..local_count {
            let numbers = round * PER_ROUND..(round + 1) * PER_ROUND;
            let input: String = numbers.map(|number| format!("{partition} {number}\n")).collect();
            kcat_ok(&["-P", "-b", &broker, "-t", topic, "-p", &partition.to_string()], input.as_bytes());
        }
    }
    ROUNDS * PER_ROUND * usize::try_from(local_count).unwrap()
}

/// Every record of every local partition is there once and in order. The upstream partitions of each local one.
fn assert_in_order(seen: &[Seen], local_count: i32) -> BTreeMap<i32, BTreeSet<i32>> {
    let mut homes: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
    let mut numbers: BTreeMap<(i32, i32), Vec<usize>> = BTreeMap::new();
    for record in seen {
        let (local, number) = record.value.split_once(' ').unwrap();
        let local: i32 = local.parse().unwrap();
        homes.entry(local).or_default().insert(record.partition);
        numbers.entry((local, record.partition)).or_default().push(number.parse().unwrap());
    }
    assert!(numbers.values().all(|numbers| numbers.is_sorted()), "out of order");
    for local in 0..local_count {
        let of_local = numbers.iter().filter(|((from, _), _)| *from == local).flat_map(|(_, numbers)| numbers);
        let mut all: Vec<usize> = of_local.copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..ROUNDS * PER_ROUND).collect::<Vec<_>>(), "local partition {local}");
    }
    homes
}

/// A gateway tells a real cluster how it is, beside a transaction and not in it, and `brooklet fleet` reads that from there.
#[test]
fn a_cluster_is_told_how_the_gateway_is() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let (topic, status) = (unique("told"), unique("status"));
    [&topic, &status].into_iter().for_each(|topic| create_topic(&kafka, topic, 1));
    let name = unique("gw");
    let config = uplink_config(&kafka, &format!("status = {status:?}\ntopics = [{topic:?}]"));
    let gateway = Gateway::start(&format!("gateway.id = {name:?}\n{config}"));
    let sent = lines(10, 60);
    kcat_ok(&["-P", "-b", &gateway.kafka.to_string(), "-t", &topic, "-K:"], &as_input(&sent));
    wait_arrived(&kafka, &topic, sent.len());
    wait_arrived(&kafka, &status, 1);
    let told = consume(&kafka, &status, &[]);
    assert_eq!(told.len(), 1, "no marker of a transaction, nothing twice");
    let first = kafka.split(',').next().unwrap();
    let fleet = expect_ok("fleet", &run(brooklet().args(["fleet", "--upstream", first, "--topic", &status]), b""));
    assert!(fleet.lines().count() == 2 && fleet.contains(&name), "{fleet}");
}
