//! Long random lives against a map.

use super::super::model::run;
use super::*;

#[test]
fn many_lives_go_as_those_of_a_map() {
    let lives = amount(4, 3_000);
    let lived = side_by_side(
        1_000_000,
        |begun| begun < lives,
        |seed| {
            run(scratch().path(), seed);
            if seed % 100 == 0 {
                println!("seed {seed}");
            }
        },
    );
    println!("{lived} lives went as those of a map");
}
