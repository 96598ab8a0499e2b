//! `/ui`: one page with everything in it, made once. It holds no data: it asks the other routes, with the token that its
//! user gives it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use sha2::{Digest, Sha256};

use crate::answer::{self, Answer};
use crate::fields::Query;

const STYLE: &str = include_str!("ui/page.css");
const SCRIPT: &str = include_str!("ui/page.js");
const FRAME: &str = include_str!("ui/page.html");

/// The page and the policy under which a browser may show it.
struct Page {
    html: Bytes,
    policy: HeaderValue,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let html = FRAME.replacen("/*STYLE*/", STYLE, 1).replacen("/*SCRIPT*/", SCRIPT, 1);
    // Only the page's own style and script, by their digests; only this server is asked for anything.
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE)
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    Page { html: Bytes::from(html), policy }
});

fn digest(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// `GET /ui`
pub(crate) fn get(query: Option<&str>) -> Answer {
    Query::parse(query, &[])?;
    let mut response = answer::with_type("text/html; charset=utf-8", PAGE.html.clone());
    let fixed: [(HeaderName, &str); 4] = [
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_whole_and_asks_nobody_else() {
        let html = std::str::from_utf8(&PAGE.html).unwrap();
        assert!(html.len() < 60 << 10, "{} bytes", html.len());
        assert!(!html.contains("/*STYLE*/") && !html.contains("/*SCRIPT*/"));
        let addresses: Vec<&str> = html.match_indices("://").map(|(at, _)| &html[at - 5..at + 20]).collect();
        assert!(
            addresses.iter().all(|address| address.contains("www.w3.org/2000")),
            "the name of SVG is no address: {addresses:?}"
        );
        // What the policy would refuse, a browser does not do: no style in attributes, no handlers in attributes.
        assert!(!html.contains(" style=") && !html.contains(" onclick="));
    }

    #[test]
    fn the_policy_names_the_very_script_and_style() {
        let policy = PAGE.policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(policy.contains(&digest(SCRIPT)) && policy.contains(&digest(STYLE)));
        assert!(!policy.contains("unsafe"));
    }
}
