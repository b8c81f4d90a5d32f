//! Ways out of a sandbox, each a script that says `escaped` if it worked.
//!
//! Names in braces stand for what a test knows and a job would have to find: `{file}` holds another
//! job's secret, `{db}` is the node's database, `{folder}` its folder, `{node}` its process, `{port}` its
//! API, `{name}` an abstract socket that listens outside.

/// One way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// What it tries.
    pub(super) what: &'static str,
    /// How.
    pub(super) how: &'static str,
    /// Whether it works without a sandbox, and does no harm then: what shows that the script is right.
    pub(super) shown: bool,
}

const fn shown(what: &'static str, how: &'static str) -> Attempt {
    Attempt { what, how, shown: true }
}

const fn tried(what: &'static str, how: &'static str) -> Attempt {
    Attempt { what, how, shown: false }
}

/// System calls by their numbers on x86-64; -1 with EPERM or ENOSYS is a refusal.
pub(super) const ATTEMPTS: &[Attempt] = &[
    shown("read another job's file", "cat {file} && echo escaped"),
    shown("list another job's folder", "ls $(dirname {file}) && echo escaped"),
    shown("write into another job's folder", "echo x > {file}.new && echo escaped"),
    shown("read the node's database", "head -c 1 {db} > x && echo escaped"),
    shown(
        "link the node's database",
        "ln {db} db && echo escaped; ln -s {db} y; head -c 1 y > x && echo escaped",
    ),
    shown("write beside the node's database", "echo x > {db}.x && rm {db}.x && echo escaped"),
    shown("list the node's folder", "ls {folder}/cwd && echo escaped"),
    shown("read the password file", "head -c 1 /etc/shadow > x && echo escaped"),
    shown("list the homes of others", "find /root -maxdepth 1 -type f | grep -q . && echo escaped"),
    tried(
        "read the node's environment",
        "cat /proc/{node}/environ | tr '\\0' '\\n' | grep SKYCLAW && echo escaped",
    ),
    tried("find a token in its own environment", "env | grep SKYCLAW && echo escaped"),
    tried(
        "read the environment of whoever started it",
        "grep -a SKYCLAW /proc/$PPID/environ && echo escaped",
    ),
    shown("enter the node's root", "ls -L /proc/{node}/root && echo escaped"),
    shown("look at what the node has open", "ls /proc/{node}/fd && echo escaped"),
    tried(
        "read the memory of whoever started it",
        "head -c 1 /proc/$PPID/mem && echo escaped; dd if=/proc/$PPID/mem count=1 && echo escaped",
    ),
    shown(
        "trace another process",
        "perl -e 'exec \"sleep\", 5 unless $p = fork; $r = syscall(101, 16, $p, 0, 0); kill 9, $p; print \"escaped\\n\" if $r == 0'",
    ),
    shown(
        "read another process's memory",
        "perl -e 'syscall(310, getppid, 0, 0, 0, 0, 0); print \"escaped $!\\n\" unless $! == 1'",
    ),
    shown(
        "take another process's descriptor",
        "perl -e '$f = syscall(434, getppid, 0); $r = syscall(438, $f, 0, 0); print \"escaped\\n\" unless $! == 1 || $f < 0'",
    ),
    tried(
        "mount something",
        "perl -e '($s, $at, $k) = qw(x /tmp tmpfs); $r = syscall(165, $s, $at, $k, 0, 0); print \"escaped\\n\" if $r == 0'",
    ),
    tried(
        "unmount something",
        "perl -e '@all = qw(/proc /dev/shm /etc /tmp); for (@all) { print \"escaped\\n\" if syscall(166, $_, 2) == 0 }'",
    ),
    shown(
        "make a user namespace",
        "perl -e '$r = syscall(272, 0x10000000); print \"escaped\\n\" if $r == 0'",
    ),
    shown(
        "make a mount namespace",
        "perl -e '$r = syscall(272, 0x20000); print \"escaped\\n\" if $r == 0'",
    ),
    shown(
        "make a process in a user namespace",
        "perl -e '$r = syscall(56, 0x10000011, 0, 0, 0, 0); exit if $r == 0; print \"escaped\\n\" if $r > 0'",
    ),
    tried(
        "enter a namespace of another process",
        "perl -e 'open F, \"/proc/{node}/ns/mnt\" or open F, \"/proc/1/ns/mnt\" or exit; print \"escaped\\n\" if syscall(308, fileno F, 0) == 0'",
    ),
    shown(
        "change its root",
        "perl -e '$at = \"/tmp\"; print \"escaped\\n\" if syscall(161, $at) == 0'",
    ),
    shown(
        "make a device",
        "perl -e '$at = \"device\"; print \"escaped\\n\" if syscall(133, $at, 020666, 259) == 0'",
    ),
    tried(
        "read a disk",
        "for d in $(ls /dev/*da /dev/nvme* /dev/mem 2>/dev/null); do head -c 1 $d > x && echo escaped; done",
    ),
    tried(
        "read the kernel's log",
        "head -c 1 /dev/kmsg && echo escaped; perl -e 'print \"escaped\\n\" if syscall(103, 10, 0, 0) >= 0'",
    ),
    shown(
        "gain privileges by a set-uid program",
        "grep -q 'NoNewPrivs:.*1' /proc/self/status || echo escaped",
    ),
    tried(
        "become root",
        "[ $(id -u) = 0 ] && echo escaped; perl -e 'print \"escaped\\n\" if syscall(117, 0, 0, 0) == 0'",
    ),
    tried(
        "hold a right of root",
        "grep -E 'Cap(Prm|Eff|Bnd|Amb):.*[1-9a-f]' /proc/self/status | grep -v Bnd && echo escaped",
    ),
    tried(
        "write to the system's programs",
        "for d in /usr/bin /usr/local/bin /usr/lib /opt; do echo x > $d/skyclaw-x && echo escaped; done",
    ),
    tried(
        "write to the system's settings",
        "echo x > /etc/skyclaw-x && echo escaped; echo x >> /etc/passwd && echo escaped; echo x > /etc/ld.so.preload && echo escaped",
    ),
    tried(
        "change the kernel's settings",
        "for f in kernel/hostname vm/swappiness kernel/core_pattern fs/file-max; do true > /proc/sys/$f && echo escaped; done; true > /proc/sysrq-trigger && echo escaped",
    ),
    tried(
        "change the kernel's devices",
        "true > /sys/power/state && echo escaped; true > /sys/kernel/uevent_helper && echo escaped",
    ),
    tried(
        "leave its control group",
        "for f in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do echo $$ > $f && echo escaped; done",
    ),
    tried(
        "have a program run by a control group",
        "for f in /sys/fs/cgroup/*/release_agent; do echo /bin/true > $f && echo escaped; done",
    ),
    shown(
        "open a raw socket",
        "perl -MSocket -e 'print \"escaped\\n\" if socket S, AF_INET, SOCK_RAW, 1'",
    ),
    shown(
        "open a packet socket",
        "perl -MSocket -e 'print \"escaped\\n\" if socket S, 17, SOCK_RAW, 0'",
    ),
    tried(
        "open a socket of the kernel's cryptography",
        "perl -e 'print \"escaped\\n\" if syscall(41, 38, 5, 0) >= 0'",
    ),
    shown(
        "reach the node's API",
        "perl -MSocket -e 'socket S, AF_INET, SOCK_STREAM, 6; print \"escaped\\n\" if connect S, sockaddr_in({port}, inet_aton \"127.0.0.1\")'",
    ),
    tried(
        "reach the metadata address",
        "perl -MSocket -e '$SIG{ALRM} = sub { exit }; alarm 2; socket S, AF_INET, SOCK_STREAM, 6; print \"escaped\\n\" if connect S, sockaddr_in(80, inet_aton \"169.254.169.254\"); print \"escaped\\n\" if $!{ECONNREFUSED}; socket U, AF_INET, SOCK_DGRAM, 17 and send U, \"x\", 0, sockaddr_in(53, inet_aton \"169.254.169.254\") and print \"escaped\\n\"'",
    ),
    shown(
        "reach an abstract socket",
        "perl -MSocket -e 'socket S, AF_UNIX, SOCK_STREAM, 0; print \"escaped\\n\" if connect S, pack(\"S\", 1) . \"\\0{name}\"'",
    ),
    shown(
        "use a keyring",
        "perl -e 'print \"escaped\\n\" if syscall(250, 0, -3, 1) >= 0; ($k, $n, $v) = qw(user x y); print \"escaped\\n\" if syscall(248, $k, $n, $v, 1, -3) >= 0'",
    ),
    tried(
        "leave a core dump",
        "[ \"$(ulimit -Hc)\" = 0 ] || echo escaped; sh -c 'kill -SEGV $$'; ls | grep core && echo escaped",
    ),
    tried(
        "use a descriptor of the node",
        "perl -e 'for (3 .. 300) { open my $f, \"<&=$_\" or next; $to = readlink \"/proc/self/fd/$_\"; print \"escaped $to\\n\" unless $to =~ m{^/dev/null|^/usr|^/bin} }'",
    ),
    shown(
        "type into a terminal",
        "perl -e '$x = \"x\"; ioctl STDIN, 0x5412, $x; print \"escaped $!\\n\" unless $! == 1'",
    ),
    tried("end the node", "kill -9 {node} && echo escaped; kill -TERM {node} && echo escaped"),
    tried("end whoever started it", "kill -9 $PPID; kill -STOP $PPID; kill -TERM $PPID; sleep 0.2"),
    tried("end everything", "kill -9 -1; sleep 0.2"),
    shown(
        "call what programs have no use for",
        "perl -e 'for (246, 167, 175, 298, 321, 323, 169, 425, 304, 163, 227) { $! = 0; $r = syscall($_, 0, 0, 0, 0, 0); print \"escaped $_\\n\" if $r >= 0 || ($! != 1 && $! != 38) }'",
    ),
    tried(
        "make a process that outlives it",
        "for i in 1 2; do setsid sleep {orphan} > /dev/null 2>&1 & done; (setsid setsid sleep {orphan} & setsid perl -e 'fork and exit; syscall(112); fork and exit; exec qw(sleep {orphan})') > /dev/null 2>&1 & sleep 0.2",
    ),
    tried(
        "use programs that the host runs for others",
        "ls -A /run /var/run | grep -E 'docker|dbus|containerd' && echo escaped",
    ),
];
