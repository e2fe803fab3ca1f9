//! The engine in a simulated world.

mod random;
mod rates;
mod world;
