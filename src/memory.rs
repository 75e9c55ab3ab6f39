//! How much memory a process may have, and what it says where that ends.

use crate::{Error, Result};
use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most memory that a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many bytes.
    pub bytes: u64,
    /// Who sets it, in words.
    pub source: &'static str,
}

/// The least of the limits on this process: the machine's memory, its control groups' (containers, Slurm, systemd), and those of
/// `ulimit`. `None` where the system tells none of them; Linux does.
pub fn memory_limit() -> Option<Limit> {
    limit_below(Path::new("/"))
}

/// [`memory_limit`] by the files below `root`.
fn limit_below(root: &Path) -> Option<Limit> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut limits = Vec::new();
    let machine = read("proc/meminfo").lines().find_map(|line| first_number(line.strip_prefix("MemTotal:")?));
    limits.extend(machine.map(|kilobytes| Limit { bytes: kilobytes.saturating_mul(1024), source: "the machine's memory" }));
    let process = read("proc/self/limits");
    for (name, source) in [
        ("Max address space", "the limit on the process's address space (ulimit -v)"),
        ("Max data size", "the limit on the process's data (ulimit -d)"),
    ] {
        // The soft limit comes first; `unlimited` is no number.
        let limit = process.lines().find_map(|line| first_number(line.strip_prefix(name)?));
        limits.extend(limit.map(|bytes| Limit { bytes, source }));
    }
    // `0::/a/b` of version 2, `4:memory:/a/b` of version 1. A group has at most what the groups above it have.
    for line in read("proc/self/cgroup").lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = fs::read_to_string(root.join(mount).join(group).join(file)).unwrap_or_default();
            let source = "the memory limit of the control group (container, job or service)";
            limits.extend(first_number(&text).map(|bytes| Limit { bytes, source }));
        }
    }
    limits.into_iter().min_by_key(|limit| limit.bytes)
}

/// The number that a text begins with, after spaces.
fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Refuses work that needs more memory than the process may have. `need` is a number of bytes that the work has in use at one time,
/// or fewer: what might fit is not refused.
///
/// # Errors
/// One sentence with what `what` needs, the limit, and the `remedy`.
pub fn check(what: &str, need: u64, remedy: &str) -> Result<()> {
    match memory_limit() {
        Some(Limit { bytes, source }) if need > bytes => {
            let problem = format!("{what} needs at least {} MB of memory, and {source} is {} MB", need >> 20, bytes >> 20);
            Err(Error::setting(problem, remedy))
        }
        _ => Ok(()),
    }
}

/// What to do where memory ends, as [`advise`] was told.
static ADVICE: OnceLock<&str> = OnceLock::new();

/// Says what a user can do when this process asks for memory and there is none. The first call counts.
pub fn advise(remedy: &'static str) {
    // A second call would be of a command within a command.
    let _ = ADVICE.set(remedy);
}

thread_local! {
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// From this size on an allocation in [`where_it_may_fail`] may fail: a length that a damaged file claims, a reserve.
const LARGE: usize = 64 << 20;

/// Calls `work`, which can do without what it asks for: its large allocations fail where there is no memory, in place of ending the
/// process.
pub fn where_it_may_fail<T>(work: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            MAY_FAIL.set(self.0);
        }
    }
    let _before = Before(MAY_FAIL.replace(true));
    work()
}

/// What the system answered to a request for `bytes`: `memory`, which is not null, unless the caller can do without. Where there is no
/// memory and someone needs it, says so in one sentence and ends the process with exit code 1.
pub fn or_end(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() && !(bytes >= LARGE && MAY_FAIL.get()) {
        end(bytes);
    }
    memory
}

/// Nothing here allocates.
#[cold]
fn end(bytes: usize) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDING.swap(true, Ordering::Relaxed) {
        // Another thread is saying it.
        loop {
            std::thread::yield_now();
        }
    }
    let mut text = [0; 512];
    let mut rest = &mut text[..];
    let advice = ADVICE.get().unwrap_or(&"give smaller inputs or more memory");
    // 512 bytes hold it; what does not fit is left out.
    let _ = writeln!(rest, "osteon: out of memory: {} MB more were asked for; {advice}", (bytes >> 20).max(1));
    let left = rest.len();
    let length = text.len() - left;
    #[cfg(target_os = "linux")]
    // SAFETY: the text lives to the end. `_exit` runs nothing that could allocate or wait.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), length);
        libc::_exit(1)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = std::io::stderr().write_all(&text[..length]);
        std::process::exit(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_counts_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let least = || limit_below(folder.path()).map(|limit| (limit.bytes, limit.source));
        assert_eq!(least(), None);
        put("proc/meminfo", "MemTotal:       24689 kB\nMemFree: 1 kB\n");
        assert_eq!(least(), Some((24689 << 10, "the machine's memory")));
        put("proc/self/cgroup", "0::/system.slice/job.service\n");
        put("sys/fs/cgroup/system.slice/job.service/memory.max", "max\n");
        put("sys/fs/cgroup/system.slice/memory.max", "9000000\n");
        let (bytes, source) = least().unwrap();
        assert!(bytes == 9_000_000 && source.contains("control group"), "the group above: {bytes} {source}");
        put("proc/self/cgroup", "5:cpu,memory:/docker/x\n0::/\n");
        put("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "8000000\n");
        assert_eq!(least().unwrap().0, 8_000_000, "version 1");
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max data size             unlimited            unlimited            bytes\n\
                      Max address space         7000000              unlimited            bytes\n";
        put("proc/self/limits", limits);
        let (bytes, source) = least().unwrap();
        assert!(bytes == 7_000_000 && source.contains("ulimit -v"), "{bytes} {source}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_fits_is_not_refused_and_what_cannot_names_the_limit() {
        assert!(check("it", 1 << 20, "lower it").is_ok());
        let said = check("it", 1 << 60, "lower it").unwrap_err().to_string();
        assert!(
            said.starts_with("it needs at least 1099511627776 MB of memory, and the ") && said.ends_with(" MB; lower it"),
            "{said}"
        );
    }
}
