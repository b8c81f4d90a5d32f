//! The network that a job or a service asks for.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rule::{HostFault, HostRule};
use crate::limits::{MAX_NETWORK_BYTES, MAX_NETWORK_HOSTS};

const NONE: &str = "none";
const ANY: &str = "any";

/// What is asked for. Whoever asks for nothing gets what the host gives unasked, by default none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetworkAsk {
    /// None at all.
    None,
    /// The network of the machine, as it is.
    Any,
    /// These places, over the proxy of the host; at least one.
    Hosts(Vec<HostRule>),
}

/// Why something is no such request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskFault {
    /// Another word or another type.
    #[error("must be \"none\", \"any\" or a list of host names")]
    Form,
    /// A list of nothing.
    #[error("must name a host, or be \"none\"")]
    Empty,
    /// A longer list than there may be.
    #[error(
        "must not name more than {MAX_NETWORK_HOSTS} hosts, or more than {MAX_NETWORK_BYTES} bytes of them"
    )]
    TooMany,
    /// An entry that is none.
    #[error("names {}, which cannot be used: {why}", shown(text))]
    Host {
        /// The entry.
        text: String,
        /// What is wrong with it.
        why: HostFault,
    },
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    format!("{short:?}")
}

impl NetworkAsk {
    /// Reads the word `none` or `any`.
    ///
    /// # Errors
    /// Any other word.
    pub fn word(text: &str) -> Result<Self, AskFault> {
        match text {
            NONE => Ok(Self::None),
            ANY => Ok(Self::Any),
            _ => Err(AskFault::Form),
        }
    }

    /// Reads a list of hosts.
    ///
    /// # Errors
    /// One that is empty or too long, or holds what is no host.
    pub fn hosts<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, AskFault> {
        let (mut hosts, mut bytes) = (Vec::new(), 0_usize);
        for text in entries {
            bytes = bytes.saturating_add(text.len());
            if hosts.len() == MAX_NETWORK_HOSTS || bytes > MAX_NETWORK_BYTES {
                return Err(AskFault::TooMany);
            }
            let rule = HostRule::parse(text);
            hosts.push(rule.map_err(|why| AskFault::Host { text: text.to_owned(), why })?);
        }
        if hosts.is_empty() { Err(AskFault::Empty) } else { Ok(Self::Hosts(hosts)) }
    }

    /// Bytes that it takes in a record, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::None | Self::Any => NONE.len(),
            Self::Hosts(hosts) => hosts.iter().map(|host| host.to_string().len() + 3).sum(),
        }
    }
}

impl fmt::Display for NetworkAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(NONE),
            Self::Any => f.write_str(ANY),
            Self::Hosts(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                f.write_str(&hosts.join(", "))
            }
        }
    }
}

impl Serialize for NetworkAsk {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => to.serialize_str(NONE),
            Self::Any => to.serialize_str(ANY),
            Self::Hosts(hosts) => to.collect_seq(hosts),
        }
    }
}

impl<'de> Deserialize<'de> for NetworkAsk {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = NetworkAsk;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"none\", \"any\" or a list of host names")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<NetworkAsk, E> {
                NetworkAsk::word(text).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NetworkAsk, A::Error> {
                let mut texts: Vec<String> = Vec::new();
                while let Some(text) = list.next_element()? {
                    if texts.len() == MAX_NETWORK_HOSTS {
                        return Err(serde::de::Error::custom(AskFault::TooMany));
                    }
                    texts.push(text);
                }
                let texts = texts.iter().map(String::as_str);
                NetworkAsk::hosts(texts).map_err(serde::de::Error::custom)
            }
        }
        from.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn requests_survive_the_wire_and_others_do_not() {
        let hosts = NetworkAsk::hosts(["a.org", "*.b.org:22", "[::1]:7"]).unwrap();
        for ask in [NetworkAsk::None, NetworkAsk::Any, hosts] {
            let bytes = codec::encode(&ask);
            assert_eq!(codec::decode::<NetworkAsk>(&bytes, 4096).unwrap(), ask);
        }
        for other in [codec::encode(&"all"), codec::encode(&["a b"]), codec::encode(&7_u64)] {
            assert!(codec::decode::<NetworkAsk>(&other, 4096).is_err());
        }
        let none: [&str; 0] = [];
        assert!(codec::decode::<NetworkAsk>(&codec::encode(&none), 4096).is_err());
    }

    #[test]
    fn lists_are_bounded_and_a_wrong_entry_is_named() {
        let many: Vec<String> = (0..=MAX_NETWORK_HOSTS).map(|n| format!("h{n}.org")).collect();
        assert_eq!(NetworkAsk::hosts(many.iter().map(String::as_str)), Err(AskFault::TooMany));
        assert!(NetworkAsk::hosts(many[1..].iter().map(String::as_str)).is_ok());
        assert_eq!(NetworkAsk::hosts([]), Err(AskFault::Empty));
        let said = NetworkAsk::hosts(["a.org", "http://b.org/"]).unwrap_err().to_string();
        assert!(said.contains("\"http://b.org/\""), "{said}");
    }
}
