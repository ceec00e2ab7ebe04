//! The page: one file, kept compressed, as nearly every browser takes it so.
//!
//! `page.html` is what people edit; `page.html.gz` is what is in the binary. A test holds one against the other and says how to renew it.

use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use ring::digest::{SHA256, digest};

use crate::base64;

static ZIPPED: &[u8] = include_bytes!("../../web/page.html.gz");

/// What a browser may do for the page: run its script, use its styles, ask this gateway. Names from outside that became code, by whatever
/// mistake, would do nothing.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let page = unzipped();
    let (script, style) = (hash(&page, "script"), hash(&page, "style"));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'"
    )
});

/// The page, for a browser that takes gzip or one that doesn't.
pub(super) fn page(is_zipped: bool) -> Vec<u8> {
    if is_zipped { ZIPPED.to_vec() } else { unzipped().into_bytes() }
}

/// What asks for the token.
pub(super) fn asking(why: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta name=color-scheme content=\"light dark\"><title>Brooklet</title><h1>Brooklet</h1><p>This gateway shows how it is to \
         whoever has its token (listen.http.token_file): {}.<form action=/><label>Token <input name=token type=password \
         autocomplete=current-password autofocus></label> <button>Show</button></form></html>",
        escaped(why)
    )
}

fn unzipped() -> String {
    let mut page = String::new();
    // A test reads the same.
    let _ = GzDecoder::new(ZIPPED).read_to_string(&mut page);
    page
}

/// The source expression of what stands in the page's only element of that name (CSP level 2, section 4.2.4).
fn hash(page: &str, element: &str) -> String {
    let begin = format!("<{element}>");
    let inside = page.split_once(&begin).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    let inside = inside.map_or("", |(inside, _)| inside);
    format!("'sha256-{}'", base64::encode(digest(&SHA256, inside.as_bytes()).as_ref()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = include_str!("../../web/page.html");

    #[test]
    fn what_is_served_is_what_people_edit() {
        assert!(unzipped() == SOURCE, "renew it: gzip -9nk --force src/web/page.html");
        assert!(SOURCE.len() <= 30_000, "{} bytes are too much for a thin link and the binary", SOURCE.len());
        assert_eq!(page(true), ZIPPED);
        assert_eq!(page(false), SOURCE.as_bytes());
    }

    /// Nothing comes from elsewhere, nothing that was told becomes markup, and the policy lets the page's own parts through.
    #[test]
    fn the_page_is_whole_and_careful() {
        for wrong in [
            "http://",
            "https://",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            " onclick=",
            "@import",
        ] {
            assert!(!SOURCE.contains(wrong), "{wrong}");
        }
        assert_eq!((SOURCE.matches("<script").count(), SOURCE.matches("<style").count()), (1, 1));
        assert!(POLICY.contains("script-src 'sha256-") && POLICY.matches('=').count() >= 2, "{}", *POLICY);
        assert_ne!(hash(SOURCE, "script"), hash(SOURCE, "style"));
        assert!(asking("<b>").contains("&lt;b>"));
    }
}
