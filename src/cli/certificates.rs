//! What the status says of TLS, for people.

use super::when;
use crate::gateway::status::{CertificateFigures, GatewayStatus};
use crate::human::counted;

/// Where TLS is spoken, and a line for each certificate.
pub(super) fn lines(status: &GatewayStatus) -> String {
    let doors = [
        ("native", &status.native_tls),
        ("Kafka", &status.kafka_tls),
        ("MQTT", &status.mqtt_tls),
        ("WebSocket", &status.websocket_tls),
        ("HTTP", &status.http_tls),
    ];
    let doors: Vec<String> = doors.iter().filter_map(|(name, at)| Some(format!("{name} {}", at.as_ref()?))).collect();
    let mut out = String::new();
    if !doors.is_empty() {
        out.push_str(&format!("by TLS       {}\n", doors.join(", ")));
    }
    for figures in status.certificates.iter().filter(|figures| !figures.subject.is_empty()) {
        out.push_str(&format!("certificate  {}\n", line(figures)));
    }
    if !status.certificates.is_empty() && !status.time_trusted {
        out.push_str(
            "             the clock is not trusted: certificates that begin later are taken, and those that have\n             \
             expired when the time was last known are refused\n",
        );
    }
    out
}

/// Whose a certificate is, and for how long it holds.
pub(super) fn line(figures: &CertificateFigures) -> String {
    format!("{}: {}, {}", figures.of, figures.subject, validity(figures))
}

fn validity(figures: &CertificateFigures) -> String {
    let until = figures.not_after_ms.map_or_else(String::new, when::format_time);
    match figures.days_left {
        Some(0) => format!("until {until} (within a day)"),
        Some(days) if days > 0 => format!("until {until} ({})", counted(days.unsigned_abs(), "day")),
        _ => format!("expired {until}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_failures_are_told() {
        let figures = |days: i64| CertificateFigures {
            of: "listen.kafka.tls".to_owned(),
            subject: "CN=gw-7".to_owned(),
            not_after_ms: Some(1_795_291_200_000),
            days_left: Some(days),
            expired: days < 0,
            expires_soon: days < 30,
            ..CertificateFigures::default()
        };
        let failed = CertificateFigures { failure: Some("key.pem: no such file".to_owned()), ..figures(31) };
        let status = GatewayStatus {
            kafka_tls: Some("0.0.0.0:9093".to_owned()),
            certificates: vec![figures(31), figures(29), figures(-1), failed],
            ..GatewayStatus::default()
        };
        let said = lines(&status);
        assert!(said.contains("by TLS       Kafka 0.0.0.0:9093\n"), "{said}");
        assert!(said.contains("listen.kafka.tls: CN=gw-7, until 2026-11-21") && said.contains("(31 days)"), "{said}");
        assert!(said.contains("expired 2026-11-21") && said.contains("the clock is not trusted"), "{said}");
        assert!(line(&figures(0)).ends_with("(within a day)") && line(&figures(1)).ends_with("(1 day)"));
        let problems = crate::gateway::problems::certificates(&status.certificates);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("in 29 days") && problems[1].contains("has expired"));
        assert!(problems[2].contains("no such file; what was read before"));
    }
}
