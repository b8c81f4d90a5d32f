//! Failures to start a command, in the words of the original (Node's).

use rustix::io::Errno;

/// `spawn <command> ENOENT` and its kin.
pub(super) fn spawn_error(command: &str, errno: Option<i32>, text: &str) -> String {
    match errno.map(|raw| (raw, name(Errno::from_raw_os_error(raw)))) {
        Some((_, Some(name))) => format!("spawn {command} {name}"),
        Some((raw, None)) => format!("spawn {command} errno {raw}"),
        None => format!("spawn {command}: {text}"),
    }
}

/// The symbolic names of what `fork`, `chdir` and `execve` can answer.
fn name(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOENT => "ENOENT",
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        Errno::NOTDIR => "ENOTDIR",
        Errno::ISDIR => "EISDIR",
        Errno::NOEXEC => "ENOEXEC",
        Errno::TOOBIG => "E2BIG",
        Errno::TXTBSY => "ETXTBSY",
        Errno::LOOP => "ELOOP",
        Errno::NAMETOOLONG => "ENAMETOOLONG",
        Errno::AGAIN => "EAGAIN",
        Errno::NOMEM => "ENOMEM",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::INVAL => "EINVAL",
        Errno::IO => "EIO",
        Errno::NOSPC => "ENOSPC",
        _ => return None,
    })
}
