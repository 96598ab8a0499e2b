//! The server that a load goes to: `http://HOST:PORT`.

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `HOST:PORT`, as it is connected to and sent in the Host header.
    pub(crate) authority: String,
}

/// Why an address cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("--url must be http://HOST:PORT, without a path, query or user name")]
    NotHttp,
    #[error(
        "--url: https is not spoken here; put a proxy that ends TLS on this machine and use its http address"
    )]
    Https,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        if url.starts_with("https://") {
            return Err(TargetError::Https);
        }
        let rest = url.strip_prefix("http://").ok_or(TargetError::NotHttp)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
        if authority.is_empty() || !authority.chars().all(plain) {
            return Err(TargetError::NotHttp);
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && balanced(host)
        });
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority })
    }
}

/// `[::1]` is whole, `[::1` (of `[::1]`, split at its last colon) is not.
fn balanced(host: &str) -> bool {
    host.starts_with('[') == host.ends_with(']') && (host.starts_with('[') || !host.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for (url, authority) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:8080/", "localhost:8080"),
            ("http://db.example", "db.example:80"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(Target::parse(url).map(|target| target.authority).as_deref(), Ok(authority), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:8080",
            "http://",
            "http:///",
            "http://a/b",
            "http://u@h:1",
            "http://h:1?x",
            "ftp://h",
        ] {
            assert_eq!(Target::parse(url), Err(TargetError::NotHttp), "{url}");
        }
        assert_eq!(Target::parse("https://h:1"), Err(TargetError::Https));
    }
}
