//! Bearer tokens: where they come from, and whether a request carries one. They are kept as digests only.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::route::Access;

/// What the holder of a token may do; each role may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Read.
    Read,
    /// Write keys and events.
    Write,
    /// Start and stop work on the whole database.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// What a token must be able to do to use routes of this kind.
    const fn needed_for(access: Access) -> Self {
        match access {
            Access::Open | Access::Telemetry | Access::Read => Self::Read,
            Access::Write => Self::Write,
            Access::Admin => Self::Admin,
        }
    }

    /// What it adds, for the message of a refusal.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "administer",
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No token, or one that nobody configured.
    Unauthorized,
    /// A valid token that may not do this: it takes one of this role.
    Forbidden(Role),
}

/// Why the configured tokens cannot be used. No variant carries a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{origin} holds an empty token; leave it out to serve without one, or name a real token")]
    Empty { origin: String },
    #[error(
        "{origin} holds a token with a space or an unprintable character, which no Authorization header can carry"
    )]
    Unprintable { origin: String },
    #[error("{} holds no token; put one on a line of its own", .path.display())]
    NoneInFile { path: PathBuf },
    #[error("{} can be read by others (mode {mode:04o}); run: chmod 600 {}", .path.display(), .path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("cannot read the token file {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The tokens of a server. Without any, every route is open.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    digests: Vec<([u8; 32], Role)>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} configured)", self.digests.len())
    }
}

impl Tokens {
    /// Adds one token; `origin` names the flag or file for the error.
    pub(crate) fn add(&mut self, token: &str, role: Role, origin: &str) -> Result<(), TokenError> {
        if token.is_empty() {
            return Err(TokenError::Empty { origin: origin.to_owned() });
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unprintable { origin: origin.to_owned() });
        }
        self.digests.push((Sha256::digest(token.as_bytes()).into(), role));
        Ok(())
    }

    /// Adds the tokens of a file: one a line, several for rotation; empty lines and `#` lines do not count.
    pub(crate) fn add_file(&mut self, path: &Path, role: Role) -> Result<(), TokenError> {
        let tokens = read_file(path)?;
        for token in &tokens {
            self.add(token, role, &path.display().to_string())?;
        }
        Ok(())
    }

    /// Whether no token is configured.
    pub(crate) fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether a request with these headers may use a route of this kind.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        access: Access,
        protect_metrics: bool,
    ) -> Result<(), Refusal> {
        let open = match access {
            Access::Open => true,
            Access::Telemetry => !protect_metrics,
            Access::Read | Access::Write | Access::Admin => false,
        };
        if open || self.is_empty() {
            return Ok(());
        }
        let role = bearer(headers).and_then(|token| self.role_of(token)).ok_or(Refusal::Unauthorized)?;
        let needed = Role::needed_for(access);
        if role >= needed { Ok(()) } else { Err(Refusal::Forbidden(needed)) }
    }

    /// Compares with every token, whichever matches: the time tells neither which one nor how much of it.
    fn role_of(&self, token: &[u8]) -> Option<Role> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = Role::ALL.map(|role| (role, Choice::from(0)));
        for (known, role) in &self.digests {
            let equal = known.ct_eq(&digest);
            for (of, any) in &mut found {
                *any |= equal & Choice::from(u8::from(of == role));
            }
        }
        found.into_iter().rev().find_map(|(role, any)| bool::from(any).then_some(role))
    }
}

/// The tokens of a file, in order. Refuses a file that group or others can read.
pub(crate) fn read_file(path: &Path) -> Result<Vec<String>, TokenError> {
    let io = |source| TokenError::Io { path: path.to_owned(), source };
    // One open file for both: what is checked is what is read.
    let mut file = fs::File::open(path).map_err(io)?;
    let mode = mode(&file.metadata().map_err(io)?);
    if mode & 0o077 != 0 {
        return Err(TokenError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tokens: Vec<String> = lines.map(str::to_owned).collect();
    if tokens.is_empty() {
        return Err(TokenError::NoneInFile { path: path.to_owned() });
    }
    Ok(tokens)
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn mode(_metadata: &fs::Metadata) -> u32 {
    0
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None; // two credentials: which one counts would depend on who reads them
    }
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn tokens() -> Tokens {
        let mut tokens = Tokens::default();
        tokens.add("admin-1", Role::Admin, "test").unwrap();
        tokens.add("admin-2", Role::Admin, "test").unwrap();
        tokens.add("writer", Role::Write, "test").unwrap();
        tokens.add("reader", Role::Read, "test").unwrap();
        // One text with two roles has the greater one.
        tokens.add("both", Role::Write, "test").unwrap();
        tokens.add("both", Role::Read, "test").unwrap();
        tokens
    }

    #[test]
    fn the_right_token_opens_what_its_role_may() {
        let tokens = tokens();
        for (value, role) in [
            ("Bearer admin-1", Some(Role::Admin)),
            ("bearer   admin-2", Some(Role::Admin)),
            ("Bearer writer", Some(Role::Write)),
            ("Bearer both", Some(Role::Write)),
            ("Bearer reader", Some(Role::Read)),
            ("Bearer admin-3", None),
            ("Bearer admin-", None),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic admin-1", None),
            ("admin-1", None),
        ] {
            let headers = headers(value);
            for (access, needed) in
                [(Access::Read, Role::Read), (Access::Write, Role::Write), (Access::Admin, Role::Admin)]
            {
                let expected = match role {
                    None => Err(Refusal::Unauthorized),
                    Some(role) if role >= needed => Ok(()),
                    Some(_) => Err(Refusal::Forbidden(needed)),
                };
                assert_eq!(tokens.check(&headers, access, false), expected, "{value} {access:?}");
            }
        }
        let none = HeaderMap::new();
        assert_eq!(tokens.check(&none, Access::Read, false), Err(Refusal::Unauthorized));
        assert_eq!(tokens.check(&none, Access::Open, true), Ok(()));
        assert_eq!(tokens.check(&none, Access::Telemetry, false), Ok(()));
        assert_eq!(tokens.check(&none, Access::Telemetry, true), Err(Refusal::Unauthorized));
        assert_eq!(tokens.check(&headers("Bearer reader"), Access::Telemetry, true), Ok(()));
    }

    #[test]
    fn two_credentials_are_none() {
        let mut two = headers("Bearer admin-1");
        two.append(AUTHORIZATION, "Bearer admin-1".parse().unwrap());
        assert_eq!(tokens().check(&two, Access::Read, false), Err(Refusal::Unauthorized));
    }

    #[test]
    fn unusable_tokens_are_refused_without_being_shown() {
        let mut tokens = Tokens::default();
        assert!(matches!(tokens.add("", Role::Admin, "x"), Err(TokenError::Empty { .. })));
        let error = tokens.add("with space", Role::Admin, "--auth-token").unwrap_err().to_string();
        assert!(error.contains("--auth-token") && !error.contains("with space"), "{error}");
        assert!(!format!("{tokens:?}").contains("digest"));
    }

    #[cfg(unix)]
    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, "# rotation\nadmin-1\n\n  admin-2  \n").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o640, 0o604, 0o666, 0o620] {
            set(mode);
            assert!(matches!(read_file(&path), Err(TokenError::Exposed { .. })), "{mode:o}");
        }
        set(0o600);
        assert_eq!(read_file(&path).unwrap(), ["admin-1", "admin-2"]);
        fs::write(&path, "# none\n").unwrap();
        assert!(matches!(read_file(&path), Err(TokenError::NoneInFile { .. })));
        assert!(matches!(read_file(&dir.path().join("gone")), Err(TokenError::Io { .. })));
    }
}
