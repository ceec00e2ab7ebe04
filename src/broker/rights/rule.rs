//! One rule: who, from where, may or may not do what to what. And filters that choose rules.

use std::fmt;
use std::net::IpAddr;

use super::model::{CLUSTER, Operation, ResourceKind};
use crate::broker::caller::Principal;
use crate::limits;

/// What stands for everyone and everything.
pub const ANY: &str = "*";

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// `User:*`.
    Everyone,
    One(Principal),
}

impl Who {
    /// As Kafka writes it: `User:NAME` or `User:*`.
    ///
    /// # Errors
    /// A text that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "User:*" { Ok(Self::Everyone) } else { Principal::parse(text).map(Self::One) }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("User:*"),
            Self::One(principal) => principal.fmt(f),
        }
    }
}

/// From where a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    Anywhere,
    Host(IpAddr),
}

impl Origin {
    /// An address, or `*`.
    ///
    /// # Errors
    /// A text: names are not resolved, as a rule must not change with them.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == ANY {
            return Ok(Self::Anywhere);
        }
        let address: Result<IpAddr, _> = text.parse();
        address.map(|ip| Self::Host(ip.to_canonical())).map_err(|_| format!("{text:?} is no host: an IP address, or *"))
    }

    /// Whether it holds at `host`.
    pub(super) fn is_at(self, host: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Host(address) => address == host,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anywhere => f.write_str(ANY),
            Self::Host(address) => address.fmt(f),
        }
    }
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// Every operation.
    All,
    One(Operation),
}

impl What {
    /// Its name, as Kafka's tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::One(operation) => operation.name(),
        }
    }
}

/// The things that a rule is about, of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// All of them: the literal name `*`.
    Any,
    /// The one of this name.
    Literal(String),
    /// Those whose names begin so.
    Prefixed(String),
}

impl Pattern {
    /// What it names.
    pub fn name(&self) -> &str {
        match self {
            Self::Any => ANY,
            Self::Literal(name) | Self::Prefixed(name) => name,
        }
    }

    /// Whether it is one of [`Pattern::Prefixed`].
    pub fn is_prefixed(&self) -> bool {
        matches!(self, Self::Prefixed(_))
    }

    /// A literal name (`*` is any), or a prefix.
    pub fn new(name: &str, prefixed: bool) -> Self {
        match (name, prefixed) {
            (name, true) => Self::Prefixed(name.to_owned()),
            (ANY, false) => Self::Any,
            (name, false) => Self::Literal(name.to_owned()),
        }
    }

    /// Whether it is about the thing of that name.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(literal) => literal == name,
            Self::Prefixed(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    pub kind: ResourceKind,
    pub pattern: Pattern,
    pub who: Who,
    pub from: Origin,
    pub what: What,
    /// Else it denies.
    pub allows: bool,
}

impl Rule {
    /// Whether it may be kept.
    ///
    /// # Errors
    /// A text that names what is wrong, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let name = self.pattern.name();
        let max = limits::ACL_NAME_BYTES_MAX;
        if name.is_empty() || name.len() > max {
            return Err(format!("the name of a resource has 1 to {max} bytes"));
        }
        if self.kind == ResourceKind::Cluster && (name != CLUSTER || self.pattern.is_prefixed()) {
            return Err(format!("the only resource of the type Cluster is literally {CLUSTER:?}"));
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allows = if self.allows { "allow" } else { "deny" };
        let (kind, name, what) = (self.kind, self.pattern.name(), self.what.name());
        let prefixed = if self.pattern.is_prefixed() { " (prefix)" } else { "" };
        write!(f, "{allows} {} from {}: {what} on {kind} {name:?}{prefixed}", self.who, self.from)
    }
}

/// Which patterns a filter wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternFilter {
    /// Those of the name, whatever their type.
    Any,
    /// Those that are about the thing of the name.
    Match,
    Literal,
    Prefixed,
}

/// Chooses rules; what is `None` may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFilter {
    pub kind: Option<ResourceKind>,
    pub name: Option<String>,
    pub patterns: PatternFilter,
    pub who: Option<Who>,
    pub from: Option<Origin>,
    pub what: Option<What>,
    pub allows: Option<bool>,
}

impl RuleFilter {
    /// All rules.
    pub const ALL: Self =
        Self { kind: None, name: None, patterns: PatternFilter::Any, who: None, from: None, what: None, allows: None };

    /// Whether it chooses `rule`.
    pub fn chooses(&self, rule: &Rule) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, got: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == got)
        }
        let name = self.name.as_deref();
        let same_name = name.is_none_or(|name| name == rule.pattern.name());
        let pattern = match self.patterns {
            PatternFilter::Any => same_name,
            PatternFilter::Literal => same_name && !rule.pattern.is_prefixed(),
            PatternFilter::Prefixed => same_name && rule.pattern.is_prefixed(),
            PatternFilter::Match => name.is_none_or(|name| rule.pattern.covers(name)),
        };
        pattern
            && is(self.kind.as_ref(), &rule.kind)
            && is(self.who.as_ref(), &rule.who)
            && is(self.from.as_ref(), &rule.from)
            && is(self.what.as_ref(), &rule.what)
            && is(self.allows.as_ref(), &rule.allows)
    }
}
