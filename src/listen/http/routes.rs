//! What a path answers.
//!
//! `/healthz` and `/readyz` are for whoever restarts or routes: they say yes or no to everybody, and why to who may read.

use super::door::{COOKIE, Verdict};
use super::{Context, page};
use crate::http::{Head, answer, target};
use crate::listen::arrival::Arrival;

const TEXT: &str = "text/plain; charset=utf-8";
/// The text format of Prometheus.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const PLACES: &str = "there are /, /metrics, /status.json, /events, /healthz and /readyz\n";

/// An answer.
pub(super) enum Answer {
    Whole(Whole),
    /// The status as it changes, until the connection ends.
    Events,
}

/// An answer that is complete.
pub(super) struct Whole {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    /// Fields of its own.
    more: Vec<(&'static str, String)>,
    is_zipped: bool,
    /// No request is read after it.
    pub(super) is_last: bool,
}

impl Whole {
    fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, kind, body: body.into(), more: Vec::new(), is_zipped: false, is_last: false }
    }

    /// Says why a request is not answered.
    pub(super) fn refusal(status: u16, why: &str) -> Self {
        Self { is_last: true, ..Self::new(status, TEXT, format!("{why}\n")) }
    }

    /// As it goes over the wire; of HEAD the head only.
    pub(super) fn encode(&self, is_head: bool, keeps: bool) -> Vec<u8> {
        let length = self.body.len().to_string();
        let mut fields = security(&page::POLICY);
        fields.extend([("Content-Type", self.kind), ("Content-Length", length.as_str())]);
        if self.is_zipped {
            fields.extend([("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]);
        }
        fields.extend(self.more.iter().map(|(name, value)| (*name, value.as_str())));
        fields.push(("Connection", if keeps && !self.is_last { "keep-alive" } else { "close" }));
        let mut out = answer::head(self.status, &fields).into_bytes();
        if !is_head {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// What stands over every answer.
pub(super) fn security(policy: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cache-Control", "no-store"),
    ]
}

/// Whether the answer grows with what there is.
pub(super) fn is_large(head: &Head<'_>) -> bool {
    matches!(target::path(head.target), "/metrics" | "/status.json")
}

/// Answers a request.
pub(super) fn answer(context: &Context, arrival: &Arrival, head: &Head<'_>) -> Answer {
    Answer::Whole(match whole(context, arrival, head) {
        Some(whole) => whole,
        None => return Answer::Events,
    })
}

/// `None`: events.
fn whole(context: &Context, arrival: &Arrival, head: &Head<'_>) -> Option<Whole> {
    if !matches!(head.method, "GET" | "HEAD") {
        let mut refusal = Whole::refusal(405, "nothing can be changed here: GET and HEAD only");
        refusal.more.push(("Allow", "GET, HEAD".to_owned()));
        return Some(refusal);
    }
    if head.has_body() {
        return Some(Whole::refusal(413, "no body is taken"));
    }
    let path = target::path(head.target);
    let verdict = context.doorkeeper.get().judge(arrival, head);
    let probe = match path {
        "/healthz" => Some(context.view.health()),
        "/readyz" => Some(context.view.readiness()),
        _ => None,
    };
    if let Some(outcome) = probe {
        let tells = !matches!(verdict, Verdict::Refused(..));
        return Some(match outcome {
            Ok(()) => Whole::new(200, TEXT, "ok\n"),
            Err(why) if tells => Whole::new(503, TEXT, format!("{why}\n")),
            Err(_) => Whole::new(503, TEXT, "no\n"),
        });
    }
    match verdict {
        Verdict::Cookie(cookie) if path == "/" => return Some(with_cookie(&cookie, arrival.is_tls)),
        Verdict::Read | Verdict::Cookie(_) => {}
        Verdict::Refused(status, why) => {
            let mut refusal = match (status, path) {
                (401, "/") => Whole::new(401, HTML, page::asking(&why)),
                _ => Whole::new(status, TEXT, format!("{why}\n")),
            };
            if status == 401 {
                refusal.more.push(("WWW-Authenticate", "Bearer".to_owned()));
            }
            return Some(refusal);
        }
    }
    Some(match path {
        "/" => {
            let is_zipped = head.has_token("accept-encoding", "gzip");
            Whole { is_zipped, ..Whole::new(200, HTML, page::page(is_zipped)) }
        }
        "/metrics" => Whole::new(200, EXPOSITION, context.view.metrics()),
        "/status.json" => Whole::new(200, JSON, context.view.status_json()),
        "/events" if head.method == "GET" => return None,
        _ => Whole::new(404, TEXT, PLACES),
    })
}

/// Sends a browser on without the token in its address. Lax: a link from elsewhere may lead here.
fn with_cookie(cookie: &str, is_tls: bool) -> Whole {
    let secure = if is_tls { "; Secure" } else { "" };
    let value = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax{secure}");
    let more = vec![("Location", "/".to_owned()), ("Set-Cookie", value)];
    Whole { more, ..Whole::new(303, TEXT, "") }
}
