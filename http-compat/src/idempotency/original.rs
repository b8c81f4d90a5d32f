//! The hash by which an original knows a request again, as its database has it.
//!
//! It is SHA-256 over the route, a newline and the body as JavaScript writes it once the members of
//! its objects are sorted: by the collation of ICU's root locale, which puts `a` before `B` and `_`
//! before both; but names that are array indices come first, by number, whatever was sorted.

use std::cmp::Ordering;

use icu_collator::options::CollatorOptions;
use icu_collator::{Collator, CollatorBorrowed};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// From this on numbers are written with an exponent.
const LARGE: i32 = 21;

/// The hash; none if the collation cannot be had.
pub(crate) fn hash(route: &str, body: &Value) -> Option<Vec<u8>> {
    let collator = Collator::try_new(Default::default(), CollatorOptions::default()).ok()?;
    let mut text = format!("{route}\n");
    write(&mut text, body, &collator);
    Some(Sha256::digest(text.as_bytes()).to_vec())
}

/// Depth is bounded by the parser (128).
fn write(text: &mut String, value: &Value, collator: &CollatorBorrowed<'_>) {
    match value {
        Value::Number(number) => text.push_str(&spelled(number.as_f64().unwrap_or_default())),
        Value::Array(list) => {
            text.push('[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(text, value, collator);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (at, (name, value)) in sorted(map, collator).into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name).to_string());
                text.push(':');
                write(text, value, collator);
            }
            text.push('}');
        }
        // Escapes are those of JavaScript.
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn sorted<'m>(
    map: &'m Map<String, Value>,
    collator: &CollatorBorrowed<'_>,
) -> Vec<(&'m str, &'m Value)> {
    // Given to a fresh object, it makes no member.
    let named = map.iter().filter(|(name, _)| *name != "__proto__");
    let mut members: Vec<_> = named.map(|(name, value)| (name.as_str(), value)).collect();
    // What compares as equal stays in the order of its creation, in which indices came first too.
    members.sort_by(|(one, _), (other, _)| match (index(one), index(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => collator.compare(one, other),
    });
    members
}

/// The number that a name is as an array index.
fn index(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number < u32::MAX && number.to_string() == name).then_some(number)
}

/// A number as JavaScript writes it: the same digits as Rust's, the shortest that name it, laid out
/// otherwise.
fn spelled(number: f64) -> String {
    let text = format!("{number:e}");
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits = mantissa.replace('.', "");
    if digits == "0" {
        return digits;
    }
    // Where the point stands, counted from before the first digit.
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let body = if count <= point && point <= LARGE {
        format!("{digits}{}", zeros(point - count))
    } else if 0 < point && point <= LARGE {
        let (whole, part) = digits.split_at(usize::try_from(point).unwrap_or_default());
        format!("{whole}.{part}")
    } else if -6 < point && point <= 0 {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
        format!("{first}{rest}e{}{}", if point > 0 { "+" } else { "" }, point - 1)
    };
    format!("{sign}{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let collator = Collator::try_new(Default::default(), CollatorOptions::default()).unwrap();
        let mut out = String::new();
        write(&mut out, &serde_json::from_str(text).unwrap(), &collator);
        out
    }

    /// What Node 20 and 22 made of these bodies, by the rule of the contract.
    #[test]
    fn requests_hash_as_in_javascript() {
        let cases = [
            (
                "/v1/jobs",
                r#"{"requirement":{"requiredCapabilities":["b","a"]},"payload":{"kind":"shell","timeoutMs":6e4,"command":"sh","env":{"B":"1","a":"2","A_B":"3","AB":"4","ä":"5","z":"6","10":"7","9":"8","-x":"9"}}}"#,
                "9044e4fe9a82f1a4cbe6f446421fd2918191f10ef975a5dbbfbd7dd0d76b9b72",
            ),
            (
                "/v1/hosts/h1/claim",
                "{}",
                "92c8da385483ad91215d3ff848a95ff154d7405e772bce29956e2dcdaa7182ce",
            ),
            (
                "/v1/jobs",
                r#"[1.0,-0,0.1,1e21,123456789012345678901,1e-7,0.000001,1.5e300,5e-324,9007199254740993,-12.50,100,true,null,"\u00e9\u2028\u0001\u007f\"\\\/\n\b\f"]"#,
                "d42faaa42a19e31702cea1bf1ced955bb7f4b32ea89cf44d50b67cf31199ae9c",
            ),
            (
                "/v1/services",
                r#"{"__proto__":{"x":1},"b":{"__proto__":5,"B":1,"b":2,"\u0000b":3},"01":1,"1":2,"4294967295":3,"4294967294":4,"a":1,"a":2}"#,
                "63c8964f8ce238291064a186a6aad6f6c0d10ee09b171a8e75a16e823f02e4ef",
            ),
        ];
        for (route, body, want) in cases {
            let value = serde_json::from_str(body).unwrap();
            let hash = hash(route, &value).unwrap();
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, want, "{}", written(body));
        }
    }

    #[test]
    fn all_that_can_be_typed_is_sorted_as_icu_sorts_it() {
        let ascii = (b' '..=b'~').filter(|byte| !byte.is_ascii_digit());
        let members: Map<String, Value> =
            ascii.map(|byte| (char::from(byte).to_string(), Value::Null)).collect();
        let collator = Collator::try_new(Default::default(), CollatorOptions::default()).unwrap();
        let order: String = sorted(&members, &collator).into_iter().map(|(name, _)| name).collect();
        let want = " _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ";
        assert_eq!(order, want);
    }

    #[test]
    fn numbers_are_spelled_as_in_javascript() {
        for (number, want) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e21, "1.25e+21"),
            (0.000_001, "0.000001"),
            (1.2e-7, "1.2e-7"),
            (-1.5, "-1.5"),
            (300.0, "300"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(spelled(number), want);
        }
    }
}
