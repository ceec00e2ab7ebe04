//! The `brooklet` command. Everything is in the library; see [`brooklet::cli`].

fn main() -> std::process::ExitCode {
    brooklet::cli::main()
}
