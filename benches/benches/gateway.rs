//! The whole gateway beside Kamailio and rtpengine: the price of a call, the highest clean rate, and
//! what is left at ten times that. Needs the binary of the same profile (`make bench` builds it) and
//! two CPUs that do nothing else.

fn main() -> std::io::Result<std::process::ExitCode> {
    benches::table::run(benches::table::Pace::default())
}
