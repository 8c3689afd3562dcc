#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| casemate_egress::fuzzing::client_hello(bytes));
