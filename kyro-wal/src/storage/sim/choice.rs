//! Which of the unsynced changes a power cut leaves on the platter.

/// What becomes of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did not arrive.
    Lost,
    /// It arrived.
    Kept,
    /// So many bytes of the sector arrived.
    Torn(usize),
    /// The changed bytes hold something else; the number seeds it.
    Garbage(u64),
}

/// A small fast generator of evenly distributed numbers (splitmix64): the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Decides change after change.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    manner: Manner,
    made: u32,
    /// The oldest and the newest operation that may be undone.
    span: (u64, u64),
}

#[derive(Clone, Debug)]
enum Manner {
    None,
    All,
    /// Bit `i` decides change `i`.
    Mask(u64),
    /// Changes up to some operation, in order; that one may be torn. The fraction of the span is of 256.
    Prefix {
        fraction: u64,
        random: Random,
    },
    /// Each by itself: percentages.
    Scatter {
        data: u64,
        names: u64,
        torn: u64,
        garbage: u64,
        random: Random,
    },
}

impl Choice {
    pub(super) fn seeded(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let manner = match seed {
            0 => Manner::None,
            1 => Manner::All,
            _ if random.below(4) == 0 => Manner::Prefix { fraction: random.below(257), random },
            _ => Manner::Scatter {
                data: [5, 25, 50, 75, 95][random.below(5) as usize],
                names: [0, 50, 100][random.below(3) as usize],
                torn: [0, 0, 20][random.below(3) as usize],
                garbage: [0, 0, 20][random.below(3) as usize],
                random,
            },
        };
        Self { manner, made: 0, span: (0, 0) }
    }

    pub(super) fn counting() -> Self {
        Self { manner: Manner::None, made: 0, span: (0, 0) }
    }

    pub(super) fn masked(mask: u64) -> Self {
        Self { manner: Manner::Mask(mask), made: 0, span: (0, 0) }
    }

    /// Says which operations may be undone, for those manners that go by age.
    pub(super) fn set_span(&mut self, first: u64, last: u64) {
        self.span = (first, last);
    }

    /// How many decisions there were.
    pub(super) fn made(&self) -> u32 {
        self.made
    }

    /// What becomes of a sector that this operation changed.
    pub(super) fn sector(&mut self, operation: u64) -> Outcome {
        self.decide(operation, true)
    }

    /// Whether a change of a length or a name arrived.
    pub(super) fn arrives(&mut self, operation: u64) -> bool {
        self.decide(operation, false) == Outcome::Kept
    }

    fn decide(&mut self, operation: u64, data: bool) -> Outcome {
        let number = self.made;
        self.made += 1;
        let kept = |kept: bool| if kept { Outcome::Kept } else { Outcome::Lost };
        match &mut self.manner {
            Manner::None => Outcome::Lost,
            Manner::All => Outcome::Kept,
            Manner::Mask(mask) => kept(*mask >> number & 1 == 1),
            Manner::Prefix { fraction, random } => {
                let (first, last) = self.span;
                let cut = first + (last - first) * *fraction / 256;
                if data && operation == cut {
                    match random.below(3) {
                        0 => Outcome::Lost,
                        1 => Outcome::Kept,
                        _ => Outcome::Torn(random.below(512) as usize),
                    }
                } else {
                    kept(operation <= cut)
                }
            }
            Manner::Scatter { data: share, names, torn, garbage, random } => {
                if !data {
                    return kept(random.below(100) < *names);
                }
                let draw = random.below(100);
                if draw < *torn {
                    Outcome::Torn(random.below(512) as usize)
                } else if draw < *torn + *garbage {
                    Outcome::Garbage(random.next())
                } else {
                    kept(random.below(100) < *share)
                }
            }
        }
    }
}
