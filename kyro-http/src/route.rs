//! The route table: which paths there are, with which methods, and who may use them.

use hyper::Method;

/// What a caller needs to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: liveness and readiness probes.
    Open,
    /// Nothing, unless `--protect-metrics`: then a token.
    Telemetry,
    /// Any token, where tokens are configured.
    Read,
    /// A token that may write.
    Write,
    /// A token that may administer; work on the whole database.
    Admin,
}

/// The methods that some route answers, each with its bit.
const METHODS: [(&str, u8); 5] = [("GET", 1), ("HEAD", 2), ("PUT", 4), ("POST", 8), ("DELETE", 16)];

/// A method's bit; 0 for one that no route answers.
#[inline]
fn bit(method: &Method) -> u8 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 2,
        Method::PUT => 4,
        Method::POST => 8,
        Method::DELETE => 16,
        _ => 0,
    }
}

/// The bits of the methods in a list such as `GET, HEAD`.
const fn methods_in(list: &str) -> u8 {
    let list = list.as_bytes();
    let (mut bits, mut at) = (0, 0);
    while at < list.len() {
        let mut method = 0;
        while method < METHODS.len() {
            let (name, bit) = METHODS[method];
            if stands_at(list, at, name.as_bytes()) {
                bits |= bit;
                at += name.len();
            }
            method += 1;
        }
        at += 1;
    }
    bits
}

/// Whether this name stands there, whole.
const fn stands_at(list: &[u8], at: usize, name: &[u8]) -> bool {
    let end = at + name.len();
    if end > list.len() || (end < list.len() && list[end] != b',') {
        return false;
    }
    let mut byte = 0;
    while byte < name.len() {
        if list[at + byte] != name[byte] {
            return false;
        }
        byte += 1;
    }
    true
}

