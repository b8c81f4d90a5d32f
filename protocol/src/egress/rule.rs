//! One entry of a list of places, and the places it is compared with.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Longest name, in bytes, as the name system has it, and longest part of one.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Longest entry: a name with `*.` before and a port behind it.
const MAX_ENTRY_BYTES: usize = MAX_NAME_BYTES + 8;

/// Ports of an entry that names none: those of the web.
const WEB: [u16; 2] = [443, 80];

/// Why a text names no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// There is nothing before the port.
    #[error("it is empty: write a name such as example.org")]
    Empty,
    /// No name is so long.
    #[error("it is longer than a name can be ({MAX_NAME_BYTES} bytes, {MAX_LABEL_BYTES} a part)")]
    TooLong,
    /// It holds what no name does.
    #[error(
        "a name has letters, digits, - and _ of ASCII between its dots; other scripts are written \
         as xn--..., a scheme or a path does not belong to it"
    )]
    Character,
    /// A star stands elsewhere than before the first dot.
    #[error("a * stands alone or as *.example.org, for all names below it")]
    Star,
    /// A resolver might take it for an address.
    #[error("it is neither a name nor an address as it is usually written")]
    Number,
    /// It has no port, or one that is none.
    #[error("a port is a number from 1 to 65535")]
    Port,
}

/// A name, or an address that was written as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A name: lower case, no dot at its end.
    Name(String),
    /// An address, never an IPv4 one in the dress of IPv6.
    Address(IpAddr),
}

impl Place {
    /// Reads the host of a url or of a CONNECT request.
    ///
    /// # Errors
    /// [`HostFault`] if it is neither a name nor an address.
    pub fn parse(text: &str) -> Result<Self, HostFault> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostFault::Character)?;
            let address: Ipv6Addr = inner.parse().map_err(|_| HostFault::Number)?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        name(text).map(Self::Name)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// A name as it is compared.
fn name(text: &str) -> Result<String, HostFault> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(HostFault::Empty);
    }
    if text.len() > MAX_NAME_BYTES || text.split('.').any(|label| label.len() > MAX_LABEL_BYTES) {
        return Err(HostFault::TooLong);
    }
    let fits = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(known) && !label.starts_with('-')
    };
    if text.contains('*') {
        return Err(HostFault::Star);
    }
    if !text.split('.').all(fits) {
        return Err(HostFault::Character);
    }
    // `127.1`, `0x7f.1` and `2130706433` are addresses to resolvers.
    let last = text.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if number(last) || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(HostFault::Number);
    }
    Ok(text.to_ascii_lowercase())
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Names {
    /// This place alone.
    One(Place),
    /// All names below this one, at any depth, not itself.
    Below(String),
    /// Every name, and no address.
    All,
}

/// An entry of a list: `example.org`, `*.example.org`, `*`, an address, each with `:port` or for the
/// ports 443 and 80.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule {
    names: Names,
    port: Option<u16>,
}

impl HostRule {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`HostFault`], which says what one is.
    pub fn parse(text: &str) -> Result<Self, HostFault> {
        if text.len() > MAX_ENTRY_BYTES {
            return Err(HostFault::TooLong);
        }
        if text.contains('/') {
            // Else the second half of a url would be called a bad port.
            return Err(HostFault::Character);
        }
        let (host, port) = match text.rsplit_once(':') {
            // An address of IPv6, with or without its port.
            _ if text.parse::<Ipv6Addr>().is_ok() || text.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(self::port(port)?)),
            None => (text, None),
        };
        let names = match host.strip_prefix('*') {
            Some("") => Names::All,
            Some(rest) => {
                let below = rest.strip_prefix('.').ok_or(HostFault::Star)?;
                Names::Below(name(below)?)
            }
            None => Names::One(Place::parse(host)?),
        };
        Ok(Self { names, port })
    }

    /// Whether a connection there is allowed by it.
    #[must_use]
    pub fn allows(&self, place: &Place, port: u16) -> bool {
        let fits = match self.port {
            Some(own) => own == port,
            None => WEB.contains(&port),
        };
        fits && match (&self.names, place) {
            (Names::One(own), place) => own == place,
            (Names::Below(own), Place::Name(name)) => is_below(name, own),
            (Names::All, Place::Name(_)) => true,
            (Names::Below(_) | Names::All, Place::Address(_)) => false,
        }
    }

    /// Whether it allows all that `other` does.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let fits = match (self.port, other.port) {
            (None, None) => true,
            (None, Some(port)) => WEB.contains(&port),
            (own, port) => own == port,
        };
        fits && match (&self.names, &other.names) {
            (Names::One(own), Names::One(one)) => own == one,
            (Names::Below(own), Names::One(Place::Name(name))) => is_below(name, own),
            (Names::Below(own), Names::Below(name)) => own == name || is_below(name, own),
            (Names::All, Names::One(Place::Name(_)) | Names::Below(_) | Names::All) => true,
            _ => false,
        }
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    let rest = name.strip_suffix(parent).and_then(|rest| rest.strip_suffix('.'));
    rest.is_some_and(|rest| !rest.is_empty())
}

