#![no_main]

// libFuzzer's hook ends the process on every panic, also on those of Arrow that the parser catches;
// what is not caught still ends it
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |data: &[u8]| tourbillon_fuzz_smoke::rows::arrow_stream(data)
);
