//! Consistent hashing by weighted rendezvous: every endpoint draws a number from the value and its own name, the highest
//! wins. No table; an endpoint that goes moves its own share and no other, one that comes takes its share evenly, and all
//! nodes agree.

/// The winner among those with a weight, for a value.
///
/// With `u` even in (0, 1), `-weight / ln u` is the largest of all with a chance in proportion to the weight.
pub(super) fn pick(weights: &[u32], seeds: &[u64], value: u64) -> Option<usize> {
    let scores = weights.iter().zip(seeds).enumerate();
    let scores = scores.filter(|(_, (weight, _))| **weight > 0);
    scores
        .map(|(place, (weight, seed))| (place, -f64::from(*weight) / even(value ^ seed).ln()))
        .reduce(|best, other| if other.1 > best.1 { other } else { best })
        .map(|(place, _)| place)
}

/// A number in (0, 1) that looks random.
#[expect(clippy::cast_precision_loss, reason = "53 bits are all that is taken")]
fn even(bits: u64) -> f64 {
    ((mix(bits) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// The finish of `SplitMix64`: each bit of the input changes half of the output's.
pub(super) fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seeds(count: u64) -> Vec<u64> {
        (0..count).map(|place| mix(place + 1000)).collect()
    }

    #[test]
    fn values_spread_by_weight() {
        let (weights, seeds) = ([1, 2, 3], seeds(3));
        let mut counts = [0_u32; 3];
        for value in 0..60_000 {
            counts[pick(&weights, &seeds, mix(value)).unwrap()] += 1;
        }
        for (count, share) in counts.iter().zip([10_000, 20_000, 30_000]) {
            assert!(count.abs_diff(share) < 600, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_that_goes_moves_its_own_share_only(
            weights in proptest::collection::vec(1_u32..10, 2..10),
            gone in 0_usize..10,
            values in proptest::collection::vec(any::<u64>(), 50),
        ) {
            let gone = gone % weights.len();
            let seeds = seeds(weights.len() as u64);
            let mut fewer = weights.clone();
            fewer[gone] = 0;
            for value in values {
                let before = pick(&weights, &seeds, value).unwrap();
                let after = pick(&fewer, &seeds, value).unwrap();
                prop_assert!(before == gone || before == after);
                prop_assert_ne!(after, gone);
            }
        }

        #[test]
        fn the_order_of_endpoints_does_not_matter(
            weights in proptest::collection::vec(0_u32..10, 1..10),
            value in any::<u64>(),
        ) {
            let seeds = seeds(weights.len() as u64);
            let turned = |list: &[u64]| list.iter().rev().copied().collect::<Vec<_>>();
            let reversed: Vec<u32> = weights.iter().rev().copied().collect();
            let forward = pick(&weights, &seeds, value);
            let backward = pick(&reversed, &turned(&seeds), value);
            prop_assert_eq!(forward, backward.map(|place| weights.len() - 1 - place));
        }
    }
}
