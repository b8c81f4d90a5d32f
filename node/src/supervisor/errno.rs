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

/// Whether a start failed because the machine had nothing left to start anything with. No payload
/// causes these, so the same job may well start elsewhere or later.
pub(super) fn is_shortage(errno: Option<i32>) -> bool {
    const SHORTAGES: [Errno; 4] = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    errno.is_some_and(|raw| SHORTAGES.contains(&Errno::from_raw_os_error(raw)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_payload_can_cause_is_a_shortage() {
        let raw = |errno: Errno| Some(errno.raw_os_error());
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert!(is_shortage(raw(errno)), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::TOOBIG, Errno::NOTDIR, Errno::NOEXEC] {
            assert!(!is_shortage(raw(errno)), "{errno}");
        }
        assert!(!is_shortage(None));
    }
}
