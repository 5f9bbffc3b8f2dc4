//! The power of two choices: two endpoints are drawn by weight, and the less busy one is taken. Nearly as even as asking
//! all of them, and many gateways that do the same do not all run to the one that is idle.

use super::least_requests::is_less;

/// The less busy of two that are drawn; `random` gives a number below its argument.
pub(super) fn pick(
    weights: &[u32],
    load: impl Fn(usize) -> usize,
    mut random: impl FnMut(u64) -> u64,
) -> Option<usize> {
    let first = draw(weights, None, &mut random)?;
    let Some(second) = draw(weights, Some(first), &mut random) else {
        return Some(first);
    };
    let busy = |place: usize| (load(place), weights[place]);
    Some(if is_less(busy(second), busy(first)) {
        second
    } else {
        first
    })
}

/// One of those with a weight, as likely as that says.
fn draw(weights: &[u32], but: Option<usize>, random: &mut impl FnMut(u64) -> u64) -> Option<usize> {
    let open = || {
        let all = weights.iter().enumerate();
        all.filter(move |(place, _)| Some(*place) != but)
    };
    let total: u64 = open().map(|(_, weight)| u64::from(*weight)).sum();
    if total == 0 {
        return None;
    }
    let mut left = random(total);
    for (place, weight) in open() {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => return Some(place),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_two_the_less_busy() {
        let loads = [5, 2];
        for drawn in [0, 1] {
            assert_eq!(
                pick(&[1, 1], |place| loads[place], |below| drawn % below),
                Some(1)
            );
        }
        assert_eq!(pick(&[1, 0], |place| loads[place], |_| 0), Some(0));
        assert_eq!(pick(&[0, 0], |_| 0, |_| 0), None);
    }

    #[test]
    fn without_load_the_weights_decide() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [0_u32; 3];
        for _ in 0..6000 {
            counts[pick(&[1, 2, 3], |_| 0, |below| random.u64(..below)).unwrap()] += 1;
        }
        for (count, share) in counts.iter().zip([1000, 2000, 3000]) {
            assert!(count.abs_diff(share) < 200, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn nobody_without_weight_and_never_the_busiest(
            endpoints in proptest::collection::vec((0_u32..5, 0_usize..50), 2..8),
            seed in any::<u64>(),
        ) {
            let weights: Vec<u32> = endpoints.iter().map(|(weight, _)| *weight).collect();
            let mut random = fastrand::Rng::with_seed(seed);
            let picked = pick(&weights, |place| endpoints[place].1, |below| random.u64(..below));
            let usable: Vec<_> = endpoints.iter().filter(|(weight, _)| *weight > 0).collect();
            prop_assert_eq!(picked.is_none(), usable.is_empty());
            if let Some(picked) = picked && usable.len() > 1 {
                let (weight, load) = endpoints[picked];
                prop_assert!(weight > 0);
                let busiest = usable.iter().filter(|(other, its)| is_less((*its, *other), (load, weight))).count();
                prop_assert!(busiest < usable.len() - 1);
            }
        }
    }
}
