//! What several hosts said of a job, for people.

use serde_json::Value;

use super::text;

/// Characters shown of what is compared.
const DIGEST_CHARS: usize = 12;

/// Lines about a job that is to be verified; none for another one.
pub(super) fn lines(verify: &Value) -> Vec<(&'static str, String)> {
    if !verify.is_object() {
        return Vec::new();
    }
    let verdict = match verify["verdict"].as_str() {
        Some("agreed") => "hosts agree",
        Some("disagree") => "hosts disagree",
        _ => "hosts are asked",
    };
    let asked = format!("{} of {} hosts must agree", text(verify, "agree"), text(verify, "copies"));
    let mut lines = vec![("verify", format!("{verdict} ({asked})"))];
    for told in verify["results"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let how = if told["success"] == true { "succeeded" } else { "failed" };
        let digest: String = text(told, "digest").chars().take(DIGEST_CHARS).collect();
        let apart = if told["agrees"] == false { ", SPOKE AGAINST THE OTHERS" } else { "" };
        lines.push(("", format!("{} {how}, {digest}{apart}", text(told, "host"))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_spoke_against_the_others_is_named() {
        let one = |host: &str, digest: &str, agrees: bool| json!({ "host": host, "success": true, "digest": digest.repeat(64), "agrees": agrees });
        let verify = json!({ "copies": 3, "agree": 2, "verdict": "agreed",
            "results": [one("a", "0", true), one("liar", "1", false), one("b", "0", true)] });
        let lines = lines(&verify);
        assert_eq!(lines[0].1, "hosts agree (2 of 3 hosts must agree)");
        assert_eq!(lines[2].1, "liar succeeded, 111111111111, SPOKE AGAINST THE OTHERS");
        assert_eq!(lines[3].1, "b succeeded, 000000000000");
        assert!(super::lines(&Value::Null).is_empty());
    }
}
