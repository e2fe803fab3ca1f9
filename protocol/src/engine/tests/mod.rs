//! The engine in a simulated world, and alone.

mod alone;
mod late;
mod nodes;
mod peer;
mod random;
mod rates;
mod server;
mod small;
mod world;
