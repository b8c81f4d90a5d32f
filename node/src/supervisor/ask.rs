//! Asking a program of this host something, outside of any job: under a shim like a job, with the
//! environment of a job, and gone when it has answered or its time is over.

use std::time::Duration;

use tokio::sync::watch;

use super::agent::COMPILE_CACHE;
use super::keep::Kept;
use super::output::Capture;
use super::policy::Verdict;
use super::serve::Workspace;
use super::wire::Launch;
use super::{Cancel, Supervisor, run};

/// Most bytes of an answer: lists of models are the longest.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    /// The program, by a name that jobs may run.
    pub(crate) command: &'a str,
    /// Its arguments.
    pub(crate) args: &'a [&'a str],
    /// What it finds in its environment beside what jobs find.
    pub(crate) set: &'a [(&'a str, &'a str)],
    /// A file that it reads on standard input.
    pub(crate) stdin: Option<String>,
    /// How long it may take.
    pub(crate) timeout: Duration,
}

/// What it said.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// Its exit code; none for a signal.
    pub(crate) code: Option<i32>,
    /// Its output.
    pub(crate) stdout: String,
    /// Its other output.
    pub(crate) stderr: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// No such program, or none that jobs may run.
    #[error("not found")]
    Missing,
    /// It said nothing in time.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// It could not be started.
    #[error("{0}")]
    Failed(String),
}

impl Supervisor {
    /// The file that a name stands for, if jobs may run it.
    pub(crate) fn program(&self, command: &str) -> Option<String> {
        match self.0.policy.hosts_own(command) {
            Verdict::Run(path) => Some(path),
            Verdict::Missing(_) | Verdict::Refused(_) => None,
        }
    }

    /// The daemon's environment.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.0.environment
    }

    /// Asks in the folders of `space`.
    pub(crate) async fn ask(
        &self,
        question: Question<'_>,
        space: &Workspace,
    ) -> Result<Answered, Unanswered> {
        let inner = &self.0;
        let program = self.program(question.command).ok_or(Unanswered::Missing)?;
        let (home, tmp, work) = space.places();
        let mut env = inner.policy.environment(&[], home, tmp);
        env.retain(|(name, _)| !question.set.iter().any(|(set, _)| set == name));
        env.extend(question.set.iter().map(|&(name, value)| (name.into(), value.into())));
        env.push((COMPILE_CACHE.to_owned(), inner.compile_cache()));
        let Kept { profile, places } = Kept::not();
        let mut task = run::Task {
            program: &inner.program,
            spare: &inner.spare,
            ground: &inner.ground,
            launch: Launch {
                program,
                arg0: question.command.to_owned(),
                args: question.args.iter().map(|&word| word.to_owned()).collect(),
                cwd: work.to_owned(),
                env,
                stdin: question.stdin,
                // The owner's own program, asked by the node itself.
                profile,
                places,
            },
            timeout: Some(question.timeout),
            grace: inner.grace,
            launched: None,
            // Nobody ends it early but the end of the host.
            cancelled: watch::Sender::<Option<Cancel>>::new(None).subscribe(),
            until: watch::Sender::new(None).subscribe(),
            shutdown: inner.shutdown.subscribe(),
            answered: None,
        };
        let mut stdout = Capture::new(MAX_ANSWER_BYTES);
        let mut stderr = Capture::new(MAX_ANSWER_BYTES);
        let over = task.over(&mut stdout, &mut stderr).await;
        // The shim that waited for the next job was taken.
        inner.prepare();
        let over = over.map_err(|fault| Unanswered::Failed(fault.to_string()))?;
        match over.fate {
            run::Fate::Over(text) => Err(Unanswered::Failed(text)),
            run::Fate::TimedOut => Err(Unanswered::Late(question.timeout)),
            run::Fate::Exited(code) => {
                Ok(Answered { code, stdout: stdout.text(), stderr: stderr.text() })
            }
            run::Fate::Lingered => Err(Unanswered::Failed("it did not end".to_owned())),
            run::Fate::Stopped(reason) => Err(Unanswered::Failed(reason.as_str().to_owned())),
            run::Fate::NotStarted(text) => Err(Unanswered::Failed(text)),
            run::Fate::Lost => Err(Unanswered::Failed(run::LOST.to_owned())),
        }
    }
}
