//! The name that a client's certificate gives it.

use crate::config::{CertificateName, NameSource};
use crate::tls::Names;

/// The first of `rules` that finds a name in a certificate decides.
pub(super) fn name_of(names: &Names, rules: &[CertificateName]) -> Option<String> {
    rules.iter().find_map(|rule| {
        let texts = match rule.source {
            NameSource::Subject => std::slice::from_ref(&names.subject),
            NameSource::CommonName => names.common_name.as_slice(),
            NameSource::Dns => &names.dns,
            NameSource::Email => &names.emails,
            NameSource::Uri => &names.uris,
        };
        texts.iter().find_map(|text| rule.name_in(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_finds_a_name_decides() {
        let names = Names {
            subject: "CN=pump-7,O=plant".to_owned(),
            common_name: Some("pump-7".to_owned()),
            dns: vec!["x.other".to_owned(), "pump-7.devices.example".to_owned()],
            ..Names::default()
        };
        let name = |rules: &[&str]| {
            let rules: Vec<CertificateName> = rules.iter().map(|rule| CertificateName::parse(rule).unwrap()).collect();
            name_of(&names, &rules)
        };
        assert_eq!(name(&["cn"]).as_deref(), Some("pump-7"));
        assert_eq!(name(&["subject"]).as_deref(), Some("CN=pump-7,O=plant"));
        assert_eq!(name(&["email", "dns:*.devices.example"]).as_deref(), Some("pump-7"));
        assert_eq!(name(&["cn:gw-*", "subject:CN=*,O=plant"]).as_deref(), Some("pump-7"));
        assert_eq!(name(&["cn:gw-*", "uri", "dns:*.none"]), None);
    }
}
