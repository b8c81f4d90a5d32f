//! What a job writes, while it runs and after.

use futures::stream::BoxStream;
use skyclaw_protocol::{HostId, JobStatus};

/// How far a reader has read: bytes of the texts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputPlace {
    /// Which run; 0 before the first one.
    pub attempt: u32,
    /// Of its standard output.
    pub stdout: usize,
    /// Of its standard error.
    pub stderr: usize,
}

/// What to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputQuery {
    /// From where on. Of a later run everything.
    pub from: OutputPlace,
    /// What is to come, too, until the job has ended.
    pub follow: bool,
}

/// One of the two streams of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of the output of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutput {
    /// What follows is of this run, from its beginning or from where the reader was in it.
    Attempt {
        /// Which run.
        attempt: u32,
        /// Where it runs or ran.
        host: Option<HostId>,
    },
    /// What it wrote next.
    Text {
        /// Where.
        stream: OutputStream,
        /// Bytes of the stream's text before it.
        offset: usize,
        /// What it wrote.
        text: String,
    },
    /// Something that whoever reads should know, such as why nothing can be shown yet.
    Note(String),
    /// The job has ended like this; the last piece.
    Ended(JobStatus),
}

/// Pieces as they come. Dropping it ends the asking for more.
pub type JobOutputs = BoxStream<'static, JobOutput>;
