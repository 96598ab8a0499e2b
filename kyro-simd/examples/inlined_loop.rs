//! A loop of probes that is compiled for the processor's level as a whole: the kernel inlines into it.
#![expect(clippy::print_stdout, reason = "an example shows its result")]
#![expect(clippy::inline_always, reason = "what is inlined is compiled for the level")]

use kyro_simd::{Kernel, Operation, Searcher};

/// Counts how many of `needles` are in `window`.
struct CountHits<'a> {
    window: &'a [u64],
    needles: &'a [u64],
}

impl Operation for CountHits<'_> {
    type Output = usize;

    #[inline(always)] // only what is inlined into `Searcher::run` is compiled for the level
    fn run<K: Kernel>(self, kernel: K) -> usize {
        let is_hit =
            |&&needle: &&u64| self.window.get(kernel.lower_bound(self.window, needle)) == Some(&needle);
        self.needles.iter().filter(is_hit).count()
    }
}

fn main() {
    let window: Vec<u64> = (0..64).map(|i| i * 5).collect();
    let needles: Vec<u64> = (0..1000).collect();
    for searcher in Searcher::available() {
        let hits = searcher.run(CountHits { window: &window, needles: &needles });
        println!("{}: {hits} of {} needles are in the window", searcher.level(), needles.len());
    }
}
