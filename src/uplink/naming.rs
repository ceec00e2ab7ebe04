//! Which local topics are followed, and what each is called upstream.

use std::sync::Arc;

use super::options::UplinkOptions;
use crate::broker::{Follows, validate_name};

/// The choice of topics, as the broker asks for it.
pub(super) fn follows(options: &UplinkOptions) -> Follows {
    let config = options.config.clone();
    Arc::new(move |topic| {
        config.follows(&topic.name) && (!topic.config.forward_named_only || config.names(&topic.name))
    })
}

/// The name upstream.
///
/// # Errors
/// A text that says why the template gives no name that Kafka takes, and what to do.
pub(super) fn upstream_name(options: &UplinkOptions, topic: &str) -> Result<Arc<str>, String> {
    let name = options.config.topic.render(topic, &options.gateway, &options.labels);
    validate_name(&name).map_err(|why| {
        format!("uplink.{}.topic = {:?} gives no usable name: {why}", options.name, options.config.topic.to_string())
    })?;
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostPort, Labels, TopicTemplate, UplinkConfig};

    fn options(template: &str) -> UplinkOptions {
        let mut config = UplinkConfig::to(vec![HostPort { host: "k".into(), port: 1 }]);
        config.topic = TopicTemplate::parse(template).unwrap();
        UplinkOptions {
            name: "c".into(),
            gateway: "gw-1".into(),
            labels: Labels::of([("site", "s1")]),
            config,
            tls: crate::tls::LinkTls::default(),
            about: Arc::default(),
        }
    }

    #[test]
    fn names_follow_the_template_within_kafkas_rule() {
        assert_eq!(&*upstream_name(&options("edge.{gateway}.{topic}"), "temp").unwrap(), "edge.gw-1.temp");
        assert_eq!(&*upstream_name(&options("{label.site}.{topic}"), "temp").unwrap(), "s1.temp");
        let text = upstream_name(&options("{topic}.{topic}"), &"n".repeat(200)).unwrap_err();
        assert!(text.contains("uplink.c.topic") && text.contains("401"), "{text}");
    }
}
