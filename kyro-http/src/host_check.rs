//! The Host header check of a server that has no token: a web page in the user's browser may reach a loopback
//! address under a name of its own (DNS rebinding), but it cannot make the browser send a Host that names loopback.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap};

/// Whether a request's target and Host header name this machine. A request without any Host (HTTP/1.0) comes from
/// no browser and passes.
pub(crate) fn names_loopback(headers: &HeaderMap, target_host: Option<&str>) -> bool {
    // Nearly every request: Host comes first, no name comes twice, and the target is a path.
    if let Some((name, host)) = headers.iter().next()
        && *name == HOST
        && headers.len() == headers.keys_len()
        && target_host.is_none()
        && is_usual(host.as_bytes())
    {
        return true;
    }
    // Where no name stands twice, neither does Host.
    let repeated = headers.len() > headers.keys_len() && headers.get_all(HOST).iter().nth(1).is_some();
    let header_fits = match headers.get(HOST) {
        None => true,
        Some(_) if repeated => false,
        Some(host) => is_usual(host.as_bytes()) || host.to_str().is_ok_and(is_loopback),
    };
    header_fits && target_host.is_none_or(is_loopback)
}

/// What nearly every request says; everything else is parsed.
fn is_usual(host: &[u8]) -> bool {
    let port = host.strip_prefix(b"127.0.0.1").or_else(|| host.strip_prefix(b"localhost"));
    match port {
        Some([]) => true,
        Some([b':', digits @ ..]) => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_loopback(authority: &str) -> bool {
    let name = without_port(authority);
    // Brackets come as a pair, or the name is malformed.
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || bracketed.unwrap_or(name).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        names_loopback(&headers, None)
    }

    #[test]
    fn only_names_of_this_machine_fit() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.8.9.10:1",
            "[::1]:8080",
            "[::1]",
            "::1",
        ] {
            assert!(fits(host), "{host}");
        }
        for host in [
            "",
            ":8080",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.0.7:8080",
            "[::2]:8080",
            "127.0.0.1:80:80",
            "localhost:http",
            "127.1",
            "0::01]",
            "[[::1]]",
        ] {
            assert!(!fits(host), "{host}");
        }
    }

    #[test]
    fn every_name_given_must_fit() {
        let mut headers = HeaderMap::new();
        assert!(names_loopback(&headers, None));
        assert!(!names_loopback(&headers, Some("evil.example")));
        headers.insert(HOST, "localhost".parse().unwrap());
        assert!(names_loopback(&headers, Some("127.0.0.1:8080")));
        assert!(!names_loopback(&headers, Some("evil.example")));
        headers.append(HOST, "localhost".parse().unwrap());
        assert!(!names_loopback(&headers, None), "two Host headers");
    }
}
