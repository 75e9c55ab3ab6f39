//! Memory in huge pages, of 2 MiB.

use crate::memory::or_end;
use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for huge pages for what is large: files, weights, feature maps. Where the system leaves the
/// choice to programs (Linux by default), a model of 60 MB then takes 30 page faults in place of 15,000, and kernels wait
/// less for addresses to be translated. Only a hint: without it everything works, slower.
///
/// Where the system has no memory, it writes one sentence to standard error and ends the process with exit code 1, in place of
/// Rust's abort.
///
/// ```no_run
/// #[global_allocator]
/// static ALLOCATOR: osteon::HugePages = osteon::HugePages;
/// ```
#[derive(Debug)]
pub struct HugePages;

/// A huge page of x86-64, and the smallest allocation that asks for one.
const HUGE_PAGE: usize = 2 << 20;

/// What is larger by far than a huge page is rounded up to whole ones: only such maps begin where a huge page does (Linux 6.13 on).
/// glibc adds a header of 16 bytes.
fn rounded(layout: Layout) -> Layout {
    const HEADER: usize = 16;
    if layout.size() < 2 * HUGE_PAGE {
        return layout;
    }
    let whole = (layout.size() + HEADER).next_multiple_of(HUGE_PAGE); // far from overflow: a layout's size is an isize
    Layout::from_size_align(whole - HEADER, layout.align()).unwrap_or(layout)
}

// SAFETY: all memory is the system allocator's, under its own rules, and it forgets sizes; advice changes no content.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let layout = rounded(layout);
        // SAFETY: the caller's promise is the system allocator's condition, here and below.
        prefer_huge_pages(or_end(unsafe { System.alloc(layout) }, layout.size()), layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let layout = rounded(layout);
        // SAFETY: as above.
        prefer_huge_pages(or_end(unsafe { System.alloc_zeroed(layout) }, layout.size()), layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        let size = rounded(wanted).size();
        // SAFETY: as above.
        prefer_huge_pages(or_end(unsafe { System.realloc(memory, rounded(layout), size) }, size), size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, rounded(layout)) }
    }
}

/// Advises the system to back an allocation with huge pages, where it is large; returns `memory`.
fn prefer_huge_pages(memory: *mut u8, bytes: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if !memory.is_null() && bytes >= HUGE_PAGE {
        // The system takes advice on whole pages; where they are larger it refuses.
        const PAGE: usize = 4096;
        let before = memory.addr() % PAGE;
        // SAFETY: the range is that of the pages that an allocation lies in; the advice changes no content. What the system
        // answers does not matter.
        unsafe { libc::madvise(memory.wrapping_sub(before).cast(), bytes + before, libc::MADV_HUGEPAGE) };
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_survive_growth_and_shrinking() {
        let sizes = [100, HUGE_PAGE - 1, HUGE_PAGE, 2 * HUGE_PAGE - 1, 2 * HUGE_PAGE, 5 * HUGE_PAGE + 7, 3 * HUGE_PAGE, 1];
        let mut layout = Layout::from_size_align(8, 4).unwrap();
        // SAFETY: each layout is that of the last allocation, which is not empty; what is read was written or zeroed.
        unsafe {
            let mut memory = HugePages.alloc_zeroed(layout);
            assert_eq!(memory.read(), 0);
            memory.write(7);
            for size in sizes {
                memory = HugePages.realloc(memory, layout, size);
                layout = Layout::from_size_align(size, 4).unwrap();
                assert_eq!(memory.read(), 7, "after {size} bytes");
                memory.add(size - 1).write(7);
            }
            HugePages.dealloc(memory, layout);
            let layout = Layout::from_size_align(9 * HUGE_PAGE, 64).unwrap();
            let memory = HugePages.alloc_zeroed(layout);
            assert_eq!(memory.addr() % 64, 0);
            assert!((0..layout.size()).step_by(4093).all(|at| memory.add(at).read() == 0));
            HugePages.dealloc(memory, layout);
        }
    }
}
