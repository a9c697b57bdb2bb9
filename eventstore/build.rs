//! Rebuilds the crate when a migration is added: `sqlx::migrate!` reads the folder, and cargo watches
//! only the files that were there at the last build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../migrations");
}
