//! The endpoint with the fewest requests under way for its weight. Those that are equally busy take turns, so that an
//! idle upstream is used evenly.

use super::round_robin;

/// The least busy of those with a weight; the others lose theirs.
pub(super) fn pick(
    current: &mut Vec<i64>,
    weights: &mut [u32],
    load: impl Fn(usize) -> usize,
) -> Option<usize> {
    let loads = |weights: &[u32]| {
        let busy = weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0);
        busy.map(|(place, weight)| (place, (load(place), *weight)))
            .collect::<super::Few<_>>()
    };
    let loads = loads(weights);
    let least = loads
        .iter()
        .map(|(_, busy)| *busy)
        .reduce(|least, busy| if is_less(busy, least) { busy } else { least })?;
    for (place, busy) in loads {
        if is_less(least, busy) {
            weights[place] = 0;
        }
    }
    round_robin::next(current, weights)
}

/// Whether one is less busy for its weight than the other: requests under way, and weight.
pub(super) fn is_less(one: (usize, u32), other: (usize, u32)) -> bool {
    let product = |load: usize, weight: u32| load as u128 * u128::from(weight);
    product(one.0, other.1) < product(other.0, one.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_least_busy_for_its_weight() {
        let picked = |weights: &[u32], loads: &[usize]| {
            pick(&mut Vec::new(), &mut weights.to_vec(), |place| loads[place])
        };
        assert_eq!(picked(&[1, 1, 1], &[2, 1, 2]), Some(1));
        assert_eq!(picked(&[4, 1], &[3, 1]), Some(0));
        assert_eq!(picked(&[4, 1], &[5, 1]), Some(1));
        assert_eq!(picked(&[0, 1], &[0, 9]), Some(1));
        assert_eq!(picked(&[0, 0], &[0, 0]), None);
    }

    #[test]
    fn the_idle_take_turns_by_weight() {
        let mut current = Vec::new();
        let mut next = || pick(&mut current, &mut [2, 1], |_| 0);
        let picks: Vec<_> = (0..6).filter_map(|_| next()).collect();
        assert_eq!(picks.iter().filter(|place| **place == 0).count(), 4);
    }

    proptest! {
        #[test]
        fn nobody_with_a_weight_is_less_busy(
            endpoints in proptest::collection::vec((0_u32..10, 0_usize..50), 1..10),
        ) {
            let mut weights: Vec<u32> = endpoints.iter().map(|(weight, _)| *weight).collect();
            let picked = pick(&mut Vec::new(), &mut weights, |place| endpoints[place].1);
            let usable: Vec<_> = endpoints.iter().filter(|(weight, _)| *weight > 0).collect();
            prop_assert_eq!(picked.is_none(), usable.is_empty());
            if let Some(picked) = picked {
                let (weight, load) = endpoints[picked];
                prop_assert!(weight > 0);
                for (other, its_load) in usable {
                    prop_assert!(!is_less((*its_load, *other), (load, weight)));
                }
            }
        }
    }
}
