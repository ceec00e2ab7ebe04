//! The phases of the demo, one after the other.

use std::time::{Duration, Instant};

use super::DemoArgs;
use super::centre::{Arrival, Centre};
use super::devices::{Devices, Publishing};
use super::ledger::Ledger;
use super::relay::Link;
use super::view::{Figures, View};
use crate::cli::error::CliError;
use crate::cli::nodes::{Node, Scratch};
use crate::cli::term::{human_count, human_duration};
use crate::client::Connection;
use crate::config::HostPort;
use crate::executor;
use crate::gateway::status::GatewayStatus;
use crate::shutdown::Shutdown;

/// Name of the uplink.
const UPLINK: &str = "centre";
/// How often the figures are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long devices may wait for their last acknowledgements.
const FLUSH_MAX: Duration = Duration::from_secs(30);
/// How long the gateway may take to forward what waits.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// How long the killed gateway stays down, at most.
const DOWN_MAX: Duration = Duration::from_secs(2);

/// When a phase ends, in percent of the time that devices publish.
const LINK_CUT_AT: u32 = 20;
const FIRST_KILL_AT: u32 = 35;
const LINK_RESTORED_AT: u32 = 60;
const SECOND_KILL_AT: u32 = 78;

/// Everything on stage.
struct Stage<'a> {
    args: &'a DemoArgs,
    topic: String,
    gateway: Node,
    /// The second Brooklet; `None` with a Kafka of the user's.
    second: Option<Node>,
    link: Link,
    link_cut: bool,
    centre: Centre,
    view: View,
    /// Since when devices publish.
    begun: Instant,
}

/// Plays the whole demo; `stop` ends it early.
///
/// # Errors
/// [`CliError::FailedAsShown`] when something acknowledged did not arrive, else what went wrong.
pub(super) async fn play(args: &DemoArgs, scratch: &Scratch, stop: &Shutdown) -> Result<(), CliError> {
    let interrupted = || CliError::Failed("interrupted; all processes of the demo are ended".to_owned());
    let played = stop.unless(Box::pin(run(args, scratch))).await.ok_or_else(interrupted)?;
    let (mut stage, devices, outcome) = played?;
    if args.keep {
        stage.tell_what_to_try()?;
        // A reading a second and device, so that there is something to see.
        let publishing = devices.publish(&stage.topic, Duration::from_secs(1))?;
        stop.wait().await;
        stage.view.lines("\nEnding.\n")?;
        publishing.stop().await?;
    }
    outcome
}

/// From the first process to the ledger; everything still runs at the end.
async fn run<'a>(
    args: &'a DemoArgs,
    scratch: &Scratch,
) -> Result<(Stage<'a>, Devices, Result<(), CliError>), CliError> {
    let mut stage = Stage::set(args, scratch).await?;
    let devices = Devices::connect(&stage.gateway.native(), args.devices).await?;
    stage.begun = Instant::now();
    let publishing = devices.publish(&stage.topic, Duration::from_secs(1) / args.rate)?;
    stage.act(&devices, publishing).await?;
    let outcome = stage.settle_up(&devices).await?;
    Ok((stage, devices, outcome))
}

