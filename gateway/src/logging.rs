//! Logs: to stderr, one event a line, as text or JSON. The door for tracing-subscriber.

use std::io;

use tracing_subscriber::filter::LevelFilter;

/// Starts logging as configured. Call once.
pub fn start(log: config::Log) {
    let level = match log.level {
        config::LogLevel::Error => LevelFilter::ERROR,
        config::LogLevel::Warn => LevelFilter::WARN,
        config::LogLevel::Info => LevelFilter::INFO,
        config::LogLevel::Debug => LevelFilter::DEBUG,
        config::LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false);
    match log.format {
        config::LogFormat::Text => builder.with_target(false).init(),
        config::LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
