//! kcat (librdkafka) as producer and consumer of Brooklet's Kafka port.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{
    gateway::Gateway,
    peers::{consume, have_kcat, kcat, kcat_ok},
    wait_for,
    wire::batches,
};

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// kcat's names of the codecs, and their number in a batch's attributes.
pub(crate) const CODECS: [(&str, u8); 5] = [("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];

/// `count` lines "key:value"; the values compress to about half, so that a codec is worth its while.
pub(crate) fn lines(count: usize, value_bytes: usize) -> Vec<(String, String)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut digit = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from_digit((state >> 32) as u32 % 16, 16).unwrap()
    };
    (0..count).map(|i| (format!("key-{i}"), (0..value_bytes).map(|_| digit()).collect())).collect()
}

pub(crate) fn as_input(lines: &[(String, String)]) -> Vec<u8> {
    lines.iter().flat_map(|(key, value)| format!("{key}:{value}\n").into_bytes()).collect()
}

#[test]
fn lists_the_broker_and_its_topics() {
    if !have_kcat() {
        return;
    }
    let gateway = Gateway::start("[topic.four]\npartitions = 4\n");
    let broker = gateway.kafka.to_string();
    kcat_ok(&["-P", "-b", &broker, "-t", "four", "-p", "0"], b"one\n");

    let list = kcat_ok(&["-L", "-b", &broker], b"");

    assert!(list.contains("1 brokers"), "{list}");
    assert!(list.contains(&format!("at {broker}")), "{list}");
    assert!(list.contains("topic \"four\" with 4 partitions"), "{list}");
}

#[test]
fn produces_and_consumes_with_every_codec() {
    if !have_kcat() {
        return;
    }
    let gateway = Gateway::start("");
    let broker = gateway.kafka.to_string();
    let sent = lines(500, 200);
    for (codec, number) in CODECS {
        let topic = format!("codec-{codec}");
        kcat_ok(&["-P", "-b", &broker, "-t", &topic, "-K:", "-z", codec, "-X", "linger.ms=300"], &as_input(&sent));

        let seen = consume(&broker, &topic, &[]);

        let content: Vec<_> = seen.iter().map(|record| (record.key.clone(), record.value.clone())).collect();
        assert_eq!(content, sent, "{codec}");
        let offsets: Vec<i64> = seen.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (0..500).collect::<Vec<_>>(), "{codec}");
        // librdkafka sends a batch uncompressed where the codec doesn't pay, and where the broker doesn't seem to know it.
        let stored = &batches(&broker, &topic)[0];
        assert!(stored.iter().any(|batch| batch.codec() == number && batch.record_count() > 10), "{codec} wasn't used");
    }
}

#[test]
fn keeps_headers_null_values_and_empty_keys() {
    if !have_kcat() {
        return;
    }
    let gateway = Gateway::start("");
    let broker = gateway.kafka.to_string();
    kcat_ok(&["-P", "-b", &broker, "-t", "odd", "-H", "unit=C", "-H", "unit=K", "-K:"], b"k:23\n");
    kcat_ok(&["-P", "-b", &broker, "-t", "odd", "-K:", "-Z"], b"k:\n");
    kcat_ok(&["-P", "-b", &broker, "-t", "odd"], b"no key\n");

    let format = "%K|%k|%S|%s|%h\n";
    let seen = kcat_ok(&["-C", "-q", "-e", "-b", &broker, "-t", "odd", "-o", "beginning", "-f", format], b"");

    assert_eq!(seen, "1|k|2|23|unit=C,unit=K\n1|k|-1||\n-1||6|no key|\n");
}

#[test]
fn starts_at_an_offset_a_time_and_before_the_end() {
    if !have_kcat() {
        return;
    }
    let gateway = Gateway::start("");
    let broker = gateway.kafka.to_string();
    let input: String = (0..100).map(|i| format!("{i}\n")).collect();
    kcat_ok(&["-P", "-b", &broker, "-t", "seek"], input.as_bytes());
    let all = consume(&broker, "seek", &[]);
    let later = all.last().unwrap().timestamp + 1;

    let from_offset: Vec<i64> = consume(&broker, "seek", &["-o", "40"]).iter().map(|record| record.offset).collect();
    let last_five: Vec<i64> = consume(&broker, "seek", &["-o", "-5"]).iter().map(|record| record.offset).collect();
    let query = kcat_ok(&["-Q", "-b", &broker, "-t", &format!("seek:0:{}", all[0].timestamp)], b"");
    let beyond = kcat_ok(&["-Q", "-b", &broker, "-t", &format!("seek:0:{later}")], b"");

    assert_eq!(from_offset, (40..100).collect::<Vec<_>>());
    assert_eq!(last_five, (95..100).collect::<Vec<_>>());
    assert!(query.contains("offset 0"), "{query}");
    // No record is as late as that: librdkafka asks for the end.
    assert!(beyond.contains("offset -1") || beyond.contains("offset 100"), "{beyond}");
}

