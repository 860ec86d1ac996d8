//! `mantle compile-component`: what this program is to itself when a connector is compiled. Nobody calls it by hand.

use std::path::{Path, PathBuf};

use mantle_sandbox::Compiler;

/// The command's name.
pub const COMMAND: &str = "compile-component";
/// The running program, whatever an update has put in its place on the disk meanwhile.
const RUNNING: &str = "/proc/self/exe";

/// For every command that loads connectors. A program whose commands are these ones can do it.
pub(super) fn of_this_program() -> Compiler {
    let running = Path::new(RUNNING);
    let program = if running.exists() {
        running.to_owned()
    } else {
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mantle"))
    };
    Compiler::apart(program, vec![COMMAND.into()])
}
