//! That nothing can be decided about a record, as too few of its voters are there: who is missing.

use serde_json::{Value, json};

/// Too few voters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undecided {
    /// Names of the voters that are not connected.
    pub away: Vec<String>,
    /// Votes that decide.
    pub needed: usize,
    /// All voters.
    pub voters: usize,
}

impl Undecided {
    /// As [`document`](Self::document) shows it.
    #[must_use]
    pub fn read(shown: &Value) -> Option<Self> {
        let number = |name: &str| usize::try_from(shown[name].as_u64()?).ok();
        let away = shown["away"].as_array()?.iter().filter_map(Value::as_str);
        let away = away.map(super::one_line).collect();
        Some(Self { away, needed: number("needed")?, voters: number("voters")? })
    }

    /// For programs.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({ "away": self.away, "needed": self.needed, "voters": self.voters })
    }

    /// In one sentence. `what`: of what they are voters.
    #[must_use]
    pub fn words(&self, what: &str) -> String {
        let (who, are) = match self.away.as_slice() {
            [one] => (format!("coordinator {one} (a voter of this {what})"), "is"),
            all => (format!("coordinators {} (voters of this {what})", all.join(", ")), "are"),
        };
        let Self { needed, voters, .. } = self;
        format!(
            "nothing can be decided: {who} {are} not connected; {needed} of {voters} voters are needed"
        )
    }

    /// What helps.
    #[must_use]
    pub fn help(&self) -> String {
        format!(
            "start {} again, or see with `skyclaw peers` why it is not reached; it goes on by itself \
             then",
            self.away.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_voters_are_named_and_how_many_are_needed() {
        let one = Undecided { away: vec!["b".into()], needed: 2, voters: 2 };
        assert_eq!(
            one.words("job"),
            "nothing can be decided: coordinator b (a voter of this job) is not connected; 2 of 2 \
             voters are needed"
        );
        let two = Undecided { away: vec!["b".into(), "c".into()], needed: 2, voters: 3 };
        assert!(
            two.words("service").contains("coordinators b, c (voters of this service) are not")
        );
        assert_eq!(Undecided::read(&two.document()), Some(two));
        assert_eq!(Undecided::read(&Value::Null), None);
    }
}
