//! The policy against worlds with a clock of their own.

mod fair;
mod first_copy;
mod random;
mod rates;
mod world;
