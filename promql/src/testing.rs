//! Test scripts in upstream's language (`load`, `clear`, `eval`, `expect`), and a storage in memory to run them on.

mod compare;
mod fixed_time;
mod fuzz;
pub mod memory;
mod nhcb;
mod runner;
mod script;
mod start_times;

pub use self::fuzz::check_parser;
pub use self::memory::MemoryStorage;
pub use self::runner::{Failure, Report, load_script, run_script, run_script_with, script_config};
pub use self::script::ScriptError;
