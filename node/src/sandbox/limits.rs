//! Most that one run may take where its owner says nothing else, each with its reason.

/// Processes and threads: a build with eight compilers at once, or a Node with its threads and some
/// children, stays below 100; what forks without end is stopped long before the machine feels it.
pub const PROCESSES: u64 = 512;

/// Memory of the whole tree: an agent of OpenClaw with a tool takes 1.1 GB, a large build 2 to 3.
pub const MEMORY_BYTES: u64 = 4 << 30;

/// What its folders may take on the disk: `node_modules`, a build tree and some data.
pub const DISK_BYTES: u64 = 8 << 30;

/// Its folder for temporary files, which is in memory at `isolated`.
pub const TMP_BYTES: u64 = 512 << 20;

/// Open files of one process: what Node and builds need; programs that close all they may have open
/// one by one stay quick.
pub const OPEN_FILES: u64 = 4096;

/// One file: no more than all of them.
pub const FILE_BYTES: u64 = DISK_BYTES;
