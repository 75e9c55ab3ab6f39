//! The memory that the process has used at most.

use std::fs;

/// The largest resident memory so far, in bytes; `None` where the system does not tell (it is Linux's `VmHWM`).
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_peak_grows_with_use() {
        let before = super::peak_bytes().unwrap();
        assert!(before > 0);
        let block = std::hint::black_box(vec![1u8; 256 << 20]);
        assert!(super::peak_bytes().unwrap() > block.len() as u64);
    }
}
