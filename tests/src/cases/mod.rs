//! The tests, by what they show.

mod attacks_admin;
mod attacks_connections;
mod attacks_media;
mod attacks_parsing;
mod attacks_sdp;
mod attacks_strangers;
mod calls;
mod course;
mod failover;
mod hostile;
mod keys;
mod leak;
mod mutated;
mod options;
mod peers_alone;
mod relay;
mod reload;
mod routes;
mod rules;
mod srtp;
mod survival;
mod tenants;
mod tls;
mod torture;
mod upgrade;
