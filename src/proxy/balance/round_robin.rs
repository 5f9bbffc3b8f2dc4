//! Smooth weighted round robin, as nginx has it: each endpoint is taken as often as its weight says, and those with a
//! large weight are spread over the round instead of coming in a row.

/// Who is next; `current` is the state between two calls, `weights` of 0 are passed over.
///
/// Each endpoint's current value grows by its weight, the largest is taken and pays the sum of all weights.
pub(super) fn next(current: &mut Vec<i64>, weights: &[u32]) -> Option<usize> {
    current.resize(weights.len(), 0);
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (place, (value, weight)) in current.iter_mut().zip(weights).enumerate() {
        if *weight == 0 {
            continue;
        }
        *value += i64::from(*weight);
        total += i64::from(*weight);
        if best.is_none_or(|(_, most)| *value > most) {
            best = Some((place, *value));
        }
    }
    let (place, _) = best?;
    current[place] -= total;
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(weights: &[u32], picks: usize) -> Vec<usize> {
        let mut current = Vec::new();
        (0..picks)
            .filter_map(|_| next(&mut current, weights))
            .collect()
    }

    #[test]
    fn a_heavy_endpoint_does_not_come_in_a_row() {
        assert_eq!(round(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(round(&[1, 1], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn without_weight_there_is_no_turn() {
        assert_eq!(round(&[0, 3, 0], 3), [1, 1, 1]);
        assert!(round(&[0, 0], 3).is_empty());
        assert!(round(&[], 3).is_empty());
    }

    proptest! {
        #[test]
        fn each_has_its_weight_in_every_round(
            weights in proptest::collection::vec(0_u32..20, 1..8),
            rounds in 1_usize..4,
        ) {
            let total: u32 = weights.iter().sum();
            let picks = round(&weights, total as usize * rounds);
            for (place, weight) in weights.iter().enumerate() {
                let count = picks.iter().filter(|pick| **pick == place).count();
                prop_assert_eq!(count, *weight as usize * rounds);
            }
        }

        #[test]
        fn weights_that_change_on_the_way_starve_nobody(
            weights in proptest::collection::vec(1_u32..20, 2..6),
            out in 0_usize..6,
        ) {
            let out = out % weights.len();
            let mut current = Vec::new();
            let mut fewer = weights.clone();
            fewer[out] = 0;
            for _ in 0..100 {
                prop_assert_ne!(next(&mut current, &fewer), Some(out));
            }
            let total: u32 = weights.iter().sum();
            let picks: Vec<_> = (0..2 * total).filter_map(|_| next(&mut current, &weights)).collect();
            for place in 0..weights.len() {
                prop_assert!(picks.contains(&place), "{} in {:?}", place, picks);
            }
        }
    }
}
