//! The `landfall-hub` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    landfall_hub::cli::main(std::env::args_os())
}
