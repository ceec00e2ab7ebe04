//! The gateway's status as Prometheus reads it: the text format, version 0.0.4.
//!
//! One table (`families`) says what there is; from it come the exposition and the list in METRICS.md, which a test holds against it.
//!
//! Invariants: pure; every sample bears the gateway's id; names from outside are escaped; the number of topics told one by one is bounded.

mod families;
mod links;
mod logs;

use std::collections::BTreeMap;

use super::status::GatewayStatus;
use families::FAMILIES;

/// Topics that are told one by one, the first by name; all others are one, called [`OTHERS`].
const TOPICS_MAX: usize = 200;
/// No topic can be called so.
const OTHERS: &str = "(others)";

/// What Prometheus does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Only grows, but for a restart.
    Counter,
    Gauge,
}

/// A metric: one name, one meaning.
struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    source: Source,
}

/// Where its samples come from.
enum Source {
    /// One figure of [`crate::metrics`].
    One(&'static str),
    /// Some of them, told apart by a label: its name; values with the figures' names.
    By(&'static str, &'static [(&'static str, &'static str)]),
    /// The rest of the status; the labels are told in METRICS.md.
    #[cfg_attr(not(test), expect(dead_code, reason = "what is documented is read by the test that holds the document"))]
    Of(&'static [&'static str], fn(&GatewayStatus, &mut Samples<'_>)),
}

/// The exposition of a status.
#[must_use]
pub(super) fn text(status: &GatewayStatus) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in FAMILIES {
        let mut samples = Samples { name: family.name, gateway: &status.gateway, out: String::new() };
        family.fill(status, &mut samples);
        if samples.out.is_empty() {
            continue;
        }
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        out.push_str(&format!("# HELP {} {}\n# TYPE {0} {kind}\n", family.name, escaped(family.help, false)));
        out.push_str(&samples.out);
    }
    out
}

impl Family {
    fn fill(&self, status: &GatewayStatus, samples: &mut Samples<'_>) {
        let counted = |figure: &str| status.metrics.get(figure).map(|value| *value as f64);
        match &self.source {
            Source::One(figure) => samples.maybe(&[], counted(figure)),
            Source::By(label, figures) => {
                figures.iter().for_each(|(value, figure)| samples.maybe(&[(label, value)], counted(figure)));
            }
            Source::Of(_, fill) => fill(status, samples),
        }
    }
}

/// The samples of one family.
struct Samples<'a> {
    name: &'static str,
    gateway: &'a str,
    out: String,
}

impl Samples<'_> {
    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(&format!("{}{{gateway=\"{}\"", self.name, escaped(self.gateway, true)));
        for (name, text) in labels {
            self.out.push_str(&format!(",{name}=\"{}\"", escaped(text, true)));
        }
        self.out.push_str(&format!("}} {value}\n"));
    }

    /// What is not known has no sample.
    fn maybe(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.add(labels, value);
        }
    }
}

/// As the format wants it: backslash, line feed, and in labels the quote.
fn escaped(text: &str, is_label: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if is_label => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

/// Sums by a label, in the label's order.
fn sums<'a>(pairs: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<&'a str, u64> {
    let mut sums = BTreeMap::new();
    for (label, value) in pairs {
        *sums.entry(label).or_default() += value;
    }
    sums
}

#[cfg(test)]
mod tests;
