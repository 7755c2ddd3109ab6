//! The tests, by what they show.

mod peers_alone;
