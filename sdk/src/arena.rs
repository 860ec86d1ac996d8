//! Where a connector's memory comes from: one stretch that is used from its beginning to its end, then the allocator of
//! the standard library.
//!
//! A call is one fresh instance and lives for microseconds. Nearly all that it allocates lives as long, so keeping books
//! on what is free costs more than it brings. Only what was allocated last is taken back: a text that grows, a list that
//! is dropped at once. What does not fit, such as a large batch, is kept by the books, so that a long call does not use
//! up the memory that it may have.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr;

/// What a hook with one message needs three times over, in bytes. Pages that no call touches cost nothing.
const ARENA_BYTES: usize = 128 << 10;

#[cfg(all(target_arch = "wasm32", feature = "arena"))]
#[global_allocator]
static ALLOCATOR: Arena<ARENA_BYTES> = Arena::new();

/// Aligned as a page is, so that every place in it has the alignment that its offset has.
#[repr(align(4096))]
struct Bytes<const N: usize>(UnsafeCell<[u8; N]>);

/// Knows what is used, and nothing of what lies in it.
pub(crate) struct Arena<const N: usize = ARENA_BYTES> {
    bytes: Bytes<N>,
    used: Cell<usize>,
}

// SAFETY: a component has one thread, and no other target has this as its allocator. Tests keep theirs to one thread.
#[allow(unsafe_code, reason = "an allocator hands out bytes")]
unsafe impl<const N: usize> Sync for Arena<N> {}

impl<const N: usize> Arena<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: Bytes(UnsafeCell::new([0; N])),
            used: Cell::new(0),
        }
    }

    fn base(&self) -> *mut u8 {
        self.bytes.0.get().cast()
    }

    /// Where in the arena it lies; None: elsewhere.
    fn place(&self, pointer: *mut u8) -> Option<usize> {
        let place = pointer.addr().wrapping_sub(self.base().addr());
        (place < N).then_some(place)
    }

    /// The end of so many bytes from there on, if the arena has them.
    fn end(place: usize, bytes: usize) -> Option<usize> {
        place.checked_add(bytes).filter(|end| *end <= N)
    }

    fn is_last(&self, place: usize, bytes: usize) -> bool {
        place + bytes == self.used.get()
    }
}

// SAFETY: every stretch that is handed out lies between `used` before and after, so no two overlap; `used` goes back
// only over the stretch that was handed out last and is given up. Everything else is the system's allocator.
#[allow(unsafe_code, reason = "an allocator hands out bytes")]
unsafe impl<const N: usize> GlobalAlloc for Arena<N> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = self.used.get().next_multiple_of(layout.align());
        match Self::end(place, layout.size()) {
            // The arena's own alignment is a page's; what wants more is not for it.
            Some(end) if layout.align() <= align_of::<Bytes<N>>() => {
                self.used.set(end);
                self.base().wrapping_add(place)
            }
            _ => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.place(pointer) {
            Some(place) if self.is_last(place, layout.size()) => self.used.set(place),
            Some(_) => {}
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let Some(place) = self.place(pointer) else {
            return unsafe { System.realloc(pointer, layout, bytes) };
        };
        if self.is_last(place, layout.size())
            && let Some(end) = Self::end(place, bytes)
        {
            self.used.set(end);
            return pointer;
        }
        if bytes <= layout.size() {
            return pointer;
        }
        // SAFETY: the caller's size is not zero and fits with the alignment, as `realloc` asks of it.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(bytes, layout.align())) };
        if !moved.is_null() {
            unsafe { ptr::copy_nonoverlapping(pointer, moved, layout.size()) };
        }
        moved
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "an allocator hands out bytes")]
mod tests {
    use super::*;

    const BYTES: usize = 4096;

    fn layout(bytes: usize, align: usize) -> Layout {
        Layout::from_size_align(bytes, align).unwrap()
    }

    #[test]
    fn stretches_do_not_overlap_and_are_aligned() {
        let arena = Arena::<BYTES>::new();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for (bytes, align) in [(1, 1), (8, 8), (3, 1), (16, 16), (24, 4), (1, 64), (100, 2)] {
            let at = unsafe { arena.alloc(layout(bytes, align)) }.addr();
            assert_eq!(at % align, 0, "{bytes} bytes aligned to {align}");
            assert!(taken.iter().all(|(begin, end)| at >= *end || at + bytes <= *begin));
            taken.push((at, at + bytes));
        }
    }

    #[test]
    fn what_was_allocated_last_grows_shrinks_and_is_taken_back_in_its_place() {
        let arena = Arena::<BYTES>::new();
        let first = unsafe { arena.alloc(layout(10, 1)) };
        unsafe { first.write_bytes(7, 10) };
        let grown = unsafe { arena.realloc(first, layout(10, 1), 2000) };
        assert_eq!(grown, first);
        let shrunk = unsafe { arena.realloc(grown, layout(2000, 1), 20) };
        assert_eq!((shrunk, arena.used.get()), (first, 20));
        // Behind another one it has to move, with what is in it.
        let second = unsafe { arena.alloc(layout(30, 1)) };
        let moved = unsafe { arena.realloc(shrunk, layout(20, 1), 40) };
        assert!(moved > second);
        assert_eq!(unsafe { std::slice::from_raw_parts(moved, 10) }, [7; 10]);
        unsafe { arena.dealloc(second, layout(30, 1)) };
        assert_eq!(arena.used.get(), 20 + 30 + 40, "not the last one");
        unsafe { arena.dealloc(moved, layout(40, 1)) };
        assert_eq!(arena.used.get(), 20 + 30);
    }

    #[test]
    fn what_does_not_fit_comes_from_elsewhere_and_goes_back_there() {
        let arena = Arena::<BYTES>::new();
        let small = unsafe { arena.alloc(layout(4000, 1)) };
        let large = unsafe { arena.alloc(layout(5000, 8)) };
        assert!(arena.place(small).is_some() && arena.place(large).is_none());
        let larger = unsafe { arena.realloc(large, layout(5000, 8), 9000) };
        // One that outgrows the arena leaves it, with what is in it.
        unsafe { small.write_bytes(3, 4000) };
        let left = unsafe { arena.realloc(small, layout(4000, 1), 8000) };
        assert!(arena.place(left).is_none());
        assert_eq!(unsafe { std::slice::from_raw_parts(left, 4000) }, [3; 4000]);
        unsafe { arena.dealloc(larger, layout(9000, 8)) };
        unsafe { arena.dealloc(left, layout(8000, 1)) };
        let huge = unsafe { arena.alloc(layout(64, 8192)) };
        assert!(arena.place(huge).is_none() && huge.addr().is_multiple_of(8192));
        unsafe { arena.dealloc(huge, layout(64, 8192)) };
    }
}
