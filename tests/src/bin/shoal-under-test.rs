//! The binary that the end-to-end tests run: the same as `shoal`.

fn main() {}
