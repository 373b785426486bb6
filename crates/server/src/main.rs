//! Entry point of `slipway`; everything is in the library, so that tests can reach it.

fn main() -> std::process::ExitCode {
    slipway_server::main()
}
