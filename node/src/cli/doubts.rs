//! What keeps everybody from deciding about a job that somebody waits for: said when it begins, when it
//! changes, and when it is over.

use std::time::{Duration, Instant};

use skyclaw_http_compat::why::Undecided;

use super::output::Output;
use super::waiting::Spinner;
use super::why;
use crate::client::Client;

/// A job that has not ended for so long is asked about whether anybody can decide about it, and then
/// again at such pauses.
const DOUBT: Duration = Duration::from_secs(5);

/// What was said last, and when it was asked for.
pub(super) struct Doubts {
    asked: Instant,
    said: Option<Undecided>,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// Too few voters are there.
    Undecided(Undecided),
    /// Enough are there again.
    Over,
}

impl Doubts {
    /// Nothing was asked yet.
    pub(super) const fn begun(at: Instant) -> Self {
        Self { asked: at, said: None }
    }

    /// Asks if it is time to. While nobody can decide the spinner is silent: what was said is what there
    /// is to hear.
    pub(super) async fn look(
        &mut self,
        client: &Client,
        id: &str,
        spinner: &mut Spinner,
        output: &mut Output,
    ) {
        if self.asked.elapsed() < DOUBT {
            return;
        }
        let answer = why::undecided(client, id).await;
        self.asked = Instant::now();
        match self.hear(answer) {
            Some(News::Undecided(undecided)) => {
                spinner.silence();
                output.say(&undecided.words("job"));
                output.hint(&undecided.help());
            }
            Some(News::Over) => {
                output.say("enough voters are there again");
                spinner.speak();
            }
            None => {}
        }
    }

    /// Nobody who answers is no news: what was said last holds until somebody says otherwise.
    fn hear<E>(&mut self, answer: Result<Option<Undecided>, E>) -> Option<News> {
        let now = answer.ok()?;
        let before = std::mem::replace(&mut self.said, now.clone());
        match (before, now) {
            (before, Some(now)) if before.as_ref() != Some(&now) => Some(News::Undecided(now)),
            (Some(_), None) => Some(News::Over),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use skyclaw_http_compat::why::Away;

    use super::*;

    #[test]
    fn an_answer_that_is_missing_does_not_end_what_was_said() {
        let mut doubts = Doubts::begun(Instant::now());
        let away = |name: &str| {
            let away = Away::Named(vec![name.to_owned()]);
            Undecided { away, needed: 2, voters: 3 }
        };
        assert_eq!(doubts.hear::<()>(Ok(None)), None);
        let first = Some(News::Undecided(away("a")));
        assert_eq!(doubts.hear::<()>(Ok(Some(away("a")))), first);
        assert_eq!(doubts.hear(Err("nobody answers")), None);
        assert_eq!(doubts.hear::<()>(Ok(Some(away("a")))), None, "it was said");
        let other = Some(News::Undecided(away("b")));
        assert_eq!(doubts.hear::<()>(Ok(Some(away("b")))), other);
        assert_eq!(doubts.hear::<()>(Ok(None)), Some(News::Over));
        assert_eq!(doubts.hear::<()>(Ok(None)), None);
    }
}