impl<'a> Stage<'a> {
    /// Starts the processes.
    async fn set(args: &'a DemoArgs, scratch: &Scratch) -> Result<Stage<'a>, CliError> {
        let mut view = View::new();
        let link = Link::default();
        let (second, upstream, relay, topic) = match &args.upstream {
            None => {
                let mut second = Node::new("centre", scratch)?;
                second.configure("gateway.id = \"demo-centre\"\nstore.max_bytes = \"64MiB\"\n")?;
                let time = second.start().await?;
                let (native, kafka) = (second.native_addr(), second.kafka());
                view.say(&format!(
                    "a Brooklet as the centre, native protocol on {native} (up in {})",
                    human_duration(time)
                ))?;
                let relay = link.plain_relay_to(native).await;
                let upstream = HostPort { host: kafka.ip().to_string(), port: kafka.port() };
                (Some(second), upstream, relay, "telemetry".to_owned())
            }
            Some(kafka) => {
                // A name of its own: what earlier runs have left there must not count.
                let topic = format!("brooklet-demo-{:08x}", fastrand::u32(..));
                view.say(&format!("the centre is the Kafka at {kafka}, topic {topic}"))?;
                let relay = link.relay_to(kafka.clone()).await;
                (None, kafka.clone(), relay, topic)
            }
        };
        let relay = relay.map_err(|error| CliError::failed("no free port on 127.0.0.1", error))?;
        let mut gateway = Node::new("gateway", scratch)?;
        gateway.configure(&gateway_config(&relay.to_string(), second.is_none()))?;
        let time = gateway.start().await?;
        view.say(&format!(
            "a Brooklet as the gateway, native protocol on {} (up in {})",
            gateway.native(),
            human_duration(time)
        ))?;
        let centre = Centre::new(upstream);
        let (link_cut, begun) = (false, Instant::now());
        Ok(Stage { args, topic, gateway, second, link, link_cut, centre, view, begun })
    }

    /// What happens while devices publish.
    async fn act(&mut self, devices: &Devices, publishing: Publishing) -> Result<(), CliError> {
        let DemoArgs { devices: count, rate, .. } = self.args;
        self.view.say(&format!(
            "{count} devices send {rate} readings of this machine a second each. The gateway has a reading on flash \
             before it acknowledges it, and forwards it to the centre"
        ))?;
        self.until(LINK_CUT_AT, devices).await?;

        self.link.cut();
        self.link_cut = true;
        self.view.say("The link to the centre is CUT: readings wait on the gateway's flash")?;
        self.until(FIRST_KILL_AT, devices).await?;

        self.kill_and_restart(devices, "while the link is down").await?;
        self.until(LINK_RESTORED_AT, devices).await?;

        self.link.restore();
        self.link_cut = false;
        self.view.say("The link is RESTORED: what waited is forwarded, the newest with it")?;
        self.until(SECOND_KILL_AT, devices).await?;

        self.kill_and_restart(devices, "in the middle of forwarding").await?;
        self.until(100, devices).await?;

        publishing.stop().await?;
        self.view.say("The devices make no more readings; the last ones are acknowledged")?;
        let flushed = self.within(FLUSH_MAX, devices, devices.flush()).await?;
        flushed.ok_or_else(|| CliError::Failed("the devices' last readings are not acknowledged".to_owned()))?
    }

    async fn kill_and_restart(&mut self, devices: &Devices, when: &str) -> Result<(), CliError> {
        self.gateway.kill()?;
        let totals = devices.totals();
        self.view.say(&format!(
            "The gateway is KILLED (SIGKILL) {when}: {} readings acknowledged, {} on their way stay with the devices",
            human_count(totals.acknowledged),
            human_count(totals.made.saturating_sub(totals.acknowledged)),
        ))?;
        let up_again = Instant::now() + DOWN_MAX.min(self.args.duration / 12);
        while Instant::now() < up_again {
            self.look(devices).await?;
            smol::Timer::after(LOOK_EVERY.min(up_again.saturating_duration_since(Instant::now()))).await;
        }
        let time = self.gateway.start().await?;
        self.view
            .say(&format!("The gateway is up again after {}: the devices resume where they were", human_duration(time)))
    }

    /// Lets time pass, up to this share of the time that devices publish.
    async fn until(&mut self, percent: u32, devices: &Devices) -> Result<(), CliError> {
        let end = self.begun + self.args.duration * percent / 100;
        while Instant::now() < end {
            self.look(devices).await?;
            smol::Timer::after(LOOK_EVERY.min(end.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }

    /// Waits for `work`, with the figures in view; `None` when the time is up.
    async fn within<T>(
        &mut self,
        most: Duration,
        devices: &Devices,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, CliError> {
        let end = Instant::now() + most;
        let mut work = std::pin::pin!(work);
        while Instant::now() < end {
            let tick = async {
                smol::Timer::after(LOOK_EVERY).await;
                None
            };
            let done = futures_lite::FutureExt::or(async { Some(work.as_mut().await) }, tick).await;
            if done.is_some() {
                return Ok(done);
            }
            self.look(devices).await?;
        }
        Ok(None)
    }

    /// Looks at the figures and shows them.
    async fn look(&mut self, devices: &Devices) -> Result<(), CliError> {
        let (centre, topic) = (self.centre.clone(), self.topic.clone());
        // A centre that can't be asked at this moment is asked again at the next.
        let at_centre = executor::unblock(move || centre.count(&topic)).await.unwrap_or(0);
        let status = if self.gateway.is_running() { self.status().await } else { None };
        self.view.figures(&Figures {
            totals: devices.totals(),
            waiting: status.map(|status| self.lag(&status)),
            centre: at_centre,
            link_cut: self.link_cut,
            gateway_up: self.gateway.is_running(),
        })
    }

    async fn status(&self) -> Option<GatewayStatus> {
        let mut connection = Connection::open(&self.gateway.native(), "brooklet-demo").await.ok()?;
        GatewayStatus::parse(&connection.status().await.ok()?).ok()
    }

    /// Records that the uplink has still to forward.
    fn lag(&self, status: &GatewayStatus) -> u64 {
        let followers = status.topic(&self.topic).map(|topic| topic.followed_by.as_slice()).unwrap_or_default();
        followers.iter().filter(|follower| follower.uplink == UPLINK).map(|follower| follower.lag_records).sum()
    }

    /// Waits for the last records, reads everything back, compares, and says how it went.
    async fn settle_up(&mut self, devices: &Devices) -> Result<Result<(), CliError>, CliError> {
        let promises = devices.promises();
        let begun = Instant::now();
        let mut ledger;
        loop {
            ledger = Ledger::compare(&promises, &self.read_centre().await?);
            if ledger.missing() == 0 || begun.elapsed() > DRAIN_MAX {
                break;
            }
            self.look(devices).await?;
            smol::Timer::after(LOOK_EVERY).await;
        }
        if ledger.missing() > 0 {
            ledger.find_pending(&self.read_waiting().await?);
        }
        let drained = human_duration(begun.elapsed());
        self.view
            .say(&format!("Everything is read back from the centre and compared, record by record ({drained})"))?;
        self.view.lines(&report(&ledger))?;
        let kept = ledger.missing() == 0 && ledger.out_of_order() == 0 && ledger.duplicates() == 0;
        Ok(if kept { Ok(()) } else { Err(CliError::FailedAsShown) })
    }

    async fn read_centre(&self) -> Result<Vec<Arrival>, CliError> {
        let (centre, topic) = (self.centre.clone(), self.topic.clone());
        let read = executor::unblock(move || centre.read_all(&topic)).await;
        read.map_err(|error| CliError::failed("the centre can't be read back", error))
    }

    /// What lies on the gateway and its uplink has still to forward.
    async fn read_waiting(&self) -> Result<Vec<Arrival>, CliError> {
        let Some(status) = self.status().await else { return Ok(Vec::new()) };
        let kafka = self.gateway.kafka();
        let own = Centre::new(HostPort { host: kafka.ip().to_string(), port: kafka.port() });
        let topic = self.topic.clone();
        let read = executor::unblock(move || own.read_all(&topic)).await;
        let mut waiting = read.map_err(|error| CliError::failed("the gateway can't be read back", error))?;
        let partitions = status.topic(&self.topic).map(|topic| topic.partitions.as_slice()).unwrap_or_default();
        waiting.retain(|record| {
            let partition = usize::try_from(record.partition).ok().and_then(|index| partitions.get(index));
            // Where no uplink follows, everything waits.
            partition.is_some_and(|partition| partition.upstream.is_none_or(|sent| record.offset >= sent))
        });
        Ok(waiting)
    }

    fn tell_what_to_try(&mut self) -> Result<(), CliError> {
        let brooklet =
            std::env::current_exe().map_or_else(|_| "brooklet".to_owned(), |path| path.display().to_string());
        let (topic, native, kafka) = (&self.topic, self.gateway.native(), self.gateway.kafka());
        let data = self.gateway.data_dir();
        let centre = match (&self.second, &self.args.upstream) {
            (Some(second), _) => second.kafka().to_string(),
            (None, Some(upstream)) => upstream.to_string(),
            (None, None) => String::new(),
        };
        let kill = self.gateway.process().map_or_else(String::new, |id| {
            format!("\nThe gateway is process {id}: `kill -9 {id}` loses nothing either, but nobody starts it again.\n")
        });
        let text = format!(
            "\nEverything keeps running, a reading a second and device. Try, in another terminal:\n\n\
             \x20 {brooklet} consume {topic} --broker {native} --follow\n\
             \x20 echo hello | {brooklet} produce {topic} --broker {native}\n\
             \x20 {brooklet} status --data {data}\n\
             \x20 kcat -b {kafka} -L\n\
             \x20 kcat -b {centre} -C -t {topic} -o -5 -f '%k %s\\n'\n\
             {kill}\nCtrl-C here ends it and removes {scratch}.\n",
            data = data.display(),
            scratch = data.parent().unwrap_or(&data).display(),
        );
        self.view.lines(&text)
    }
}

/// Quick to try again, since a person is watching; everything else as by default. A Brooklet at the centre has no transactions.
fn gateway_config(relay: &str, centre_is_kafka: bool) -> String {
    let protocol = if centre_is_kafka { "kafka" } else { "brooklet" };
    format!(
        "gateway.id = \"demo-gateway\"\n\
         store.max_bytes = \"64MiB\"\n\
         [uplink.{UPLINK}]\n\
         bootstrap = [\"{relay}\"]\n\
         protocol = \"{protocol}\"\n\
         create_topics = true\n\
         linger = \"50ms\"\n\
         connect_timeout = \"2s\"\n\
         request_timeout = \"10s\"\n\
         backoff.min = \"100ms\"\n\
         backoff.max = \"1s\"\n"
    )
}

fn report(ledger: &Ledger) -> String {
    let mut text = format!("\n{}\n{}\n\n", ledger.table(), ledger.line());
    for (name, meaning) in [
        ("accepted", "acknowledged to the devices, so on the gateway's flash before"),
        ("delivered", "of those, found at the centre"),
        ("pending", "of those not found, still on the gateway's flash, to be forwarded"),
        ("lost", "of those not found, nowhere"),
        ("duplicates", "found again, though gateway and link were lost in the midst of forwarding: it is exactly once"),
    ] {
        text.push_str(&format!("  {name:<10}  {meaning}\n"));
    }
    if ledger.foreign() > 0 {
        text.push_str(&format!("  {} records at the centre are of no device of this demo\n", ledger.foreign()));
    }
    let verdict = match (ledger.lost(), ledger.pending(), ledger.out_of_order()) {
        (0, 0, 0) if ledger.duplicates() > 0 => {
            "Nothing acknowledged was lost, but some of it arrived twice.".to_owned()
        }
        (0, 0, 0) => {
            "Nothing acknowledged was lost or repeated, and every device's readings arrived in order.".to_owned()
        }
        (0, 0, some) => format!("Nothing was lost, but {some} readings arrived out of their device's order."),
        (0, some, _) => format!("Nothing was lost so far, but {some} readings did not arrive in time."),
        (some, ..) => format!("{some} acknowledged readings were LOST."),
    };
    text.push_str(&format!("\n{verdict}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::ledger::Promise;

    #[test]
    fn the_gateway_of_the_demo_has_a_valid_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, gateway_config("127.0.0.1:9", true)).unwrap();
        let loaded = crate::config::load_file(&file).unwrap();
        assert!(loaded.config.uplinks[UPLINK].create_topics);
    }

    #[test]
    fn the_verdict_follows_the_ledger() {
        let promise = |acknowledged| vec![Promise { device: "a".to_owned(), acknowledged }];
        let arrival = Arrival { partition: 0, offset: 0, value: br#"{"device":"a","n":1}"#.to_vec() };
        let kept = report(&Ledger::compare(&promise(1), std::slice::from_ref(&arrival)));
        assert!(kept.contains("\naccepted=1 delivered=1 pending=0 lost=0 duplicates=0\n"), "{kept}");
        assert!(kept.contains("Nothing acknowledged was lost"), "{kept}");
        let lost = report(&Ledger::compare(&promise(2), &[arrival]));
        assert!(lost.contains("1 acknowledged readings were LOST"), "{lost}");
    }
}
