//! The `meshbed` binary.

fn main() -> std::process::ExitCode {
    meshbed::cli::main()
}
