//! The thin binary: everything is in the library.

fn main() -> std::process::ExitCode {
    phase6::cli::main()
}
