//! That nothing can be decided about a record, as too few of its voters are there: who is missing.

use serde_json::{Value, json};

/// Too few voters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undecided {
    /// The voters that are not connected.
    pub away: Away,
    /// Votes that decide.
    pub needed: usize,
    /// All voters.
    pub voters: usize,
}

/// Voters that are not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Away {
    /// Their names, for whoever may see nodes.
    Named(Vec<String>),
    /// How many they are.
    Count(usize),
}

impl Default for Away {
    fn default() -> Self {
        Self::Count(0)
    }
}

impl Undecided {
    /// As [`document`](Self::document) shows it.
    #[must_use]
    pub fn read(shown: &Value) -> Option<Self> {
        let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
        let away = match &shown["away"] {
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str);
                Away::Named(names.map(super::one_line).collect())
            }
            count => Away::Count(number(count)?),
        };
        Some(Self { away, needed: number(&shown["needed"])?, voters: number(&shown["voters"])? })
    }

    /// The same for whoever may not see nodes.
    #[must_use]
    pub fn without_names(self) -> Self {
        let away = match self.away {
            Away::Named(names) => Away::Count(names.len()),
            count @ Away::Count(_) => count,
        };
        Self { away, ..self }
    }

    /// For programs.
    #[must_use]
    pub fn document(&self) -> Value {
        let away = match &self.away {
            Away::Named(names) => json!(names),
            Away::Count(count) => json!(count),
        };
        json!({ "away": away, "needed": self.needed, "voters": self.voters })
    }

    /// In one sentence. `what`: of what they are voters.
    #[must_use]
    pub fn words(&self, what: &str) -> String {
        let away = match &self.away {
            Away::Named(names) => match names.as_slice() {
                [one] => format!("coordinator {one} (a voter of this {what}) is"),
                all => format!("coordinators {} (voters of this {what}) are", all.join(", ")),
            },
            Away::Count(1) => format!("1 voter of this {what} is"),
            Away::Count(count) => format!("{count} voters of this {what} are"),
        };
        let Self { needed, voters, .. } = self;
        format!(
            "nothing can be decided: {away} not connected; {needed} of {voters} voters are needed"
        )
    }

    /// What helps.
    #[must_use]
    pub fn help(&self) -> String {
        match &self.away {
            Away::Named(names) => format!(
                "start {} again, or see with `skyclaw peers` why it is not reached; it goes on by itself \
                 then",
                names.join(", ")
            ),
            Away::Count(_) => {
                "it goes on by itself once enough coordinators are connected again: whoever \
                               runs them sees which are away"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_voters_are_named_and_how_many_are_needed() {
        let one = Undecided { away: Away::Named(vec!["b".into()]), needed: 2, voters: 2 };
        assert_eq!(
            one.words("job"),
            "nothing can be decided: coordinator b (a voter of this job) is not connected; 2 of 2 \
             voters are needed"
        );
        let two =
            Undecided { away: Away::Named(vec!["b".into(), "c".into()]), needed: 2, voters: 3 };
        assert!(
            two.words("service").contains("coordinators b, c (voters of this service) are not")
        );
        assert_eq!(Undecided::read(&two.document()), Some(two.clone()));
        let unnamed = two.without_names();
        assert_eq!(
            unnamed.words("job"),
            "nothing can be decided: 2 voters of this job are not connected; 2 of 3 voters are needed"
        );
        assert_eq!(unnamed.document(), json!({ "away": 2, "needed": 2, "voters": 3 }));
        assert_eq!(Undecided::read(&unnamed.document()), Some(unnamed));
        assert_eq!(Undecided::read(&Value::Null), None);
    }
}
