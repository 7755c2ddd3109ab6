//! libFuzzer on [`fuzz::auth`].

#![no_main]
#![allow(missing_docs, unsafe_code, reason = "the entry point that libFuzzer's macro writes")]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::auth(bytes));
