//! The parts of WASI that the standard library asks for in no harmful amount.

wit_bindgen::generate!({
    inline: r#"
        package mantle:hostile;

        world taking {
            import wasi:io/poll@0.2.6;
            import wasi:clocks/monotonic-clock@0.2.6;
            import wasi:random/random@0.2.6;
            import wasi:random/insecure@0.2.6;
        }

        package wasi:io@0.2.6 {
            interface poll {
                resource pollable {
                    ready: func() -> bool;
                    block: func();
                }
                poll: func(in: list<borrow<pollable>>) -> list<u32>;
            }
        }

        package wasi:clocks@0.2.6 {
            interface monotonic-clock {
                use wasi:io/poll@0.2.6.{pollable};
                type instant = u64;
                type duration = u64;
                now: func() -> instant;
                resolution: func() -> duration;
                subscribe-instant: func(when: instant) -> pollable;
                subscribe-duration: func(when: duration) -> pollable;
            }
        }

        package wasi:random@0.2.6 {
            interface random {
                get-random-bytes: func(len: u64) -> list<u8>;
                get-random-u64: func() -> u64;
            }
            interface insecure {
                get-insecure-random-bytes: func(len: u64) -> list<u8>;
                get-insecure-random-u64: func() -> u64;
            }
        }
    "#,
    generate_all,
});

pub use wasi::clocks::monotonic_clock::subscribe_duration;
pub use wasi::io::poll::poll;

pub fn random(bytes: u64) -> usize {
    wasi::random::random::get_random_bytes(bytes).len()
}

pub fn insecure(bytes: u64) -> usize {
    wasi::random::insecure::get_insecure_random_bytes(bytes).len()
}
