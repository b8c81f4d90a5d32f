//! What instances of a service write.

use futures::stream::BoxStream;
use skyclaw_protocol::clock::Wall;

/// Which lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// How many of each instance from before.
    pub tail: u32,
    /// Those to come too.
    pub follow: bool,
    /// Of this one alone, of the wanted instances.
    pub replica: Option<u32>,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece {
    /// A line.
    Line(LogLine),
    /// Something that whoever reads should know, such as why an instance's lines are missing.
    Note(String),
}

/// A line of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, by the clock of its host.
    pub at: Wall,
    /// `stdout`, `stderr`, or `host` for what the host says of the instance.
    pub stream: String,
    /// What was written, without its end.
    pub line: String,
    /// Which of the wanted instances.
    pub replica: u32,
    /// Where it runs.
    pub host: String,
    /// Which instance that is.
    pub epoch: u64,
    /// Its number among the lines of that instance, each one more than the one before; none for what the
    /// host says of lines that were dropped.
    pub number: Option<u64>,
}

/// Pieces as they come. Dropping it ends the asking for more.
pub type LogPieces = BoxStream<'static, LogPiece>;