#[test]
fn what_any_acknowledged_producer_sent_outlives_a_kill() {
    if !have_kcat() {
        return;
    }
    let mut gateway = Gateway::start("");
    let broker = gateway.kafka.to_string();
    let sent = lines(200, 100);
    for (topic, setting) in [("all", "acks=all"), ("one", "acks=1"), ("idempotent", "enable.idempotence=true")] {
        kcat_ok(&["-P", "-b", &broker, "-t", topic, "-K:", "-X", setting], &as_input(&sent));
    }

    gateway.kill();
    gateway.launch();

    for topic in ["all", "one", "idempotent"] {
        let seen: Vec<_> = consume(&broker, topic, &[]).into_iter().map(|record| (record.key, record.value)).collect();
        assert_eq!(seen, sent, "{topic}");
    }
}

#[test]
fn a_consumer_that_waits_gets_new_records() {
    if !have_kcat() {
        return;
    }
    let gateway = Gateway::start("");
    let broker = gateway.kafka.to_string();
    kcat_ok(&["-P", "-b", &broker, "-t", "live"], b"before\n");
    let waiting = std::thread::spawn({
        let broker = broker.clone();
        move || kcat_ok(&["-C", "-q", "-b", &broker, "-t", "live", "-o", "end", "-c", "3", "-f", "%s\n"], b"")
    });
    // Until the consumer has found the end, what is sent may still count as "before".
    let mut sent = 0;
    while !waiting.is_finished() {
        assert!(sent < 600, "the consumer saw nothing new");
        kcat_ok(&["-P", "-b", &broker, "-t", "live"], format!("after {sent}\n").as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(100));
        sent += 1;
    }

    let seen = waiting.join().unwrap();

    assert_eq!(seen.lines().count(), 3);
    assert!(seen.lines().all(|line| line.starts_with("after ")), "{seen}");
}

#[test]
fn a_record_too_large_is_refused_and_the_next_one_taken() {
    if !have_kcat() {
        return;
    }
    let gateway = Gateway::start("");
    let broker = gateway.kafka.to_string();
    let large = "x".repeat(1_200_000);

    let refused =
        kcat(&["-P", "-b", &broker, "-t", "large", "-X", "message.max.bytes=2000000"], format!("{large}\n").as_bytes());
    kcat_ok(&["-P", "-b", &broker, "-t", "large"], b"small\n");

    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(complaint.contains("too large"), "{complaint}");
    let seen: Vec<String> = consume(&broker, "large", &[]).into_iter().map(|record| record.value).collect();
    assert_eq!(seen, ["small"]);
}

#[test]
fn two_balanced_consumers_read_everything_over_a_kill() {
    if !have_kcat() {
        return;
    }
    let mut gateway = Gateway::start("[topic.shared]\npartitions = 4\n");
    let broker = gateway.kafka.to_string();
    let produce = |from: usize, to: usize| {
        let lines: String = (from..to).map(|i| format!("key-{i}:{i}\n")).collect();
        kcat_ok(&["-P", "-b", &broker, "-t", "shared", "-K:"], lines.as_bytes());
    };
    let member = || {
        let mut command = std::process::Command::new("kcat");
        let group = ["-G", "readers", "shared", "-b", &broker, "-q", "-u", "-E", "-X", "auto.offset.reset=earliest"];
        let times = ["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=200", "-f", "%p %o %s\\n"];
        command.args(group).args(times).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Reading::new(command.spawn().unwrap())
    };
    produce(0, 200);
    let mut readers = vec![member()];
    let seen_by_all = |readers: &[Reading], count: usize| {
        wait_for(&format!("{count} records"), PATIENCE, || {
            let values: BTreeSet<String> = readers.iter().flat_map(Reading::values).collect();
            (values.len() == count).then_some(())
        });
    };
    seen_by_all(&readers, 200);
    readers.push(member());
    // The second one has got partitions when it has read something.
    let mut produced = 200;
    wait_for("the second member's share", PATIENCE, || {
        produce(produced, produced + 20);
        produced += 20;
        (!readers[1].values().is_empty()).then_some(())
    });
    gateway.kill();
    gateway.launch();
    produce(produced, produced + 200);
    seen_by_all(&readers, produced + 200);
    readers.remove(0);
    produce(produced + 200, produced + 300);
    wait_for("what the other one had", PATIENCE, || {
        let values: BTreeSet<String> = readers[0].values().into_iter().collect();
        (produced + 200..produced + 300).all(|i| values.contains(&i.to_string())).then_some(())
    });
}

/// A consumer that runs, and what it has printed so far. It is ended by its id.
struct Reading {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Reading {
    fn new(mut child: Child) -> Reading {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (out, into) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        Reading { child, lines }
    }

    /// The values printed: the last word of each line.
    fn values(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
