//! Asking for a cache line before it is needed.
#![cfg_attr(
    all(not(miri), any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(unsafe_code, reason = "prefetch instructions")
)]

/// Asks the processor to bring the cache line of `slice[index]` near. With an index out of range it asks for whatever is
/// there, or for nothing where nothing is: neither does harm.
///
/// Never reads the element and does not compare the index, so it costs one instruction whether the line is near or far.
/// Does nothing on processors other than x86-64 and aarch64.
#[inline(always)]
pub fn prefetch<T>(slice: &[T], index: usize) {
    let element = slice.as_ptr().wrapping_add(index);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch of any address changes nothing and faults on nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(element.cast()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a prefetch of any address changes no memory, flag or register, and faults on nothing.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) element,
            options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _: *const T = element;
}