macro_rules! routes {
    ($($variant:ident $path:literal $methods:literal $access:ident,)+) => {
        /// A route, by what it does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Route { $(#[doc = $path] $variant,)+ }

        impl Route {
            /// Every route, in the order of the table.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The path, with `{key}` where a key stands. Also the route's name in metrics and logs.
            pub(crate) const fn path(self) -> &'static str {
                match self { $(Self::$variant => $path,)+ }
            }

            /// The methods it answers, as the `Allow` header has them.
            pub(crate) const fn allow(self) -> &'static str {
                match self { $(Self::$variant => $methods,)+ }
            }

            /// As [`allow`](Self::allow), as bits.
            const fn methods(self) -> u8 {
                match self { $(Self::$variant => const { methods_in($methods) },)+ }
            }

            const fn widest_access(self) -> Access {
                match self { $(Self::$variant => Access::$access,)+ }
            }

            fn fixed(path: &str) -> Option<Self> {
                match path { $($path => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

routes! {
    Put        "/v1/put"               "POST"                   Write,
    LookupFast "/v1/lookup_fast/{key}" "GET, HEAD"              Read,
    GetFast    "/v1/get_fast/{key}"    "GET, HEAD"              Read,
    Kv         "/v1/kv/{key}"          "GET, HEAD, PUT, DELETE" Write,
    Lookup     "/v1/lookup"            "GET, HEAD"              Read,
    LookupRaw  "/v1/lookup_raw"        "GET, HEAD"              Read,
    Append     "/v1/append"            "POST"                   Write,
    Batch      "/v1/batch"             "POST"                   Write,
    Mget       "/v1/mget"              "POST"                   Read,
    Scan       "/v1/scan"              "GET"                    Read,
    Count      "/v1/count"             "GET, HEAD"              Read,
    Select     "/v1/select"            "GET, HEAD"              Read,
    Range      "/v1/range"             "DELETE"                 Write,
    Load       "/v1/load"              "POST"                   Write,
    Replay     "/v1/replay"            "GET, POST"              Read,
    Subscribe  "/v1/subscribe"         "GET"                    Read,
    Changes    "/v1/changes"           "GET"                    Read,
    RmiBuild   "/v1/rmi/build"         "POST"                   Admin,
    Warmup     "/v1/warmup"            "POST"                   Admin,
    Snapshot   "/v1/snapshot"          "POST"                   Admin,
    Compact    "/v1/compact"           "POST"                   Admin,
    Backup     "/v1/backup"            "POST"                   Admin,
    Push       "/v1/push"              "POST"                   Admin,
    Versions   "/v1/versions"          "GET, HEAD"              Read,
    Version    "/v1/versions/{id}"     "DELETE"                 Admin,
    Rollback   "/v1/rollback"          "POST"                   Admin,
    Tasks      "/v1/tasks"             "GET, HEAD"              Read,
    Task       "/v1/tasks/{id}"        "GET, HEAD, DELETE"      Admin,
    Stats      "/v1/stats"             "GET, HEAD"              Read,
    Index      "/v1/index"             "GET, HEAD"              Read,
    Offset     "/v1/offset"            "GET, HEAD"              Read,
    Health     "/health"               "GET, HEAD"              Open,
    Livez      "/livez"                "GET, HEAD"              Open,
    Readyz     "/readyz"               "GET, HEAD"              Open,
    Metrics    "/metrics"              "GET, HEAD"              Telemetry,
    BuildInfo  "/build_info"           "GET, HEAD"              Telemetry,
    Openapi    "/openapi.yaml"         "GET, HEAD"              Telemetry,
    Ui         "/ui"                   "GET, HEAD"              Open,
}

impl Route {
    /// Who may use the route with this method. Reading what a route shows never takes more than a token that may read.
    pub(crate) fn access(self, method: &Method) -> Access {
        match self.widest_access() {
            Access::Write | Access::Admin if [Method::GET, Method::HEAD].contains(method) => Access::Read,
            access => access,
        }
    }

    /// The route of a path and the text where its key or number stands; `None` where there is no such path.
    pub(crate) fn find(path: &str) -> Option<(Self, &str)> {
        let keyed = |prefix, route| {
            let key: &str = path.strip_prefix(prefix)?;
            (!key.is_empty() && !key.contains('/')).then_some((route, key))
        };
        keyed("/v1/get_fast/", Self::GetFast)
            .or_else(|| keyed("/v1/kv/", Self::Kv))
            .or_else(|| keyed("/v1/lookup_fast/", Self::LookupFast))
            .or_else(|| keyed("/v1/tasks/", Self::Task))
            .or_else(|| keyed("/v1/versions/", Self::Version))
            .or_else(|| Self::fixed(path).map(|route| (route, "")))
    }

    /// Whether a request reads the value, or the offset, of one key.
    #[inline]
    pub(crate) fn reads_one_key(self, method: &Method) -> bool {
        match self {
            Self::GetFast | Self::LookupFast | Self::Lookup | Self::LookupRaw => true,
            Self::Kv => *method == Method::GET || *method == Method::HEAD,
            _ => false,
        }
    }

    /// Whether the route answers this method.
    pub(crate) fn allows(self, method: &Method) -> bool {
        self.methods() & bit(method) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes_and_to_no_other() {
        for route in Route::ALL {
            let path = route.path().replace("{key}", "42").replace("{id}", "42");
            let (found, key) = Route::find(&path).unwrap();
            assert_eq!(found, *route);
            assert_eq!(key, if route.path().ends_with('}') { "42" } else { "" });
            assert_eq!(Route::find(&format!("{path}/")), None, "{path}/");
            assert_eq!(Route::find(&format!("/x{path}")), None);
        }
        for path in [
            "",
            "/",
            "/v1",
            "/v1/",
            "/v1/get_fast",
            "/v1/get_fast/",
            "/v1/get_fast/1/2",
            "/V1/put",
            "//v1/put",
        ] {
            assert_eq!(Route::find(path), None, "{path:?}");
        }
    }

    #[test]
    fn reading_takes_a_token_that_may_read_and_no_more() {
        assert_eq!(Route::Kv.access(&Method::GET), Access::Read);
        assert_eq!(Route::Kv.access(&Method::PUT), Access::Write);
        assert_eq!(Route::Task.access(&Method::HEAD), Access::Read);
        assert_eq!(Route::Task.access(&Method::DELETE), Access::Admin);
        assert_eq!(Route::Metrics.access(&Method::GET), Access::Telemetry);
    }

    #[test]
    fn methods_are_matched_whole() {
        assert!(Route::Put.allows(&Method::POST) && !Route::Put.allows(&Method::GET));
        assert!(Route::Replay.allows(&Method::GET) && Route::Replay.allows(&Method::POST));
        assert!(!Route::Replay.allows(&Method::from_bytes(b"GE").unwrap()));
        for route in Route::ALL {
            for (name, bit) in METHODS {
                let method = Method::from_bytes(name.as_bytes()).unwrap();
                assert_eq!(super::bit(&method), bit);
                let listed = route.allow().split(", ").any(|allowed| allowed == name);
                assert_eq!(route.allows(&method), listed, "{route:?} {name}");
            }
        }
    }

    #[test]
    fn the_documentation_lists_every_route() {
        let docs = include_str!("../../docs/http.md");
        for route in Route::ALL {
            assert!(docs.contains(&format!("`{}`", route.path())), "docs/http.md lacks {}", route.path());
        }
    }
}
