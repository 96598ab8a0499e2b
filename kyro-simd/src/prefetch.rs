//! Asking for a cache line before it is needed.
#![expect(unsafe_code, reason = "prefetch instructions")]

/// Asks the processor to bring the cache line of `slice[index]` near. An index out of range is ignored.
///
/// Never reads the element, so it costs one instruction whether the line is near or far. Does nothing on
/// processors other than x86-64 and aarch64.
#[inline(always)]
pub fn prefetch<T>(slice: &[T], index: usize) {
    let Some(element) = slice.get(index) else { return };
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is that of a live element, SSE is part of x86-64, and a prefetch changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(element).cast()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: the address is that of a live element, and a prefetch changes no memory, flag or register.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) core::ptr::from_ref(element),
            options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _: &T = element;
}
