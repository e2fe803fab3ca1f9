//! How the fetches of one node share the memory for what is in flight.
//!
//! A pure function over what each asks for: whoever a person waits for comes first, those in the background get what
//! is left. Among equals nobody gets more than an equal part as long as another wants it (max-min fair). Nobody gets
//! nothing: a fetch that could not ask at all would lose its sessions.

/// What each fetch gets at least, if there are not too many of them.
const LEAST_BYTES: u64 = 1024 * 1024;

/// How much somebody wants a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Nobody waits for it.
    Background,
    /// A person or a program waits.
    #[default]
    Waiting,
}

/// What one fetch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// How much somebody wants it.
    pub priority: Priority,
    /// What it could put to use in flight; see [`wanted_bytes`](super::Engine::wanted_bytes).
    pub wanted_bytes: u64,
    /// Whether chunks come in: one that waits for peers keeps nobody in the background from the line.
    pub is_moving: bool,
}

/// The budgets of fetches that make these claims, in their order. Their sum is `total` at most.
pub fn shares(total: u64, claims: &[Claim]) -> Vec<u64> {
    let count = (claims.len() as u64).max(1);
    let least = LEAST_BYTES.min(total / count);
    let mut given = vec![least; claims.len()];
    let mut left = total.saturating_sub(least.saturating_mul(count));
    let someone_waits = claims.iter().any(|claim| claim.priority == Priority::Waiting && claim.is_moving);
    for priority in [Priority::Waiting, Priority::Background] {
        if priority == Priority::Background && someone_waits {
            break;
        }
        let members: Vec<usize> =
            (0..claims.len()).filter(|at| claims.get(*at).is_some_and(|c| c.priority == priority)).collect();
        fill(&mut given, &mut left, claims, &members, true);
    }
    // What nobody asked for is shared, so that whoever speeds up need not wait to be given it.
    let first = if someone_waits { Priority::Waiting } else { Priority::Background };
    let members: Vec<usize> =
        (0..claims.len()).filter(|at| claims.get(*at).is_some_and(|c| c.priority >= first)).collect();
    fill(&mut given, &mut left, claims, &members, false);
    given
}

/// Shares what is left among these, each up to what it wants if `bounded`.
fn fill(given: &mut [u64], left: &mut u64, claims: &[Claim], members: &[usize], bounded: bool) {
    let mut hungry: Vec<(u64, usize)> = members
        .iter()
        .filter_map(|at| {
            let lacks = claims.get(*at)?.wanted_bytes.saturating_sub(given.get(*at).copied()?);
            Some((if bounded { lacks } else { u64::MAX }, *at))
        })
        .collect();
    // The most modest first: what it does not need is there for the others.
    hungry.sort_unstable();
    let mut remaining = hungry.len() as u64;
    for (lacks, at) in hungry {
        let part = lacks.min(*left / remaining.max(1));
        if let Some(share) = given.get_mut(at) {
            *share += part;
        }
        *left -= part;
        remaining -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn claim(priority: Priority, mib: u64) -> Claim {
        Claim { priority, wanted_bytes: mib * MIB, is_moving: true }
    }

    fn check(claims: &[Claim], expected_mib: &[u64]) {
        let mib: Vec<u64> = shares(64 * MIB, claims).into_iter().map(|share| share / MIB).collect();
        assert_eq!(mib, expected_mib, "{claims:?}");
    }

    #[test]
    fn one_alone_has_it_all() {
        check(&[claim(Priority::Waiting, 2)], &[64]);
        check(&[claim(Priority::Background, 2)], &[64]);
        check(&[], &[]);
    }

    #[test]
    fn equals_share_and_the_modest_leave_the_rest() {
        check(&[claim(Priority::Waiting, 100), claim(Priority::Waiting, 100)], &[32, 32]);
        check(&[claim(Priority::Waiting, 4), claim(Priority::Waiting, 100)], &[4, 60]);
        check(&[claim(Priority::Waiting, 4), claim(Priority::Waiting, 10)], &[29, 35]);
    }

    #[test]
    fn who_is_waited_for_comes_first_while_it_moves() {
        check(&[claim(Priority::Background, 100), claim(Priority::Waiting, 8)], &[1, 63]);
        let stuck = Claim { is_moving: false, ..claim(Priority::Waiting, 0) };
        check(&[claim(Priority::Background, 60), stuck], &[61, 2]);
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_and_nobody_gets_nothing(
            total in MIB..256 * MIB,
            claims in proptest::collection::vec((any::<bool>(), 0..512 * MIB, any::<bool>()), 0..100),
        ) {
            let claims: Vec<Claim> = claims
                .into_iter()
                .map(|(waits, wanted_bytes, is_moving)| {
                    let priority = if waits { Priority::Waiting } else { Priority::Background };
                    Claim { priority, wanted_bytes, is_moving }
                })
                .collect();
            let given = shares(total, &claims);
            prop_assert_eq!(given.len(), claims.len());
            prop_assert!(given.iter().sum::<u64>() <= total);
            prop_assert!(given.iter().all(|share| *share >= MIB.min(total / claims.len() as u64)));
            for (a, b) in (0..claims.len()).flat_map(|a| (0..claims.len()).map(move |b| (a, b))) {
                // Nobody has more than another of the same kind that lacks something, but by a rounding.
                if claims[a].priority == claims[b].priority && given[b] < claims[b].wanted_bytes {
                    prop_assert!(given[a] <= given[b].max(claims[a].wanted_bytes.min(given[b])) + 100);
                }
            }
        }
    }
}