fn port(text: &str) -> Result<u16, HostFault> {
    // No sign, and no blank, which `parse` would take or a reader overlook.
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| plain && *port != 0);
    port.ok_or(HostFault::Port)
}

impl TryFrom<String> for HostRule {
    type Error = HostFault;

    fn try_from(text: String) -> Result<Self, HostFault> {
        Self::parse(&text)
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names {
            Names::One(place) => write!(f, "{place}")?,
            Names::Below(name) => write!(f, "*.{name}")?,
            Names::All => f.write_str("*")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> HostRule {
        HostRule::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[track_caller]
    fn allows(text: &str, host: &str, port: u16) -> bool {
        rule(text).allows(&Place::parse(host).unwrap(), port)
    }

    #[test]
    fn a_name_allows_itself_on_the_ports_of_the_web() {
        for host in ["example.org", "EXAMPLE.org", "example.org."] {
            assert!(allows("Example.Org", host, 443) && allows("example.org.", host, 80), "{host}");
        }
        assert!(!allows("example.org", "example.org", 22));
        for host in ["a.example.org", "example.org.evil.test", "xexample.org", "example.or"] {
            assert!(!allows("example.org", host, 443), "{host}");
        }
        assert!(allows("example.org:22", "example.org", 22));
        assert!(!allows("example.org:22", "example.org", 443));
    }

    #[test]
    fn a_star_allows_what_is_below_at_any_depth_and_not_the_name_itself() {
        for host in ["a.example.org", "a.b.example.org"] {
            assert!(allows("*.example.org", host, 443), "{host}");
        }
        for host in ["example.org", "aexample.org", "a.example.org.evil.test", "127.0.0.1"] {
            assert!(!allows("*.example.org", host, 443), "{host}");
        }
        assert!(allows("*", "anything.test", 443) && !allows("*", "anything.test", 25));
        assert!(!allows("*", "1.1.1.1", 443) && !allows("*", "[::1]", 443));
    }

    #[test]
    fn an_address_is_allowed_only_where_it_is_written() {
        assert!(allows("127.0.0.1:8080", "127.0.0.1", 8080));
        assert!(allows("127.0.0.1:8080", "[::ffff:127.0.0.1]", 8080));
        assert!(allows("::1", "[0:0::1]", 80) && allows("[::1]:7", "[::1]", 7));
        assert!(!allows("127.0.0.1", "127.0.0.2", 80));
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_reason() {
        use HostFault::{Character, Empty, Number, Port, Star, TooLong};
        let long = format!("{}.org", "a".repeat(64));
        for (text, why) in [
            ("", Empty),
            (".", Empty),
            (":80", Empty),
            ("*.", Empty),
            ("a..b", Character),
            (".a", Character),
            ("bücher.example", Character),
            ("http://example.org", Character),
            ("example.org/path", Character),
            ("user@example.org", Character),
            ("a b", Character),
            ("a\0b", Character),
            ("-a.org", Character),
            ("*example.org", Star),
            ("a.*.org", Star),
            ("**.org", Star),
            ("127.1", Number),
            ("2130706433", Number),
            ("0x7f000001", Number),
            ("0x7f.0x1", Number),
            ("1.2.3.4.5", Number),
            ("example.123", Number),
            ("256.1.1.1", Number),
            ("[127.0.0.1]", Number),
            ("[::1", Character),
            ("example.org:", Port),
            ("example.org:0", Port),
            ("example.org:65536", Port),
            ("example.org:+80", Port),
            ("example.org: 80", Port),
            (&long, TooLong),
            (&"a.".repeat(200), TooLong),
        ] {
            assert_eq!(HostRule::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn an_entry_is_read_back_as_it_is_shown() {
        for text in ["example.org", "*.example.org:8443", "*", "*:22", "10.0.0.1:5", "[::1]:80"] {
            assert_eq!(rule(text).to_string(), text);
            assert_eq!(rule(&rule(text).to_string()), rule(text));
        }
        assert_eq!(rule("Example.ORG.").to_string(), "example.org");
        assert_eq!(rule("fe80::1").to_string(), "[fe80::1]");
    }

    #[test]
    fn one_covers_another_if_it_allows_all_of_it() {
        let covers = |one: &str, other: &str| rule(one).covers(&rule(other));
        for (one, other) in [
            ("a.org", "a.org"),
            ("a.org", "a.org:443"),
            ("*.a.org", "b.a.org"),
            ("*.a.org", "*.b.a.org"),
            ("*.a.org", "*.a.org"),
            ("*", "*.a.org:80"),
            ("*", "*"),
            ("10.0.0.1:9", "10.0.0.1:9"),
        ] {
            assert!(covers(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("a.org", "a.org:22"),
            ("a.org:443", "a.org"),
            ("a.org", "*.a.org"),
            ("*.a.org", "a.org"),
            ("*.b.a.org", "*.a.org"),
            ("*.a.org", "*"),
            ("*", "10.0.0.1"),
            ("*.a.org", "ba.org"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }
}
