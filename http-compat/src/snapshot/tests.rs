//! Records of originals: what is taken, what is refused and why, and what is written for them.

mod bodies;
mod export;
mod lenient;
mod refusals;
mod samples;
mod valid;
