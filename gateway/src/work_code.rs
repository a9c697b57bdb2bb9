//! Codes people can read to each other, drawn at random.

use rand::RngExt;
use rand::distr::Alphanumeric;

/// Random characters of a work code.
const CHARACTERS: usize = 10;

/// The code of a new work; `way` is how it came in.
pub fn work_code(way: &str) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(CHARACTERS);
    let random: String = random.map(char::from).collect();
    format!("{way}-{random}")
}
