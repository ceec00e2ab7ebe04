//! rumqttc, both versions. The verbs stand in tests/clients/mqtt/matrix.py.

use std::{env, error::Error, time::Duration};

use tokio::time::sleep;

type Done = Result<(), Box<dyn Error>>;

/// The library has every type twice, once a version, with the same names.
macro_rules! version {
    ($name:ident, $client:path, $options:path, $will:path, $qos:path, $event:path, $packet:path, $loop:path,
     |$opts:ident, $keep:ident| $session:block, |$topic:ident, $payload:ident| $last_will:expr,
     |$message:ident| $text:expr) => {
        mod $name {
            use super::*;
            use $client as Client;
            use $event as Event;
            use $loop as Loop;
            use $options as Options;
            use $packet as Packet;
            use $qos as QoS;
            use $will as LastWill;

            fn options(address: &str, name: &str, $keep: bool) -> Result<Options, Box<dyn Error>> {
                let (host, port) = address.split_once(':').ok_or("an address is HOST:PORT")?;
                let mut $opts = Options::new(name, host, port.parse::<u16>()?);
                $opts.set_keep_alive(Duration::from_secs(30));
                $session
                Ok($opts)
            }

            fn qos(text: &str) -> QoS {
                match text {
                    "0" => QoS::AtMostOnce,
                    "1" => QoS::AtLeastOnce,
                    _ => QoS::ExactlyOnce,
                }
            }

            /// The next packet; connects again when the connection is lost, as the library does when it is polled again.
            async fn next(connection: &mut Loop) -> Event {
                loop {
                    match connection.poll().await {
                        Ok(event) => return event,
                        Err(_) => sleep(Duration::from_millis(300)).await,
                    }
                }
            }

            pub async fn publish(address: &str, args: &[&str]) -> Done {
                let [name, topic, level, from, to, ref retain @ ..] = *args else { return Err("publish: arguments".into()) };
                let (from, to): (usize, usize) = (from.parse()?, to.parse()?);
                // Kept, so that what is under way when the gateway dies is sent again.
                let (client, mut connection) = Client::new(options(address, name, true)?, to - from + 1);
                for number in from..to {
                    client.publish(topic, qos(level), !retain.is_empty(), format!("m{number}").into_bytes()).await?;
                }
                let mut left = to - from;
                while left > 0 {
                    match next(&mut connection).await {
                        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => left -= 1,
                        Event::Outgoing(rumqttc::Outgoing::Publish(_)) if level == "0" => left -= 1,
                        _ => {}
                    }
                }
                client.disconnect().await?;
                while connection.poll().await.is_ok() {}
                Ok(())
            }

            pub async fn subscribe(address: &str, args: &[&str]) -> Done {
                let [name, pattern, level, count, ref keep @ ..] = *args else { return Err("subscribe: arguments".into()) };
                let mut left: usize = count.parse()?;
                let (client, mut connection) = Client::new(options(address, name, !keep.is_empty())?, 10);
                while left > 0 {
                    match next(&mut connection).await {
                        Event::Incoming(Packet::ConnAck(_)) => client.subscribe(pattern, qos(level)).await?,
                        Event::Incoming(Packet::SubAck(_)) => println!("ready"),
                        Event::Incoming(Packet::Publish($message)) => {
                            let (topic, payload): (String, &[u8]) = $text;
                            let payload = String::from_utf8_lossy(payload).into_owned();
                            println!("{topic} {payload} {} {}", $message.qos as u8, u8::from($message.retain));
                            left -= 1;
                        }
                        _ => {}
                    }
                }
                // What is owed for the last message goes out before the end.
                let flush = async {
                    sleep(Duration::from_millis(200)).await;
                    client.disconnect().await
                };
                tokio::select! {
                    done = flush => done?,
                    () = async { loop { let _ = connection.poll().await; } } => {}
                }
                while connection.poll().await.is_ok() {}
                Ok(())
            }

            pub async fn will(address: &str, args: &[&str]) -> Done {
                let [name, $topic, $payload] = *args else { return Err("will: arguments".into()) };
                let mut options = options(address, name, false)?;
                options.set_last_will($last_will);
                let (_client, mut connection) = Client::new(options, 10);
                loop {
                    if let Event::Incoming(Packet::ConnAck(_)) = next(&mut connection).await {
                        println!("ready");
                    }
                }
            }
        }
    };
}

version!(
    v3,
    rumqttc::AsyncClient,
    rumqttc::MqttOptions,
    rumqttc::LastWill,
    rumqttc::QoS,
    rumqttc::Event,
    rumqttc::Packet,
    rumqttc::EventLoop,
    |options, keep| {
        options.set_clean_session(!keep);
    },
    |topic, payload| LastWill::new(topic, payload, QoS::AtLeastOnce, false),
    |message| (message.topic.clone(), &message.payload)
);

version!(
    v5,
    rumqttc::v5::AsyncClient,
    rumqttc::v5::MqttOptions,
    rumqttc::v5::mqttbytes::v5::LastWill,
    rumqttc::v5::mqttbytes::QoS,
    rumqttc::v5::Event,
    rumqttc::v5::mqttbytes::v5::Packet,
    rumqttc::v5::EventLoop,
    |options, keep| {
        options.set_clean_start(!keep);
        options.set_session_expiry_interval(Some(if keep { u32::MAX } else { 0 }));
    },
    |topic, payload| LastWill::new(topic, payload.to_owned(), QoS::AtLeastOnce, false, None),
    |message| (String::from_utf8_lossy(&message.topic).into_owned(), &message.payload)
);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match *args.as_slice() {
        ["version"] => {
            println!("rumqttc 0.25.1");
            Ok(())
        }
        ["publish", address, "5", ref rest @ ..] => v5::publish(address, rest).await,
        ["publish", address, _, ref rest @ ..] => v3::publish(address, rest).await,
        ["subscribe", address, "5", ref rest @ ..] => v5::subscribe(address, rest).await,
        ["subscribe", address, _, ref rest @ ..] => v3::subscribe(address, rest).await,
        ["will", address, "5", ref rest @ ..] => v5::will(address, rest).await,
        ["will", address, _, ref rest @ ..] => v3::will(address, rest).await,
        _ => Err("version, publish, subscribe or will".into()),
    }
}
