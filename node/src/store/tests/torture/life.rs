//! Long random lives against a map.

use super::super::model::run;
use super::*;

#[test]
fn many_lives_go_as_those_of_a_map() {
    for seed in 1_000_000..1_000_000 + amount(4, 3_000) {
        println!("seed {seed}");
        run(seed);
    }
}
