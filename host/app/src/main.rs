//! The binary `mantle`; see [`mantle_app::cli`].

fn main() -> std::process::ExitCode {
    mantle_app::cli::main()
}
