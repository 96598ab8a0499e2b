//! The `kyro-http` command.

fn main() -> std::process::ExitCode {
    kyro_http::run(std::env::args_os())
}
