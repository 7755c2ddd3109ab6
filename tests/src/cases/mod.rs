//! The tests, by what they show.

mod calls;
mod course;
mod hostile;
mod options;
mod peers_alone;
mod rules;
mod srtp;
mod tenants;
mod tls;
