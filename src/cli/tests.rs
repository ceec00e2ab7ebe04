//! Every command's arguments, and help made from the same declarations.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{parse::Outcome, *};
use crate::frame::AckLevel;

fn parsed(spec: &'static Spec, args: &[&str]) -> Result<Parsed, CliError> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    match parse::parse(spec, &args)? {
        Outcome::Run(parsed) => Ok(parsed),
        Outcome::Help => panic!("help was asked for"),
    }
}

macro_rules! args {
    ($command:ident :: $args:ident of $spec:ident, $($arg:expr),*) => {
        parsed(&$command::$spec, &[$($arg),*]).and_then(|mut parsed| $command::$args::parse(&mut parsed))
    };
}

fn problem<T: std::fmt::Debug>(outcome: Result<T, CliError>) -> String {
    match outcome {
        Err(CliError::Usage { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn serve_flags_become_the_top_layer() {
    let args =
        args!(serve::ServeArgs of SPEC, "--native", "0.0.0.0:9790", "-d", "/d", "--strict", "--config=f.toml").unwrap();
    assert!(args.strict);
    let layers = args.layers();
    assert_eq!(layers.file, Some(PathBuf::from("f.toml")));
    let flags: Vec<_> = layers.flags.iter().map(|flag| (flag.flag, flag.key, flag.value.as_str())).collect();
    assert_eq!(flags, [("--data", "data_dir", "/d"), ("--native", "listen.native.addr", "0.0.0.0:9790")]);
}

#[test]
fn produce_takes_what_it_needs() {
    let args =
        args!(produce::ProduceArgs of SPEC, "temp", "--broker", "g:9790", "--acks=upstream", "-K", ":", "--timestamps")
            .unwrap();
    assert_eq!((args.topic.as_str(), args.acks, args.timestamps), ("temp", AckLevel::Upstream, true));
    assert_eq!(args.key_separator.as_deref(), Some(":"));
    assert_eq!(args.target.broker.unwrap().to_string(), "g:9790");
    let plain = args!(produce::ProduceArgs of SPEC, "temp").unwrap();
    assert_eq!((plain.acks, plain.client_id, plain.json), (AckLevel::Flash, None, false));

    assert_eq!(problem(args!(produce::ProduceArgs of SPEC,)), "missing argument TOPIC");
    assert_eq!(problem(args!(produce::ProduceArgs of SPEC, "a", "b")), "unexpected argument \"b\"");
    assert!(problem(args!(produce::ProduceArgs of SPEC, "a b")).contains("a topic's name has"));
    assert!(problem(args!(produce::ProduceArgs of SPEC, "a", "--acks", "all")).contains("memory, flash or upstream"));
    assert!(problem(args!(produce::ProduceArgs of SPEC, "a", "--broker", "g")).contains("host and a port"));
    assert!(problem(args!(produce::ProduceArgs of SPEC, "a", "--client-id", "")).contains("1 to 128"));
    assert!(problem(args!(produce::ProduceArgs of SPEC, "a", "-b", "g:1", "-d", "/d")).contains("two gateways"));
}

#[test]
fn consume_knows_where_to_begin() {
    use consume::From;
    for (text, from) in [
        ("beginning", From::Beginning),
        ("end", From::End),
        ("42", From::Offset(42)),
        ("2026-11-21T20:00:00Z", From::Time(1_795_291_200_000)),
        ("@5", From::Time(5)),
    ] {
        assert_eq!(args!(consume::ConsumeArgs of SPEC, "t", "--from", text).unwrap().from, from);
    }
    let ago = args!(consume::ConsumeArgs of SPEC, "t", "--from", "1h").unwrap().from;
    assert!(matches!(ago, From::Time(ms) if (when::now_ms() - 3_600_000 - ms).abs() < 60_000));
    let args =
        args!(consume::ConsumeArgs of SPEC, "t", "-f", "-n", "3", "-g", "me", "-p", "0", "--format", "%k\\n").unwrap();
    assert_eq!((args.follow, args.count, args.group.as_deref(), args.partition), (true, Some(3), Some("me"), Some(0)));
    assert!(
        problem(args!(consume::ConsumeArgs of SPEC, "t", "--from", "yesterday")).contains("beginning, end, an offset")
    );
    assert!(problem(args!(consume::ConsumeArgs of SPEC, "t", "--from", "99999999999999999999")).contains("larger"));
    assert!(problem(args!(consume::ConsumeArgs of SPEC, "t", "--format", "%q")).contains("%q is unknown"));
    assert!(problem(args!(consume::ConsumeArgs of SPEC, "t", "--count", "-1")).contains("from 0"));
    let args = args!(consume::ConsumeArgs of SPEC, "t", "-g", "me", "--instance", "one").unwrap();
    assert_eq!(args.instance.as_deref(), Some("one"));
    assert!(
        problem(args!(consume::ConsumeArgs of SPEC, "t", "--instance", "one")).contains("--instance needs --group")
    );
}

#[test]
fn groups_are_administered() {
    use consume::From;
    let reset = args!(group::ResetArgs of RESET, "g", "--to", "@5", "-t", "x", "-p", "1", "--dry-run").unwrap();
    assert_eq!((reset.to, reset.topic.as_deref(), reset.partition), (group::To::At(From::Time(5)), Some("x"), Some(1)));
    assert!(reset.dry_run && !reset.json);
    assert_eq!(args!(group::ResetArgs of RESET, "g", "--shift", "-3").unwrap().to, group::To::Shift(-3));
    assert!(problem(args!(group::ResetArgs of RESET, "g")).contains("--to and --shift"));
    assert!(problem(args!(group::ResetArgs of RESET, "g", "--to", "end", "--shift", "1")).contains("--to and --shift"));
    assert!(problem(args!(group::ResetArgs of RESET, "g", "--to", "end", "-p", "0")).contains("needs --topic"));
    assert!(problem(args!(group::ResetArgs of RESET, "g", "--shift", "some")).contains("whole number"));
    assert!(problem(args!(group::DescribeArgs of DESCRIBE, "")).contains("1 to 249"));
    assert!(args!(group::DeleteArgs of DELETE, "g", "--if-exists").unwrap().if_exists);
    assert!(args!(group::ListArgs of LIST, "--json").unwrap().json);
}

#[test]
fn topics_are_administered() {
    let created =
        args!(topic::CreateArgs of CREATE, "t", "-p", "3", "-s", "retention.ms=7d", "--set", "key=none").unwrap();
    assert_eq!(created.partitions, Some(3));
    assert_eq!(created.set, [("retention.ms".to_owned(), "7d".to_owned()), ("key".to_owned(), "none".to_owned())]);
    assert!(problem(args!(topic::CreateArgs of CREATE, "t", "--set", "oops")).contains("KEY=VALUE"));
    assert!(problem(args!(topic::CreateArgs of CREATE, "t", "--partitions", "0")).contains("from 1 to"));
    assert!(problem(args!(topic::AlterArgs of ALTER, "t")).contains("nothing to change"));
    assert_eq!(args!(topic::AlterArgs of ALTER, "t", "--unset", "key").unwrap().unset, ["key"]);
    assert!(args!(topic::DeleteArgs of DELETE, "t", "--if-exists").unwrap().if_exists);
    assert!(args!(topic::ListArgs of LIST, "--json").unwrap().json);
    assert_eq!(args!(topic::DescribeArgs of DESCRIBE, "t").unwrap().topic, "t");
}

#[test]
fn the_rest_take_their_arguments() {
    assert_eq!(args!(uplink::NameArgs of PAUSE, "centre").unwrap().name, "centre");
    assert_eq!(args!(uplink::StatusArgs of STATUS,).unwrap().name, None);
    let skip = args!(downlink::SkipArgs of SKIP, "centre", "commands", "-p", "2", "--to", "77").unwrap();
    assert_eq!((skip.downlink.name.as_str(), skip.words.as_str()), ("centre", " commands 2 77"));
    let all = args!(downlink::SkipArgs of SKIP, "centre", "commands", "--to", "latest").unwrap();
    assert_eq!(all.words, " commands all latest");
    assert!(problem(args!(downlink::SkipArgs of SKIP, "centre", "commands")).contains("--to latest"));
    assert!(problem(args!(downlink::SkipArgs of SKIP, "centre", "commands", "--to", "-3")).contains("an offset"));
    let check = args!(uplink::CheckArgs of CHECK, "centre", "-c", "f").unwrap();
    assert_eq!(check.layers().file, Some(PathBuf::from("f")));
    assert!(args!(status::StatusArgs of SPEC, "-w").unwrap().watch);
    assert_eq!(args!(check::CheckArgs of SPEC, "f").unwrap().file, Some(PathBuf::from("f")));
    assert_eq!(args!(fsck::FsckArgs of SPEC, "d").unwrap().dir, PathBuf::from("d"));
    assert_eq!(args!(export::ExportArgs of SPEC, "d", "-t", "x").unwrap().topic, "x");
    assert_eq!(problem(args!(export::ExportArgs of SPEC, "d")), "--topic is missing");
    assert!(args!(demo::DemoArgs of SPEC, "--keep").unwrap().keep);
}

#[cfg(feature = "bench")]
#[test]
fn benches_take_their_arguments() {
    assert_eq!(args!(bench::StoreArgs of STORE, "--seconds", "1").unwrap().seconds, 1);
    let scale = args!(bench::ScaleArgs of SCALE, "--partitions", "10000", "--bytes", "64MiB").unwrap();
    assert_eq!((scale.partitions, scale.bytes), (10_000, 64 << 20));
    assert!(problem(args!(bench::RoomArgs of ROOM, "--bytes", "1MiB")).contains("from 16MiB"));
    let connections = args!(bench::ConnectionsArgs of CONNECTIONS, "--idle", "0", "--rate", "9").unwrap();
    assert_eq!((connections.idle, connections.active, connections.rate), (0, 100, 9));
    let mqtt = args!(bench::MqttArgs of MQTT, "--clients", "1,2", "--qos", "2").unwrap();
    assert_eq!((mqtt.clients, mqtt.qos, mqtt.window), (vec![1, 2], crate::mqtt::Qos::ExactlyOnce, 20));
    let publish =
        args!(bench::PublishArgs of PUBLISH, "--devices", "1, 5", "--acks", "upstream", "--duration", "2s").unwrap();
    assert_eq!((publish.devices, publish.acks), (vec![1, 5], vec![AckLevel::Upstream]));
    assert_eq!(publish.duration, Duration::from_secs(2));
    assert!(problem(args!(bench::PublishArgs of PUBLISH, "--devices", "0")).contains("1 to 10000"));
}

#[test]
fn slips_get_a_suggestion() {
    assert_eq!(problem(parsed(&serve::SPEC, &["--natve", "x"])), "unknown option --natve; did you mean --native?");
    assert_eq!(problem(parsed(&serve::SPEC, &["-z"])), "unknown option -z");
    assert_eq!(problem(parsed(&serve::SPEC, &["--data"])), "--data needs a value");
    assert_eq!(problem(parsed(&serve::SPEC, &["--data", "a", "--data", "b"])), "--data is given twice");
    assert!(problem(parsed(&serve::SPEC, &["--strict=yes"])).contains("strict"));
    assert_eq!(problem::<()>(Err(help::no_such_command(&["srve"]))), "unknown command srve; did you mean serve?");
    assert!(problem::<()>(Err(help::no_such_command(&["topic", "crate"]))).contains("create, list"));
    assert!(problem::<()>(Err(help::no_such_command(&["topic"]))).contains("needs one of"));
}

#[test]
fn every_command_explains_itself() {
    let overview = help::overview();
    for command in COMMANDS {
        let spec = command.spec;
        assert!(overview.contains(&format!("  {} ", spec.name)), "{}", spec.name);
        let text = help::of_command(spec);
        for option in spec.all_options() {
            assert!(text.contains(&format!("--{}", option.long)), "{} --{}", spec.name, option.long);
            let same = spec
                .all_options()
                .filter(|other| other.long == option.long || (option.short.is_some() && other.short == option.short));
            assert_eq!(same.count(), 1, "{} --{} or its letter is declared twice", spec.name, option.long);
        }
        assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
        assert!(matches!(parse::parse(spec, &["--help".into()]), Ok(Outcome::Help)));
        let words: Vec<&str> = spec.name.split(' ').collect();
        assert_eq!(help::of(&words).unwrap(), text);
    }
    let family = help::of(&["topic"]).unwrap();
    assert!(family.contains("brooklet topic COMMAND") && family.contains("\n  delete "), "{family}");
    assert!(!family.contains("uplink"), "{family}");
}
