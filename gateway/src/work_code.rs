//! Work codes: short random names of works, easy to read out.

use rand::RngExt;
use rand::distr::Alphanumeric;

/// Length of the random part, in characters.
const CHARACTERS: usize = 10;

/// Returns the code of a new work. `source` is its prefix: `api` or `consumer`.
pub fn work_code(source: &str) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(CHARACTERS);
    let random: String = random.map(char::from).collect();
    format!("{source}-{random}")
}
