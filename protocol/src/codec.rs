//! CBOR in and out: the only module that names the codec crate, so that it can be replaced.
//!
//! Always: [`decode`] accepts exactly what [`encode`] writes (definite lengths, shortest integers,
//! declaration order, no unknown or repeated fields, no trailing byte), so bytes and value stand
//! for each other and a hash or signature over the bytes cannot be kept while they are altered.
//! Wire types use structs, plain enums, `Vec`, `BTreeMap`, `String`, integers and byte strings only.

mod names;
mod scan;

pub use scan::Scan;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes were refused. Nothing was taken from them.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the caller allows.
    #[error("{len} bytes where at most {most} are allowed")]
    TooLong {
        /// Bytes offered.
        len: usize,
        /// Bytes allowed.
        most: usize,
    },
    /// Not the CBOR of this type.
    #[error("not a value of this type")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The value could be read, but we would have written it otherwise.
    #[error("not in canonical form")]
    NotCanonical,
}

/// The bytes of a value.
///
/// # Panics
/// Never for the types of this crate: they hold nothing CBOR cannot say.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_cbor::to_vec(value).expect("protocol types always encode")
}

/// Reads a value from at most `most` bytes.
///
/// # Errors
/// [`DecodeError`] for anything [`encode`] would not have written.
pub fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    most: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > most {
        return Err(DecodeError::TooLong { len: bytes.len(), most });
    }
    let value = decode_kept(bytes)?;
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

/// Reads bytes that this node had of [`encode`], or had taken by [`decode`], and kept under a checksum
/// of its own. That they are canonical was seen then, and is not looked at again: a start reads
/// millions of values.
///
/// # Errors
/// [`DecodeError::Malformed`].
pub fn decode_kept<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // A fresh deserializer per message: its depth counter does not recover from an error.
    let mut reader =
        serde_cbor::Deserializer::from_slice(bytes).disable_packed_format().disable_legacy_enums();
    let malformed = |e: serde_cbor::Error| DecodeError::Malformed(Box::new(e));
    let value = T::deserialize(names::Named(&mut reader)).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Hlc;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Hlc { ms: 7, count: 300 };
        assert_eq!(decode::<Hlc>(&encode(&stamp), 64).unwrap(), stamp);
    }

    #[test]
    fn other_spellings_of_the_same_value_are_refused() {
        let canonical = encode(&Hlc { ms: 7, count: 3 });
        assert_eq!(canonical, b"\xa2bms\x07ecount\x03");
        for other in [
            &b"\xa2ecount\x03bms\x07"[..],                // other order
            b"\xa2bms\x18\x07ecount\x03",                 // long integer
            b"\xbfbms\x07ecount\x03\xff",                 // indefinite map
            b"\xc1\xa2bms\x07ecount\x03",                 // a tag
            b"\xa2bms\x07ecount\x03\x00",                 // trailing byte
            b"\x82\x07\x03",                              // struct as array
            b"\xa2\x00\x07\x01\x03",                      // packed keys
            b"\xa3bms\x07ecount\x03aa\x01",               // unknown field
            b"\xa2bms\x07bms\x07",                        // repeated field
            b"\xa2bms\xfb\x40\x1c\0\0\0\0\0\0ecount\x03", // float
        ] {
            assert!(decode::<Hlc>(other, 64).is_err(), "{other:02x?}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        let deep = vec![0x81; 100_000];
        assert!(matches!(decode::<Vec<u8>>(&deep, 200_000), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn too_long_is_refused_before_it_is_parsed() {
        assert!(matches!(
            decode::<Vec<u8>>(&[0; 65], 64),
            Err(DecodeError::TooLong { len: 65, most: 64 })
        ));
    }
}
